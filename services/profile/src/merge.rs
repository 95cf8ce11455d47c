//! JSON merge patch (RFC 7396) on texts.
//!
//! Owns the merge. Values that the patch does not name keep their text, order and digits. A merge
//! of parsed values would round an untouched number of thirty digits.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The document that results from applying `patch` to `document`. Both are JSON objects, nested no
/// deeper than serde_json's own limit.
///
/// # Errors
/// One of them is not JSON.
pub(crate) fn merge(document: &[u8], patch: &[u8]) -> Result<String, serde_json::Error> {
    let (document, patch): (&RawValue, &RawValue) =
        (serde_json::from_slice(document)?, serde_json::from_slice(patch)?);
    let mut out = String::with_capacity(document.get().len() + patch.get().len());
    merge_value(Some(document), patch, &mut out)?;
    Ok(out)
}

/// The members of an object in order; of several with the same name the last one.
#[derive(Default)]
struct Members<'a> {
    list: Vec<(String, &'a RawValue)>,
    index: HashMap<String, usize>,
}

fn merge_value(
    document: Option<&RawValue>,
    patch: &RawValue,
    out: &mut String,
) -> Result<(), serde_json::Error> {
    if !is_object(patch) {
        out.push_str(patch.get());
        return Ok(());
    }
    let patch: Members<'_> = serde_json::from_str(patch.get())?;
    let document: Members<'_> = match document {
        Some(document) if is_object(document) => serde_json::from_str(document.get())?,
        _ => Members::default(),
    };
    out.push('{');
    let mut comma = "";
    for (name, value) in &document.list {
        let change = patch.index.get(name).map(|&at| patch.list[at].1);
        if change.is_some_and(is_null) {
            continue;
        }
        member(name, &mut comma, out)?;
        match change {
            Some(change) => merge_value(Some(value), change, out)?,
            None => out.push_str(value.get()),
        }
    }
    for (name, value) in &patch.list {
        if !document.index.contains_key(name) && !is_null(value) {
            member(name, &mut comma, out)?;
            merge_value(None, value, out)?;
        }
    }
    out.push('}');
    Ok(())
}

fn member(name: &str, comma: &mut &'static str, out: &mut String) -> Result<(), serde_json::Error> {
    out.push_str(comma);
    *comma = ",";
    out.push_str(&serde_json::to_string(name)?);
    out.push(':');
    Ok(())
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            match members.index.get(&name) {
                Some(&at) => members.list[at].1 = value,
                None => {
                    members.index.insert(name.clone(), members.list.len());
                    members.list.push((name, value));
                }
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn merged(document: &str, patch: &str) -> String {
        merge(document.as_bytes(), patch.as_bytes()).unwrap()
    }

    /// The examples of RFC 7396, appendix A, in which both values are objects.
    #[test]
    fn the_examples_of_the_rfc() {
        for (document, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (r#"{"a":"foo"}"#, "[1]", "[1]"),
        ] {
            assert_eq!(merged(document, patch), expected, "{document} + {patch}");
        }
    }

    #[test]
    fn values_that_the_patch_does_not_name_keep_their_text() {
        let document =
            r#"{"z":123456789012345678901234567890,"a":1.0e+2,"t":" \u00e9 ","o":{"y": [ 1 ],"x":2}}"#;
        let expected =
            r#"{"z":123456789012345678901234567890,"a":1.0e+2,"t":" \u00e9 ","o":{"y":[ 1 ],"x":3}}"#;
        assert_eq!(merged(document, r#"{"o":{"x":3}}"#), expected);
        assert_eq!(merged(r#"{"a\n":1,"b":2}"#, r#"{"b":null}"#), r#"{"a\n":1}"#);
    }

    /// Compares with the crate `json-patch` on random documents.
    #[test]
    fn agrees_with_json_patch() {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7396);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let (document, patch) = (object(&mut random, 3), object(&mut random, 3));
            let text = merged(&document.to_string(), &patch.to_string());
            let mut expected = document.clone();
            json_patch::merge(&mut expected, &patch);
            let found: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(found, expected, "SEED={seed}: {document} + {patch}");
        }
    }

    fn object(random: &mut fastrand::Rng, depth: u32) -> Value {
        let names = ["a", "b", "c", "d\"", "é"];
        let members = (0..random.usize(..5)).map(|_| {
            let value = match random.u32(..if depth > 0 { 6 } else { 4 }) {
                0 => Value::Null,
                1 => Value::from(random.i32(..)),
                2 => Value::from("x y"),
                3 => serde_json::json!([null, {"a": null}]),
                _ => object(random, depth - 1),
            };
            (names[random.usize(..names.len())].to_owned(), value)
        });
        Value::Object(members.collect())
    }
}
