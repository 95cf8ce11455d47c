//! The documents: a feature and a segment in the format of Unleash's client API.
//!
//! Owns their shape and the errors of documents that do not parse. Leaves their meaning to
//! [`super::Set`]. Invariant: a parsed feature has a name that fits on the wire, and weights within
//! [`WEIGHT_MAX`]. Unknown fields are ignored, as Unleash's clients do; `null` is as good as
//! absent.
//!
//! The format is the answer to `GET /api/client/features`
//! (`schema/feature-schema.js` of `@unleash/client-specification`).

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::wire;

/// Largest weight of one variant, as in Unleash's schema.
pub const WEIGHT_MAX: u32 = 100_000;

/// The name of the variant of a toggle that is off or has no variants.
pub const NO_VARIANT: &str = "disabled";

/// A feature toggle.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Unique in a plan.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// False turns the toggle off for every request.
    pub enabled: bool,
    /// The toggle is on if one of them is; also if there are none.
    #[serde(default, deserialize_with = "nullable")]
    pub strategies: Vec<Strategy>,
    /// Used when the strategy that turned the toggle on has no variants of its own.
    #[serde(default, deserialize_with = "nullable")]
    pub variants: Vec<Variant>,
    /// All of them must hold.
    #[serde(default, deserialize_with = "nullable")]
    pub dependencies: Vec<Dependency>,
}

impl Feature {
    /// The strategies that are evaluated, for operators: the name, and the share when there is one,
    /// as in `flexibleRollout 50 %`.
    #[must_use]
    pub fn strategies_shown(&self) -> Vec<String> {
        let share = |strategy: &Strategy| {
            let share = ["rollout", "percentage"].iter().find_map(|name| strategy.parameters.get(*name));
            share.map_or_else(String::new, |share| format!(" {share} %"))
        };
        let evaluated = self.strategies.iter().filter(|strategy| !strategy.disabled);
        evaluated.map(|strategy| format!("{}{}", strategy.name, share(strategy))).collect()
    }
}

/// One way to turn a toggle on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// `flexibleRollout`, `userWithId`, ...
    pub name: String,
    /// Written by the console, and left out of the evaluation.
    #[serde(default, deserialize_with = "nullable")]
    pub disabled: bool,
    /// Numbers and booleans are read as text.
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: BTreeMap<String, String>,
    /// All of them must hold.
    #[serde(default, deserialize_with = "nullable")]
    pub constraints: Vec<Constraint>,
    /// Ids of segments; the constraints of all of them must hold.
    #[serde(default, deserialize_with = "nullable")]
    pub segments: Vec<i64>,
    /// The variants of the requests for which this strategy turns the toggle on.
    #[serde(default, deserialize_with = "nullable")]
    pub variants: Vec<Variant>,
}

/// A condition on one field of the context.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Constraint {
    /// `userId`, `environment`, ..., or the name of a property.
    pub context_name: String,
    /// `IN`, `NUM_GT`, ...
    pub operator: String,
    /// The operand of the operators that take a list.
    #[serde(default, deserialize_with = "nullable")]
    pub values: Vec<String>,
    /// The operand of the other operators.
    pub value: Option<Text>,
    /// True to hold when the operator does not.
    #[serde(default, deserialize_with = "nullable")]
    pub inverted: bool,
    /// True to compare strings without case.
    #[serde(default, deserialize_with = "nullable")]
    pub case_insensitive: bool,
}

/// A string; a number or a boolean is read as its text.
#[derive(Clone, Debug)]
pub struct Text(pub String);

/// One of the variants among which the weights choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Unique among the variants of a toggle or strategy.
    #[serde(deserialize_with = "variant_name")]
    pub name: String,
    /// The share is the weight divided by the sum of the weights.
    #[serde(deserialize_with = "weight")]
    pub weight: u32,
    /// The field whose value chooses; the first variant's counts for all. Of a strategy's variants
    /// the strategy's parameter `stickiness` counts.
    pub stickiness: Option<String>,
    /// A value for the service or the client that asks.
    pub payload: Option<Payload>,
    /// Requests that get this variant whatever the weights say.
    #[serde(default, deserialize_with = "nullable")]
    pub overrides: Vec<Override>,
}

/// The value of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Payload {
    /// `string`, `json`, `csv` or `number`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value as text, whatever the type.
    pub value: String,
}

/// Values of one field that get a variant.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// As in [`Constraint`].
    pub context_name: String,
    /// The values.
    #[serde(default, deserialize_with = "nullable")]
    pub values: Vec<String>,
}

/// What another toggle must be for this one to be on.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// The parent's name.
    pub feature: String,
    /// What the parent must be: on, unless this is false.
    pub enabled: Option<bool>,
    /// If not empty, the parent must have one of these variants.
    #[serde(default, deserialize_with = "nullable")]
    pub variants: Vec<String>,
}

/// Constraints that several strategies share.
#[derive(Clone, Debug, Deserialize)]
pub struct Segment {
    /// Named by [`Strategy::segments`].
    pub id: i64,
    /// All of them must hold.
    #[serde(default, deserialize_with = "nullable")]
    pub constraints: Vec<Constraint>,
}

/// A document that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("{}{message} at line {line} column {column}", at_path(path))]
pub struct ParseError {
    /// The path of the field, such as `strategies[0].parameters`; `.` for the document itself.
    pub path: String,
    /// The cause, without its position.
    pub message: String,
    /// From 1; 0 when unknown.
    pub line: usize,
    /// From 1; 0 when unknown.
    pub column: usize,
}

