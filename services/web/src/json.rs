//! A member's page as JSON: `{"id":"1","profile":{..},"feed":{..},"missing":[]}`.
//!
//! Owns the text. Parts are copied as they were received; no value is parsed and written again.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ask_error::AskError;
use crate::gather::{Answer, Answers};
use crate::parts::Part;

/// Writes the page. A part that has nothing for the member is null; a part that failed is left out
/// and named in `missing`.
pub(crate) fn member(id: &str, answers: &Answers) -> Bytes {
    let given: usize = answers.iter().map(|(_, answer)| given_len(answer)).sum();
    let mut out = BytesMut::with_capacity(id.len() + given + 64 * (answers.len() + 1));
    out.put_slice(b"{\"id\":");
    string(id, &mut out);
    for (part, answer) in answers {
        let text = match answer {
            Answer::Given(text) => &text[..],
            Answer::Absent(_) => b"null",
            Answer::Failed(_) => continue,
        };
        out.put_slice(b",\"");
        out.put_slice(part.name.as_bytes());
        out.put_slice(b"\":");
        out.put_slice(text);
    }
    out.put_slice(b",\"missing\":[");
    let failed = answers.iter().filter_map(|(part, answer)| match answer {
        Answer::Failed(error) => Some((part, error)),
        _ => None,
    });
    for (at, (part, error)) in failed.enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        missing(part, error, &mut out);
    }
    out.put_slice(b"]}");
    out.freeze()
}

fn missing(part: &Part, error: &AskError, out: &mut BytesMut) {
    out.put_slice(b"{\"service\":\"");
    out.put_slice(part.service.as_bytes());
    out.put_slice(b"\",\"part\":\"");
    out.put_slice(part.name.as_bytes());
    out.put_slice(b"\",\"reason\":\"");
    out.put_slice(error.reason().as_bytes());
    out.put_u8(b'"');
    if let AskError::Status(status, _) = error {
        out.put_slice(b",\"status\":");
        out.put_slice(itoa::Buffer::new().format(*status).as_bytes());
    }
    out.put_u8(b'}');
}

fn given_len(answer: &Answer) -> usize {
    if let Answer::Given(text) = answer { text.len() } else { 0 }
}

fn string(text: &str, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), text).expect("a string is always JSON, and memory takes every write");
}

#[cfg(test)]
mod tests {
    use service_host::bus::RequestError;

    use super::*;
    use crate::parts::SOURCES;

    fn text(answers: &Answers) -> String {
        String::from_utf8(member("a\"b", answers).to_vec()).unwrap()
    }

    #[test]
    fn parts_are_written_as_they_came() {
        let profile = Answer::Given(Bytes::from_static(b"{ \"n\": 1.50 }"));
        let answers = Answers::from_iter([
            (&SOURCES[0].parts[0], profile),
            (&SOURCES[1].parts[0], Answer::Absent(Bytes::new())),
        ]);
        assert_eq!(text(&answers), r#"{"id":"a\"b","profile":{ "n": 1.50 },"feed":null,"missing":[]}"#);
    }

    #[test]
    fn what_failed_is_left_out_and_named() {
        let late = AskError::Request(RequestError::Deadline { service: "feed".to_owned() });
        let broken = AskError::Status(500, Bytes::new());
        let answers = Answers::from_iter([
            (&SOURCES[1].parts[0], Answer::Failed(late)),
            (&SOURCES[1].parts[1], Answer::Failed(broken)),
        ]);
        let expected = r#"{"id":"a\"b","missing":[{"service":"feed","part":"feed","reason":"deadline"},{"service":"feed","part":"unread","reason":"reply_status","status":500}]}"#;
        assert_eq!(text(&answers), expected);
    }
}
