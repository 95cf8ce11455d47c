//! Envelope to HTTP: the answer to a request, and the head of its response.
//!
//! Owns which fields of a reply are sent to the client, and the length of its body. Leaves framing
//! to crate `http1`, error statuses to `rescue`, and writing to `serve`. Invariant: bodies are not
//! copied; they stay slices of the buffer that the bus read. No field of a reply can break the
//! framing, because hop-by-hop fields and invalid ones are dropped and counted.

use bus::proto::Fields as ReplyFields;
use bus::{Parts, Reply};
use bytes::Bytes;
use http::{Method, StatusCode};
use http1::{Fields, Options, Response, Sending};

use crate::limits::{INSTANCE_BYTES, REPLY_HEAD_BYTES};
use crate::request::RequestHead;
use crate::rescue::{self, METHODS, Refusal};
use crate::trace::REQUEST_ID;

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// The reply of a service, with its status, which is from 200 to 599.
    Reply(StatusCode, Reply),
    /// The terminator's own answer to `OPTIONS *` (RFC 9110 section 9.3.7).
    Options,
    /// An error.
    Refusal(Refusal),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// A response whose head is written, and whose body is not.
#[derive(Debug)]
pub struct Written {
    /// The framing of the body.
    pub sending: Sending,
    /// The body, or its first part.
    pub body: Bytes,
    /// The parts that follow, when the reply comes in parts.
    pub parts: Option<Parts>,
}

impl Answer {
    /// The answer that consists of a service's reply.
    ///
    /// # Errors
    /// [`Refusal::BadReply`] when the status is not from 200 to 599; [`Refusal::ReplyHead`] and
    /// [`Refusal::ReplyOptions`] when the head would take too long to process.
    #[inline]
    pub fn reply(reply: Reply) -> Result<Self, Refusal> {
        let bytes = reply.envelope.head_bytes().len();
        if bytes > REPLY_HEAD_BYTES {
            return Err(Refusal::ReplyHead { bytes });
        }
        if connection(reply.envelope.fields()).is_some_and(|options| options.is_err()) {
            return Err(Refusal::ReplyOptions);
        }
        match StatusCode::from_u16(reply.status) {
            Ok(status) if (200..600).contains(&reply.status) => Ok(Self::Reply(status, reply)),
            _ => Err(Refusal::BadReply { status: reply.status }),
        }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Reply(status, _) => *status,
            Self::Options => StatusCode::NO_CONTENT,
            Self::Refusal(refusal) => refusal.reason().status(),
        }
    }

    /// Appends the head of the response to `request` to `out`. `close` makes it the last response
    /// of its connection; `date` is the value of `Date`. Takes the parts of a reply, so a second
    /// call would miss them.
    #[inline]
    pub fn write(
        &mut self,
        request: &RequestHead,
        protocol: &mut http1::Connection,
        close: bool,
        date: &str,
        out: &mut Vec<u8>,
    ) -> Written {
        let status = self.status();
        let response = Response {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default(),
            length: None,
            close,
            date,
        };
        let id = |fields: &mut Fields<'_>| {
            fields.add(REQUEST_ID.as_bytes(), request.id_bytes());
            if let Some(cookie) = request.decision().and_then(|decision| decision.set_cookie.as_deref()) {
                fields.add(b"set-cookie", cookie.as_bytes());
            }
        };
        match self {
            Self::Reply(_, reply) => {
                let length = match &reply.parts {
                    _ if *request.method() == Method::HEAD => length_for_head(reply),
                    Some(_) => None,
                    None => Some(reply.envelope.body_bytes().len() as u64),
                };
                let mut dropped = 0;
                let sending = protocol.respond(&Response { length, ..response }, out, |fields| {
                    dropped = write_fields(reply, fields);
                    id(fields);
                });
                if dropped > 0 {
                    request.connection().worker.stats.reply_fields_dropped.add(dropped);
                }
                if sending == Sending::Nothing {
                    return Written { sending, body: Bytes::new(), parts: None };
                }
                Written { sending, body: reply.envelope.body(), parts: reply.parts.take() }
            }
            Self::Options => {
                let sending = protocol.respond(&response, out, |fields| {
                    fields.add(b"allow", METHODS.map(|method| method.to_string()).join(", ").as_bytes());
                    id(fields);
                });
                Written { sending, body: Bytes::new(), parts: None }
            }
            Self::Refusal(refusal) => {
                let path = Some(request.path()).filter(|path| path.len() <= INSTANCE_BYTES);
                let problem = refusal.problem().request_id(request.id()).instance(path.unwrap_or_default());
                let (media, body) = rescue::body(&problem, request.prefers_html());
                let response = Response {
                    length: Some(body.len() as u64),
                    close: close || refusal.closes(),
                    ..response
                };
                let sending = protocol.respond(&response, out, |fields| {
                    refusal.write_fields(media, fields);
                    id(fields);
                });
                let body = if sending == Sending::Nothing { Bytes::new() } else { body };
                Written { sending, body, parts: None }
            }
        }
    }
}

