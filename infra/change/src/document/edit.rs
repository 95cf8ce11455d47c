//! Edits of a document's text.
//!
//! Owns replacing the value of one field. Leaves the check of the result to the write of it.
//! Invariant: no byte outside of the field changes, so what an operator has formatted stays so.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::fault::Fault;

/// The document with `value`, a text in JSON, as the value of its field `name`, which is added at
/// the end when it is absent. `None` when the field has this text already.
///
/// # Errors
/// A [`Fault`] when `text` is no JSON object.
pub fn with_field(text: &str, name: &str, value: &str) -> Result<Option<String>, Fault> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).map_err(|error| Fault::whole(error.to_string()))?;
    let (from, to, value) = match fields.get(name).map(|known| known.get()) {
        Some(known) if known == value => return Ok(None),
        Some(known) => {
            // The raw value is a slice of the text.
            let from = known.as_ptr() as usize - text.as_ptr() as usize;
            (from, from + known.len(), value.to_owned())
        }
        None => {
            let end = text.rfind('}').expect("an object ends with a brace");
            let from = text[..end].trim_end().len();
            let comma = if fields.is_empty() { "" } else { "," };
            let space = if text[from..end].contains('\n') { "\n  " } else { " " };
            (from, from, format!("{comma}{space}\"{name}\": {value}"))
        }
    };
    Ok(Some([&text[..from], &value, &text[to..]].concat()))
}

#[cfg(test)]
mod tests {
    use super::with_field;

    #[test]
    fn a_field_is_replaced_without_changing_another_byte() {
        let text = "{ \"strategies\": [{\"name\":\"x\",\"enabled\":false}],\n  \"enab\\u006ced\" : false , \"name\":\"é\" }\n";
        let on = with_field(text, "enabled", "true").expect("parses").expect("was off");
        assert_eq!(on, text.replace(" : false ", " : true "));
        assert_eq!(with_field(&on, "enabled", "true").expect("parses"), None);
        assert_eq!(with_field(&on, "enabled", "false").expect("parses").as_deref(), Some(text));
        assert!(with_field("[]", "enabled", "true").is_err());
    }

    #[test]
    fn an_absent_field_is_added_at_the_end() {
        let added = |text| with_field(text, "b", "{}").expect("parses").expect("is new");
        assert_eq!(added("{}"), "{ \"b\": {}}");
        assert_eq!(added("{\"a\":\"}\"}"), "{\"a\":\"}\", \"b\": {}}");
        assert_eq!(added("{\n  \"a\": 1\n}\n"), "{\n  \"a\": 1,\n  \"b\": {}\n}\n");
    }
}
