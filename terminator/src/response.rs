//! Envelope -> HTTP: what a request is answered, as hyper or the plain road write it.
//!
//! Owns: which fields of a reply go to the client and as what, and the body's type. Does not: copy values or bodies; they are
//! slices of the buffer that the bus read. Invariant: no field of a reply can break the framing: hop-by-hop ones and
//! `content-length` are dropped, names and values checked.

mod body;

use bus::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

pub use body::Body;

use crate::limits::REPLY_HEAD_BYTES;
use crate::request::{Fields, REQUEST_ID, RequestHead, is_hop_by_hop, is_named_by};
use crate::rescue::Refusal;

/// A request and what it is answered.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    request: RequestHead,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Reply(Reply),
    Refusal { headers: Box<HeaderMap>, body: Bytes },
}

/// The status of a reply.
///
/// # Errors
/// [`Refusal::BadReply`] when it is none that may follow a request: 1xx, or no status at all; [`Refusal::ReplyHead`].
pub fn status_of(reply: &Reply) -> Result<StatusCode, Refusal> {
    let bytes = reply.envelope.head_bytes().len();
    if bytes > REPLY_HEAD_BYTES {
        return Err(Refusal::ReplyHead { bytes });
    }
    match StatusCode::from_u16(reply.status) {
        Ok(status) if (200..600).contains(&reply.status) => Ok(status),
        _ => Err(Refusal::BadReply { status: reply.status }),
    }
}

impl Answer {
    /// A service's.
    #[must_use]
    pub fn reply(request: RequestHead, status: StatusCode, reply: Reply) -> Self {
        Self { status, request, source: Source::Reply(reply) }
    }

    /// Ours.
    #[must_use]
    pub fn refusal(request: RequestHead, refusal: &Refusal) -> Self {
        let mut problem = refusal.problem();
        problem.request_id = request.id();
        problem.instance = request.path();
        let (status, body) = (problem.status, problem.to_json());
        let mut headers = Box::new(HeaderMap::new());
        refusal.headers(&mut headers);
        if request.connection().leaves_unread() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Self { status, request, source: Source::Refusal { headers, body } }
    }

    /// What is answered.
    #[must_use]
    pub fn request(&self) -> &RequestHead {
        &self.request
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Bytes of the body that the client is sent, where they are known.
    #[must_use]
    pub fn body_len(&self) -> Option<usize> {
        if *self.request.method() == Method::HEAD {
            return Some(0);
        }
        match &self.source {
            Source::Reply(Reply { parts: None, envelope, .. }) => Some(envelope.body_bytes().len()),
            Source::Reply(_) => None,
            Source::Refusal { body, .. } => Some(body.len()),
        }
    }

    /// All bytes of the body, when they are there.
    #[must_use]
    pub fn whole_body(&self) -> Option<Bytes> {
        match &self.source {
            Source::Reply(Reply { parts: None, envelope, .. }) => Some(envelope.body()),
            Source::Reply(_) => None,
            Source::Refusal { body, .. } => Some(body.clone()),
        }
    }

    /// Gives each header to `take`, its name in lower case, none twice that may not be; the body's length is none of them.
    pub fn each_header(&self, mut take: impl FnMut(&[u8], &[u8])) {
        match &self.source {
            Source::Reply(reply) => {
                let dropped = pass(reply, |name, value| take(name.as_ref(), value));
                self.count_dropped(dropped);
            }
            Source::Refusal { headers, .. } => headers.each().for_each(|(name, value)| take(name, value)),
        }
        take(REQUEST_ID.as_bytes(), self.request.id_bytes());
    }

    /// As hyper takes it. `headers`, which are empty, are memory to use.
    #[must_use]
    pub fn into_response(self, mut headers: HeaderMap) -> Response<Body> {
        let connection = self.request.connection();
        let is_head = *self.request.method() == Method::HEAD;
        if let Source::Reply(reply) = &self.source {
            let envelope = &reply.envelope;
            let dropped = pass(reply, |name, value| {
                let value =
                    HeaderValue::from_maybe_shared(envelope.share(value)).expect("it has been checked");
                headers.append(name, value);
            });
            self.count_dropped(dropped);
        }
        let body = match self.source {
            Source::Reply(reply) if is_head => {
                // A 204 has none, not even as a promise (RFC 9110 section 8.6).
                if self.status != StatusCode::NO_CONTENT
                    && let Some(length) = length_for_head(&reply)
                {
                    headers.insert(header::CONTENT_LENGTH, length);
                }
                Body::empty(connection)
            }
            Source::Reply(Reply { parts: Some(parts), envelope, .. }) => {
                Body::parts(connection, envelope.body(), parts)
            }
            Source::Reply(reply) => Body::full(connection, reply.envelope.body()),
            Source::Refusal { headers: own, body } => {
                headers = *own;
                if is_head {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                    Body::empty(connection)
                } else {
                    Body::full(connection, body)
                }
            }
        };
        headers.insert(HeaderName::from_static(REQUEST_ID), self.request.id_value());
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }

    fn count_dropped(&self, fields: u64) {
        if fields > 0 {
            self.request.connection().worker.stats.reply_fields_dropped.add(fields);
        }
    }
}

/// Gives to `take` what may go to the client; the number of fields that may not. A length and an id are not counted: ours take
/// their places.
fn pass<'a>(reply: &'a Reply, mut take: impl FnMut(HeaderName, &'a [u8])) -> u64 {
    let envelope = &reply.envelope;
    let connection = envelope.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let mut dropped = 0;
    for (name, value) in envelope.fields() {
        let Some(name) = frequent(name).or_else(|| HeaderName::from_bytes(name).ok()) else {
            dropped += 1;
            continue;
        };
        if name == header::CONTENT_LENGTH || name.as_str() == REQUEST_ID {
            continue;
        }
        let named =
            || connection.is_some_and(|(_, value)| is_named_by(std::iter::once(value), name.as_ref()));
        if is_hop_by_hop(name.as_ref()) || named() || !is_valid(value) {
            dropped += 1;
        } else {
            take(name, value);
        }
    }
    dropped
}

/// The headers that most replies have: found by a look, where `http` hashes and searches.
fn frequent(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"content-type" => header::CONTENT_TYPE,
        b"cache-control" => header::CACHE_CONTROL,
        b"etag" => header::ETAG,
        b"vary" => header::VARY,
        b"last-modified" => header::LAST_MODIFIED,
        b"location" => header::LOCATION,
        _ => return None,
    })
}