/// Writes the fields of a reply that may be sent to the client; returns the number of dropped ones.
/// A length and an id are dropped without being counted, because the terminator writes its own.
#[inline]
fn write_fields(reply: &Reply, fields: &mut Fields<'_>) -> u64 {
    let options = connection(reply.envelope.fields()).and_then(Result::ok);
    let mut dropped = 0;
    for (name, value) in reply.envelope.fields() {
        let named = options.as_ref().is_some_and(|options| options.name(name));
        if named || is_ours(name) || !fields.add(name, value) {
            dropped += u64::from(!is_ours(name));
        }
    }
    dropped
}

/// True for a field that the terminator writes itself.
#[inline]
fn is_ours(name: &[u8]) -> bool {
    match name.len() {
        12 => name.eq_ignore_ascii_case(REQUEST_ID.as_bytes()),
        14 => name.eq_ignore_ascii_case(b"content-length"),
        _ => false,
    }
}

/// The options of a reply's `Connection` fields, if it has one.
#[inline]
fn connection(fields: ReplyFields<'_>) -> Option<Result<Options<'_>, http1::Error>> {
    let is_connection = |name: &[u8]| name.len() == 10 && name.eq_ignore_ascii_case(b"connection");
    let mut values = fields.filter(|(name, _)| is_connection(name)).map(|(_, value)| value);
    let first = values.next()?;
    Some(Options::of(std::iter::once(first).chain(values)))
}

/// `Content-Length` of the response to HEAD: what the reply says, or else the length of the body
/// that the service sent although HEAD has none.
fn length_for_head(reply: &Reply) -> Option<u64> {
    let said = reply.envelope.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    let digits = |value: &[u8]| value.iter().all(u8::is_ascii_digit);
    let said =
        said.filter_map(|(_, value)| std::str::from_utf8(value).ok().filter(|_| digits(value))?.parse().ok());
    let sent = reply.envelope.body_bytes().len() as u64;
    said.last().or((sent > 0 && reply.parts.is_none()).then_some(sent))
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

    /// The lines that are written, and how many fields are dropped.
    fn written(fields: &[(&str, &str)]) -> (String, u64) {
        let (mut out, mut dropped) = (Vec::new(), 0);
        let response = Response { status: 200, reason: "OK", length: None, close: false, date: "now" };
        http1::Connection::new()
            .respond(&response, &mut out, |out| dropped = write_fields(&reply(fields), out));
        let text = String::from_utf8(out).unwrap();
        let start = "HTTP/1.1 200 OK\r\n".len();
        (text[start..text.find("transfer-encoding: ").unwrap()].to_owned(), dropped)
    }

    #[test]
    fn fields_that_could_break_the_framing_are_dropped_and_counted() {
        let (text, dropped) = written(&[
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
            ("x-inner", "1"),
            ("connection", "close"),
            ("Connection", "x-inner"),
            ("X-INNER", "2"),
            (":status", "200"),
            ("bad name", "1"),
            ("x-split", "a\r\nset-cookie: b"),
            ("x-deleted", "a\u{7f}"),
            ("Set-Cookie", "a"),
            ("set-cookie", "b\tc"),
            ("server", "one"),
            ("Server", "two"),
        ]);
        assert_eq!(dropped, 10);
        assert_eq!(text, "content-type: text/plain\r\nset-cookie: a\r\nset-cookie: b\tc\r\nserver: one\r\n");
    }

    #[test]
    fn lengths_and_ids_of_a_service_are_left_out_and_not_counted() {
        let fields = [("content-length", "42"), ("Content-Length", "x"), ("X-Request-Id", "theirs")];
        assert_eq!(written(&fields), (String::new(), 0));
    }

    #[test]
    fn a_length_is_kept_for_head_alone() {
        let length = |fields: &[(&str, &str)]| length_for_head(&reply(fields)).unwrap();
        assert_eq!(length(&[("content-length", "42")]), 42);
        assert_eq!(length(&[("content-length", "-1")]), 4);
        assert_eq!(length(&[("content-length", "+5")]), 4);
        assert_eq!(length(&[]), 4);
    }

    #[test]
    fn a_reply_with_more_options_than_fields_need_is_refused() {
        let value = "a,".repeat(100);
        assert_eq!(Answer::reply(reply(&[("connection", &value)])).unwrap_err(), Refusal::ReplyOptions);
    }
}
