//! The check that a document passes before it comes into force.
//!
//! Owns the choice of the check for each kind, and the bounds of every document. The checks
//! themselves belong to the modules that use the documents. Invariant: what passed is the text of a
//! JSON object of at most [`DOCUMENT_LEN_MAX`] bytes, or [`SERVED_LEN_MAX`] of a server.

use serde_json::Value;

use super::fault::{Fault, parse};
use super::key::Kind;
use super::listener::Listener;
use crate::toggle::{Feature, Segment};
use crate::{ghost, rollout};

/// Longest document, in bytes of JSON: a fifth of what etcd takes in one request.
pub const DOCUMENT_LEN_MAX: usize = 256 * 1024;

/// Longest document of a server whose documents are not written here, in bytes of JSON.
pub(super) const SERVED_LEN_MAX: usize = 16 * 1024 * 1024;

/// Checks a document of `kind`: its length, its encoding, and what its kind asks for. Returns its
/// text.
///
/// # Errors
/// The first [`Fault`].
pub fn check(kind: Kind, document: &[u8]) -> Result<&str, Fault> {
    check_within(kind, document, DOCUMENT_LEN_MAX)
}

/// As [`check`], with another limit.
pub(super) fn check_within(kind: Kind, document: &[u8], len_max: usize) -> Result<&str, Fault> {
    if document.len() > len_max {
        let reason = format!("has {} bytes, the limit is {len_max}: split the document", document.len());
        return Err(Fault::whole(reason));
    }
    let text = std::str::from_utf8(document)
        .map_err(|error| Fault::whole(format!("is not UTF-8 after byte {}", error.valid_up_to())))?;
    let checked = match kind {
        Kind::Bus => parse::<Listener>(text).and_then(|listener| listener.check()),
        Kind::Toggle => parse::<Feature>(text).map(drop),
        Kind::Segments => parse::<Vec<Segment>>(text).map(drop),
        Kind::Rollout => parse::<rollout::Document>(text).map(drop).map_err(of_field),
        Kind::Ghost => parse::<ghost::Document>(text).map(drop).map_err(of_field),
        // A newer version may write records that this one does not read.
        Kind::RolloutState | Kind::Counts | Kind::Candidate => object(text),
    };
    checked.map(|()| text).map_err(|fault| fault.located(text))
}

/// The documents of rollouts and ghosts report a value that they cannot work with as `FIELD:
/// PROBLEM`, without a place.
fn of_field(fault: Fault) -> Fault {
    match fault.reason.split_once(": ") {
        Some((field, reason)) if fault.line == 0 && fault.path.is_empty() => {
            Fault::at(field, reason.to_owned())
        }
        _ => fault,
    }
}

fn object(text: &str) -> Result<(), Fault> {
    match parse::<Value>(text)? {
        Value::Object(_) => Ok(()),
        _ => Err(Fault { line: 1, column: 1, ..Fault::whole("is no JSON object".to_owned()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_line_column_and_field() {
        let text = "{\n  \"urls\": [\"tcp://a:1\",\n    7],\n \"role\": \"web\", \"version\": \"1\"}";
        let fault = check(Kind::Bus, text.as_bytes()).expect_err("7 is no URL");
        assert_eq!((fault.line, fault.path.as_str()), (3, "urls[1]"), "{fault}");
        assert!(!fault.reason.contains("line"), "{fault}");

        let text = "{\n  \"urls\": [\"tcp://a:1\",\n    \"a\"],\n \"role\": \"web\", \"version\": \"1\"}";
        let fault = check(Kind::Bus, text.as_bytes()).expect_err("`a` is no URL");
        assert_eq!((fault.line, fault.column, fault.path.as_str()), (3, 5, "urls[1]"), "{fault}");

        let fault = check(Kind::Bus, b"{\"urls\":[],\"role\":\"\",\"version\":\"\"}").expect_err("no URL");
        assert_eq!(fault.to_string(), "line 1 column 9: urls: has 0 URLs: 1 to 16 are");
    }

    #[test]
    fn a_value_that_a_rollout_cannot_work_with_has_a_place() {
        let text =
            "{\"stable\":\"1\",\"candidate\":\"2\",\n \"stages\":[{\"percent\":10},\n {\"percent\":5}]}";
        let fault = check(Kind::Rollout, text.as_bytes()).expect_err("5 is below 10");
        assert_eq!((fault.line, fault.column, fault.path.as_str()), (3, 13, "stages[1].percent"), "{fault}");
        assert!(fault.reason.starts_with("5 is not above"), "{fault}");
    }

    #[test]
    fn truncated_oversized_and_foreign_documents_are_refused() {
        let fault = |document: &[u8]| check(Kind::RolloutState, document).expect_err("is refused");
        assert_eq!((fault(b"{\n\"a\":").line, fault(b"").line), (2, 1));
        assert_eq!(fault(b"[]").reason, "is no JSON object");
        assert!(fault(b"{} {}").reason.contains("trailing"));
        assert_eq!(fault(b"{\"\xff\"").reason, "is not UTF-8 after byte 2");
        let long = vec![b' '; DOCUMENT_LEN_MAX + 1];
        assert_eq!(fault(&long).reason, "has 262145 bytes, the limit is 262144: split the document");
        let deep = "[".repeat(10_000);
        assert!(fault(deep.as_bytes()).reason.contains("recursion"), "a deep document is no stack overflow");
    }
}