/// Whether `value` is a header's as `http` has it: no control characters but the tab.
fn is_valid(value: &[u8]) -> bool {
    // Without a way out in the middle, so that it is done many bytes at once.
    !value.iter().fold(false, |found, byte| found | ((*byte < b' ' && *byte != b'\t') | (*byte == 0x7f)))
}

/// The length that the body would have had: nobody but the service knows it, unless it sent one all the same.
fn length_for_head(reply: &Reply) -> Option<HeaderValue> {
    let said = reply.envelope.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    let said = said.filter_map(|(_, value)| std::str::from_utf8(value).ok()?.parse::<u64>().ok()).last();
    let sent = reply.envelope.body_bytes().len();
    let sent = (sent > 0 && reply.parts.is_none()).then_some(sent as u64);
    said.or(sent).map(HeaderValue::from)
}

#[cfg(test)]
mod tests {
    use bus::proto::{Header, Kind};
    use bus::{Envelope, HeadWriter};
    use bytes::{Bytes, BytesMut};

    use super::*;

    fn reply(fields: &[(&str, &str)]) -> Reply {
        let mut head = BytesMut::new();
        let mut writer = HeadWriter::new(&mut head);
        fields.iter().for_each(|(name, value)| writer.field(name, value));
        let len = u32::try_from(writer.finish().unwrap()).unwrap();
        let header = Header { status: 200, ..Header::new(Kind::Reply) };
        let message = [&header.to_bytes(len)[..], &head, b"body"].concat();
        Reply { status: 200, envelope: Envelope::decode(Bytes::from(message)).unwrap(), parts: None }
    }

    fn passed(fields: &[(&str, &str)]) -> (Vec<(String, Vec<u8>)>, u64) {
        let mut passed = Vec::new();
        let dropped = pass(&reply(fields), |name, value| passed.push((name.to_string(), value.to_vec())));
        (passed, dropped)
    }

    #[test]
    fn fields_that_could_break_the_framing_are_dropped_and_counted() {
        let (fields, dropped) = passed(&[
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
            ("x-inner", "1"),
            ("connection", "x-inner, close"),
            ("X-INNER", "2"),
            (":status", "200"),
            ("bad name", "1"),
            ("x-split", "a\r\nset-cookie: b"),
            ("x-deleted", "a\u{7f}"),
            ("set-cookie", "a"),
            ("set-cookie", "b\tc"),
        ]);
        assert_eq!(dropped, 8);
        let kept = [("content-type", &b"text/plain"[..]), ("set-cookie", b"a"), ("set-cookie", b"b\tc")];
        assert_eq!(fields, kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_value_is_valid_when_http_takes_it() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_valid(&[byte]), HeaderValue::from_bytes(&[byte]).is_ok(), "{byte}");
        }
    }

    #[test]
    fn lengths_and_ids_of_a_service_are_left_out_and_not_counted() {
        let fields = [("content-length", "42"), ("Content-Length", "x"), ("x-request-id", "theirs")];
        assert_eq!(passed(&fields), (Vec::new(), 0));
    }

    #[test]
    fn a_length_is_kept_for_head_alone() {
        let length = |fields: &[(&str, &str)]| length_for_head(&reply(fields)).unwrap();
        assert_eq!(length(&[("content-length", "42")]), "42");
        assert_eq!(length(&[("content-length", "-1")]), "4");
        assert_eq!(length(&[]), "4");
    }
}
