//! The document of ghost traffic: what an operator writes.
//!
//! Owns its JSON, its defaults and its checks. Leaves file names, keys and lines to the source of
//! the plan. Invariant: a [`Document`] in memory is valid.

use serde::{Deserialize, Serialize};

use crate::split::Percent;

/// Most methods that a document names.
const METHODS_MAX: usize = 16;
/// Most paths that a document ignores.
const IGNORE_MAX: usize = 100;

/// Ghost traffic of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Document {
    /// Version that gets the copies.
    pub candidate: String,
    /// Share of requests that is copied. Default: 10 %.
    pub percent: Percent,
    /// Methods that are copied. Default: GET and HEAD. A method that changes something is copied
    /// only when it is named here.
    pub methods: Vec<String>,
    /// Paths that are not compared, with everything below them: `status`, `header.NAME` or
    /// `body.a.b[].c`. Default: none.
    pub ignore: Vec<String>,
}

/// A field has a value that cannot be worked with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, for example `methods[1]`.
    pub field: String,
    /// The value, the limit and the remedy.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    candidate: String,
    #[serde(default = "default_percent")]
    percent: f64,
    #[serde(default = "default_methods")]
    methods: Vec<String>,
    #[serde(default)]
    ignore: Vec<String>,
}

impl Document {
    /// The document with these fields and the defaults of all others.
    pub fn new(candidate: impl Into<String>, percent: Percent) -> Self {
        Self { candidate: candidate.into(), percent, methods: default_methods(), ignore: Vec::new() }
    }
}

fn default_percent() -> f64 {
    10.0
}

fn default_methods() -> Vec<String> {
    ["GET", "HEAD"].map(str::to_owned).to_vec()
}

impl TryFrom<Written> for Document {
    type Error = Invalid;

    fn try_from(Written { candidate, percent, methods, ignore }: Written) -> Result<Self, Invalid> {
        let invalid = |field: &str, problem: String| Invalid { field: field.to_owned(), problem };
        if candidate.is_empty() {
            let remedy = "is empty: name the version that the service's hello carries";
            return Err(invalid("candidate", remedy.to_owned()));
        }
        let percent = Percent::try_from(percent).map_err(|error| invalid("percent", error.to_string()))?;
        for (field, count, max) in
            [("methods", methods.len(), METHODS_MAX), ("ignore", ignore.len(), IGNORE_MAX)]
        {
            if count > max {
                return Err(invalid(field, format!("{count} entries, the limit is {max}")));
            }
        }
        for (at, method) in methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                let problem = format!("`{method}` is no method: write it in capitals, for example GET");
                return Err(invalid(&format!("methods[{at}]"), problem));
            }
        }
        for (at, path) in ignore.iter().enumerate() {
            let is_path = path == "status"
                || path == "body"
                || ["header.", "body.", "body["].iter().any(|start| path.starts_with(start));
            if !is_path {
                let problem = format!(
                    "`{path}` is no path: write status, header.NAME or body.a.b[].c as in the report"
                );
                return Err(invalid(&format!("ignore[{at}]"), problem));
            }
        }
        Ok(Self { candidate, percent, methods, ignore })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_design_is_read() {
        let json = r#"{"candidate":"2","percent":10,"methods":["GET"],"ignore":["body.at_ms"]}"#;
        let document: Document = serde_json::from_str(json).unwrap();
        assert_eq!(f64::from(document.percent), 10.0);
        let written = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&written).unwrap(), document);
    }

    #[test]
    fn only_methods_that_change_nothing_are_copied_by_default() {
        let document: Document = serde_json::from_str(r#"{"candidate":"2"}"#).unwrap();
        assert_eq!(document.methods, ["GET", "HEAD"]);
    }

    #[test]
    fn errors_name_the_field_and_the_value() {
        for (json, parts) in [
            (r#"{}"#, ["`candidate`", ""]),
            (r#"{"candidate":""}"#, ["candidate: is empty", ""]),
            (r#"{"candidate":"2","percent":120}"#, ["percent: 120", "100"]),
            (r#"{"candidate":"2","methods":["GET","post"]}"#, ["methods[1]: `post`", "capitals"]),
            (r#"{"candidate":"2","ignore":["at_ms"]}"#, ["ignore[0]: `at_ms`", "body."]),
            (r#"{"candidate":"2","method":["GET"]}"#, ["`method`", "`methods`"]),
        ] {
            let message = serde_json::from_str::<Document>(json).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{json}: {message}");
            }
        }
    }
}
