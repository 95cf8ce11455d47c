//! Envelope -> HTTP: a reply as hyper writes it.
//!
//! Owns: which fields go to the client and as what, and the body's type. Does not: copy values or bodies; they are
//! slices of the buffer that the bus read. Invariant: no field of a reply can break the framing: hop-by-hop ones and
//! `content-length` are dropped, names and values checked.

mod body;

use bus::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

pub use body::Body;

use crate::request::{RequestHead, is_hop_by_hop};
use crate::rescue::Refusal;

/// The response to `request` that `reply` makes.
///
/// # Errors
/// [`Refusal::BadReply`] when its status is none that may follow a request: 1xx, or no status at all.
pub fn from_reply(request: &mut RequestHead, reply: Reply) -> Result<Response<Body>, Refusal> {
    let status = match StatusCode::from_u16(reply.status) {
        Ok(status) if (200..600).contains(&reply.status) => status,
        _ => return Err(Refusal::BadReply { status: reply.status }),
    };
    let is_head = request.parts().method == Method::HEAD;
    let mut headers = request.take_headers();
    let dropped = copy_fields(&reply, is_head, &mut headers);
    let connection = request.connection();
    if dropped > 0 {
        connection.worker.stats.reply_fields_dropped.add(dropped);
    }
    headers.insert(REQUEST_ID, request.id().to_value());
    let body = match reply.parts {
        _ if is_head => {
            let len = reply.envelope.body_bytes().len();
            if len > 0 && reply.parts.is_none() {
                headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
            }
            Body::empty(connection)
        }
        None => Body::full(connection, reply.envelope.body()),
        Some(parts) => Body::parts(connection, reply.envelope.body(), parts),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// The response that a refusal makes.
#[must_use]
pub fn from_refusal(request: &mut RequestHead, refusal: &Refusal) -> Response<Body> {
    let mut headers = request.take_headers();
    let mut problem = refusal.problem();
    problem.request_id = request.id().as_str();
    problem.instance = request.route_path();
    let body = problem.to_json();
    refusal.headers(&mut headers);
    headers.insert(REQUEST_ID, request.id().to_value());
    let body = if request.parts().method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Body::empty(request.connection())
    } else {
        Body::full(request.connection(), body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = problem.status;
    *response.headers_mut() = headers;
    response
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Copies what may go to the client; the number of fields that may not.
fn copy_fields(reply: &Reply, is_head: bool, headers: &mut HeaderMap) -> u64 {
    let envelope = &reply.envelope;
    let mut named = None;
    let mut dropped = 0;
    for (name, value) in envelope.fields() {
        let Some(header) = frequent(name).or_else(|| HeaderName::from_bytes(name).ok()) else {
            dropped += 1;
            continue;
        };
        if header == header::CONTENT_LENGTH {
            // hyper writes the length of what it sends. For HEAD nobody but the service knows it.
            if is_head && let Some(length) = decimal(value) {
                headers.insert(header, length);
            }
            continue;
        }
        if header == header::CONNECTION {
            named.get_or_insert(value);
        }
        match HeaderValue::from_maybe_shared(envelope.share(value)) {
            Ok(value) if !is_hop_by_hop(&header) => {
                headers.append(header, value);
            }
            _ => dropped += 1,
        }
    }
    dropped + named.map_or(0, |named| drop_named(named, headers))
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

/// Takes out what the reply's own `connection` field names; how many fields that were.
#[cold]
fn drop_named(connection: &[u8], headers: &mut HeaderMap) -> u64 {
    let mut dropped = 0;
    for token in connection.split(|byte| *byte == b',') {
        let Ok(name) = HeaderName::from_bytes(token.trim_ascii()) else { continue };
        if name == header::CONTENT_LENGTH {
            continue;
        }
        if let header::Entry::Occupied(named) = headers.entry(name) {
            dropped += named.remove_entry_mult().1.count() as u64;
        }
    }
    dropped
}

fn decimal(value: &[u8]) -> Option<HeaderValue> {
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(HeaderValue::from(number))
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

    fn copied(fields: &[(&str, &str)], is_head: bool) -> (HeaderMap, u64) {
        let mut headers = HeaderMap::new();
        let dropped = copy_fields(&reply(fields), is_head, &mut headers);
        (headers, dropped)
    }

    #[test]
    fn fields_that_could_break_the_framing_are_dropped_and_counted() {
        let (headers, dropped) = copied(
            &[
                ("content-type", "text/plain"),
                ("transfer-encoding", "chunked"),
                ("connection", "x-inner, close"),
                ("x-inner", "1"),
                (":status", "200"),
                ("bad name", "1"),
                ("x-split", "a\r\nset-cookie: b"),
                ("set-cookie", "a"),
                ("set-cookie", "b"),
            ],
            false,
        );
        assert_eq!(dropped, 6);
        assert_eq!(headers.len(), 3, "{headers:?}");
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn a_length_is_kept_for_head_alone() {
        let fields = [("content-length", "42")];
        assert_eq!(copied(&fields, true).0["content-length"], "42");
        assert!(copied(&fields, false).0.is_empty());
        assert!(copied(&[("content-length", "-1")], true).0.is_empty());
    }

    #[test]
    fn values_are_slices_of_the_message() {
        let reply = reply(&[("x-a", "value")]);
        let mut headers = HeaderMap::new();
        copy_fields(&reply, false, &mut headers);
        let message = reply.envelope.message();
        assert!(message.as_ptr_range().contains(&headers["x-a"].as_bytes().as_ptr()));
    }
}