/// Parses a document: a [`Feature`], a `Vec` of [`Segment`]s or one of [`super::state`]'s types.
///
/// # Errors
///
/// The document is not JSON, a field is missing or has a wrong type, or a name or weight is out of
/// its bounds.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ParseError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // A question mark stands for a field whose name did not parse.
        let known = path.trim_end_matches('?').trim_end_matches('.');
        ParseError::new(if known.is_empty() { "." } else { known }.to_owned(), error.inner())
    })?;
    reader.end().map_err(|error| ParseError::new(".".to_owned(), &error))?;
    Ok(parsed)
}

impl ParseError {
    fn new(path: String, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let (line, column) = (error.line(), error.column());
        let position = format!(" at line {line} column {column}");
        Self { path, message: text.strip_suffix(&position).unwrap_or(&text).to_owned(), line, column }
    }
}

fn at_path(path: &str) -> String {
    if path == "." { String::new() } else { format!("{path}: ") }
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(json: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

fn name<'de, D: Deserializer<'de>>(json: D) -> Result<String, D::Error> {
    let name = String::deserialize(json)?;
    if wire::is_name(&name) {
        return Ok(name);
    }
    let max = wire::NAME_LEN_MAX;
    Err(D::Error::custom(format_args!(
        "a toggle cannot have the name {name:?}: use 1 to {max} bytes without `=` and control characters"
    )))
}

fn variant_name<'de, D: Deserializer<'de>>(json: D) -> Result<String, D::Error> {
    let name = String::deserialize(json)?;
    let max = wire::NAME_LEN_MAX;
    if name.len() <= max && !name.contains(char::is_control) {
        return Ok(name);
    }
    Err(D::Error::custom(format_args!(
        "a variant cannot have the name {name:?}: use at most {max} bytes without control characters"
    )))
}

fn weight<'de, D: Deserializer<'de>>(json: D) -> Result<u32, D::Error> {
    let weight = u32::deserialize(json)?;
    if weight <= WEIGHT_MAX {
        return Ok(weight);
    }
    Err(D::Error::custom(format_args!("weight {weight} is above {WEIGHT_MAX}; usually the sum is 1000")))
}

fn parameters<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<String, String>, D::Error> {
    let parameters: Option<BTreeMap<String, Option<Text>>> = Option::deserialize(json)?;
    let given = parameters.unwrap_or_default().into_iter();
    Ok(given.filter_map(|(name, text)| Some((name, text?.0))).collect())
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(json)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Ok(Self(value.to_string()))
            }
            other => Err(D::Error::custom(format_args!("expected a string, found {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        parse::<Feature>(json.as_bytes()).expect_err("does not parse").to_string()
    }

    #[test]
    fn error_names_field_line_and_column() {
        let json = "{\"name\":\"a\",\"enabled\":true,\n\"strategies\":[{\"name\":\"default\"},{\"name\":7}]}";
        assert_eq!(
            error(json),
            "strategies[1].name: invalid type: integer `7`, expected a string at line 2 column 42"
        );
        assert_eq!(error("{\"name\":\"a\"}"), "missing field `enabled` at line 1 column 12");
        assert_eq!(error("{\"name\":\"a\""), "EOF while parsing an object at line 1 column 11");
        assert_eq!(error("{\"name\":\"a\",\"enabled\":true} x"), "trailing characters at line 1 column 29");
    }

    #[test]
    fn name_or_weight_out_of_bounds_is_an_error_with_the_bound() {
        let long = "n".repeat(256);
        for (json, part) in [
            (
                r#"{"name":"a=b","enabled":true}"#,
                "name: a toggle cannot have the name \"a=b\": use 1 to 255 bytes",
            ),
            (r#"{"name":"","enabled":true}"#, "1 to 255 bytes"),
            (&format!(r#"{{"name":"{long}","enabled":true}}"#), "1 to 255 bytes"),
            (
                r#"{"name":"a","enabled":true,"variants":[{"name":"x","weight":100001}]}"#,
                "variants[0].weight: weight 100001 is above 100000",
            ),
            (
                r#"{"name":"a","enabled":true,"variants":[{"name":"x","weight":-1}]}"#,
                "variants[0].weight: invalid",
            ),
            (r#"{"name":"a","enabled":true,"variants":[{"name":"x\n","weight":1}]}"#, "control characters"),
            (r#"{"name":"a","enabled":true,"strategies":[{"name":"x","parameters":{"p":[]}}]}"#, "found []"),
        ] {
            assert!(error(json).contains(part), "{json}: {}", error(json));
        }
    }

    #[test]
    fn null_is_as_good_as_absent_and_unknown_fields_are_ignored() {
        let json = r#"{"name":"a","enabled":true,"impressionData":null,"description":null,"variants":null,
            "strategies":[{"name":"flexibleRollout","constraints":null,"segments":null,"variants":null,
            "parameters":{"rollout":30,"groupId":null,"stickiness":"userId"},"title":"new"}],"dependencies":null}"#;
        let feature: Feature = parse(json.as_bytes()).expect("parses");
        assert_eq!(feature.strategies[0].parameters["rollout"], "30");
        assert!(!feature.strategies[0].parameters.contains_key("groupId"));
    }
}
