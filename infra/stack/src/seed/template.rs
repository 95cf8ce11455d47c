//! `--path '/profiles/{id}' --method PUT --body '{}'`: how a JSON object becomes a request.
//!
//! Owns parsing and filling the templates. Invariant: a line's value fills exactly one path
//! segment: all but unreserved characters are percent-encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::request::Request;

/// All but the unreserved characters (RFC 3986, section 2.3) are escaped.
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How lines become requests.
#[derive(Clone, Debug)]
pub struct Template {
    method: String,
    path: Vec<Piece>,
    body: String,
}

/// A piece of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

impl Template {
    /// Parses the templates.
    ///
    /// # Errors
    /// Which template is wrong, and how.
    pub fn new(method: &str, path: &str, body: &str) -> Result<Self, String> {
        let pieces = pieces(path)?;
        let template = Self { method: method.to_owned(), path: pieces, body: body.to_owned() };
        // Filled with a sample value, so that errors which every line would have are found now.
        let sample: String = template
            .path
            .iter()
            .map(|piece| if let Piece::Text(text) = piece { text } else { "x" })
            .collect();
        Request::new(method, &sample, "").map_err(|error| format!("--method and --path: {error}"))?;
        let body = body.replace("{}", "{\"a\":1}");
        if !body.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(&body).is_err() {
            return Err(format!(
                "--body {:?} is not JSON, even with {{}} replaced by an object",
                template.body
            ));
        }
        Ok(template)
    }

    /// The request of a line.
    ///
    /// # Errors
    /// Why the line has none.
    pub fn fill(&self, line: &[u8]) -> Result<Request, String> {
        let line = line.trim_ascii();
        let members: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| format!("no JSON object: {error}"))?;
        let mut path = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Field(name) => path.extend(utf8_percent_encode(&field(&members, name)?, SEGMENT)),
            }
        }
        let text = std::str::from_utf8(line).map_err(|error| format!("no UTF-8: {error}"))?;
        Request::new(&self.method, &path, self.body.replace("{}", text))
    }
}

/// Splits `/profiles/{id}` into its pieces.
fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let wrong = || format!("--path {template:?} has an unmatched brace; write /profiles/{{id}}");
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or_else(wrong)?;
        if text.contains('}') || name.is_empty() || name.contains('{') {
            return Err(wrong());
        }
        pieces.extend([Piece::Text(text.to_owned()), Piece::Field(name.to_owned())]);
        rest = behind;
    }
    if rest.contains('}') {
        return Err(wrong());
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

fn field(members: &Map<String, Value>, name: &str) -> Result<String, String> {
    match members.get(name) {
        Some(Value::String(text)) if matches!(text.as_str(), "" | "." | "..") => {
            Err(format!("its field `{name}` is {text:?}, which cannot be a path segment"))
        }
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(other) => Err(format!("its field `{name}` is {other}, neither a text nor a number")),
        None => Err(format!("it has no field `{name}`, which --path asks for")),
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    fn filled(body: &str, line: &str) -> Result<(String, String), String> {
        let template = Template::new("POST", "/feeds/{owner}/x/{n}", body).expect("is a template");
        let request = template.fill(line.as_bytes())?;
        Ok((request.path.to_string(), String::from_utf8(request.body.to_vec()).expect("is UTF-8")))
    }

    #[test]
    fn fields_complete_the_path_and_the_line_is_the_body_byte_for_byte() {
        let line = r#"{"owner":"a/ö?", "n":1.50,"text":"{}"}"#;
        let path = "/feeds/a%2F%C3%B6%3F/x/1.5".to_owned();
        assert_eq!(filled("{}", line), Ok((path.clone(), line.to_owned())));
        assert_eq!(
            filled(r#"{"events":[{}]}"#, line),
            Ok((path.clone(), format!(r#"{{"events":[{line}]}}"#)))
        );
        assert_eq!(filled("", line), Ok((path, String::new())));
    }

    #[test]
    fn line_that_lacks_what_is_asked_for_is_refused_with_the_name() {
        for (line, wanted) in [
            ("[]", "no JSON object"),
            (r#"{"owner":"a"}"#, "`n`"),
            (r#"{"owner":"a","n":null}"#, "null"),
            (r#"{"owner":"","n":1}"#, "`owner`"),
            (r#"{"owner":"..","n":1}"#, "`owner`"),
        ] {
            let error = filled("{}", line).expect_err(line);
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }

    #[test]
    fn template_that_fits_no_line_is_refused() {
        for (method, path, body) in [
            ("PUT", "/a/{id", "{}"),
            ("PUT", "/a/id}", "{}"),
            ("PUT", "/a/{}", "{}"),
            ("PUT", "a/{id}", "{}"),
            ("put", "/a/{id}", "{}"),
            ("PUT", "/a b", "{}"),
            ("PUT", "/a", "{\"x\":{}"),
        ] {
            Template::new(method, path, body).expect_err(path);
        }
    }
}
