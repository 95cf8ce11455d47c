//! The bytes shown in PROTOCOL.md are the bytes that this crate writes and reads.
//!
//! The examples are read from the page itself, so a change of only one side fails here.

use std::collections::BTreeSet;

use bus_proto::outqueue::OutQueue;
use bus_proto::sp::Decoder;
use bus_proto::{
    Correlation, DecodeError, Envelope, Flags, Framing, Header, Hello, Kind, Limits, Origin, RequestId,
    SpError,
};
use bytes::{Bytes, BytesMut};

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");
const JSON: (&str, &str) = ("content-type", "application/json");

/// The bytes of the example under the heading `title`. Three spaces separate the bytes on a line
/// from the note behind them.
fn example(title: &str) -> Vec<u8> {
    let heading = format!("### {title}\n");
    let (_, section) = PROTOCOL.split_once(&heading).expect("PROTOCOL.md has the heading");
    let block = section.split("```").nth(1).expect("a heading is followed by its example");
    let hex = block.lines().flat_map(|line| line.split("   ").next().expect("a first piece").split(' '));
    hex.filter(|digits| !digits.is_empty())
        .map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits"))
        .collect()
}

fn correlation(request: u64) -> Correlation {
    Correlation { origin: Origin(0x0102_0304_0506_0708), request: RequestId(request) }
}

fn encode(header: &Header, fields: &[(&str, &str)], body: &'static [u8]) -> Bytes {
    let mut queue = OutQueue::without_opening(Framing::Tcp, Limits::default());
    let head = |head: &mut bus_proto::HeadWriter<'_>| {
        for (name, value) in fields {
            head.field(name, value);
        }
    };
    queue.push(header, head, &[Bytes::from_static(body)]).expect("an example fits");
    let (chunks, messages) = queue.take();
    assert_eq!(messages, 1);
    Bytes::from(chunks.concat()).slice(8..)
}

/// Checks both directions: encoding gives the example, and the example decodes to the same values.
fn check(title: &str, header: Header, fields: &[(&str, &str)], body: &'static [u8]) {
    let bytes = example(title);
    assert_eq!(encode(&header, fields, body), bytes, "{title}");
    let read = Envelope::decode(Bytes::from(bytes)).expect("an example is an envelope");
    assert_eq!(read.header(), header, "{title}");
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    assert_eq!(read.fields().collect::<Vec<_>>(), fields, "{title}");
    assert_eq!(read.body_bytes(), body, "{title}");
}

fn request() -> Header {
    Header {
        flags: Flags::IDEMPOTENT,
        ttl_us: 25_000,
        correlation: correlation(42),
        ..Header::new(Kind::Request)
    }
}

#[test]
fn a_request_and_its_reply_match_the_protocol() {
    assert_eq!(example("A request and its reply").len(), 67);
    let fields = [(":method", "GET"), (":path", "/profiles/42")];
    check("A request and its reply", request(), &fields, b"");
    check("The reply", request().reply(200), &[JSON], br#"{"id":42}"#);
}

#[test]
fn decisions_of_the_edge_match_the_protocol() {
    let flags = Flags::IDEMPOTENT.union(Flags::SHADOW);
    let fields = [
        (":method", "GET"),
        (":path", "/feed"),
        (":toggle", "dark-mode"),
        (":toggle", "checkout=short"),
        (":pin", "feed=2"),
        (":priority", "low"),
    ];
    let header = Header { flags, correlation: correlation(43), ..request() };
    check("A request with decisions of the edge", header, &fields, b"");
}

#[test]
fn a_reply_in_parts_matches_the_protocol() {
    let last = request().reply(200);
    let first = Header { flags: last.flags.union(Flags::MORE), ..last };
    check("A reply in two parts", first, &[JSON], br#"{"id""#);
    check("Its last part", last, &[], b":42}");
}

#[test]
fn cancel_drain_ping_pong_and_event_match_the_protocol() {
    let of = |kind, request| Header { correlation: correlation(request), ..Header::new(kind) };
    check("A cancel", of(Kind::Cancel, 42), &[], b"");
    check("A cancel that asks to finish", Header { flags: Flags::FINISH, ..of(Kind::Cancel, 42) }, &[], b"");
    check("A drain", Header::new(Kind::Drain), &[], b"");
    check("A ping", of(Kind::Ping, 7), &[], b"");
    check("The pong", of(Kind::Pong, 7), &[], b"");
    let fields = [(":topic", "profile.changed"), ("id", "42")];
    check("An event", of(Kind::Event, 7), &fields, b"v2");
}

#[test]
fn a_hello_matches_the_protocol() {
    let mut hello = Hello::new("profile", "1.4", "p1");
    (hello.weight, hello.limit) = (50, 64);
    hello.routes.push("GET /profiles/{id}".parse().unwrap());
    hello.topics.push("profile.changed".to_owned());
    hello.toggles.push("dark-mode".to_owned());
    let bytes = example("A hello");
    let mut queue = OutQueue::without_opening(Framing::Tcp, Limits::default());
    queue.push(&Header::new(Kind::Hello), |head| hello.encode(head), &[]).unwrap();
    assert_eq!(queue.take().0.concat()[8..], bytes);
    assert_eq!(Hello::decode(&Envelope::decode(Bytes::from(bytes)).unwrap()).unwrap(), hello);
}

#[test]
fn the_streams_match_the_protocol_however_they_are_split() {
    let ping = Header { correlation: correlation(7), ..Header::new(Kind::Ping) };
    for (framing, title) in [(Framing::Tcp, "An SP stream over TCP"), (Framing::Ipc, "An SP stream over IPC")]
    {
        let bytes = example(title);
        let mut queue = OutQueue::new(framing, Limits::default());
        queue.push(&ping, |_| {}, &[]).unwrap();
        let written = queue.take().0.concat();
        let empty = framing.prefix_len();
        assert_eq!(written[..8], bytes[..8], "the opening");
        assert_eq!(written[8..], bytes[8 + empty..], "the ping behind the empty message");
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::new(framing, 32);
            let mut buffer = BytesMut::new();
            let mut messages = Vec::new();
            for piece in [&bytes[..split], &bytes[split..]] {
                buffer.extend_from_slice(piece);
                while let Some(message) = decoder.decode(&mut buffer).unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b""[..], &example("A ping")], "{title} split at {split}");
        }
    }
}

#[test]
fn a_length_over_the_limit_is_refused_by_its_prefix_alone() {
    for (framing, title) in [(Framing::Tcp, "An SP stream over TCP"), (Framing::Ipc, "An SP stream over IPC")]
    {
        let bytes = example(title);
        let mut decoder = Decoder::new(framing, 31);
        let mut buffer = BytesMut::from(&bytes[..bytes.len() - 32]);
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Bytes::new())));
        assert_eq!(decoder.decode(&mut buffer), Err(SpError::TooLong { len: 32, limit: 31 }));
        assert_eq!(decoder.missing(&buffer), 0, "no memory is reserved for it");
    }
}

/// A prefix of an example is not a valid message, unless it cuts only the body.
#[test]
fn an_envelope_cut_at_any_byte_of_header_or_head_is_refused() {
    let titles = [
        "A request and its reply",
        "A request with decisions of the edge",
        "The reply",
        "A hello",
        "A cancel",
        "A ping",
        "An event",
    ];
    for title in titles {
        let bytes = Bytes::from(example(title));
        let body_at = bytes.len() - Envelope::decode(bytes.clone()).unwrap().body().len();
        for len in 0..bytes.len() {
            let expected = match len {
                0..32 => Err(DecodeError::Short(len)),
                _ if len < body_at => Err(DecodeError::HeadLength {
                    head_len: u32::try_from(body_at - 32).unwrap(),
                    available: len - 32,
                }),
                _ => Ok(len - body_at),
            };
            let read = Envelope::decode(bytes.slice(..len)).map(|envelope| envelope.body().len());
            assert_eq!(read, expected, "{title} cut to {len}");
        }
    }
}

/// The head is cut and its length adjusted: the result is valid only if the cut is at the end of a
/// field.
#[test]
fn a_head_cut_inside_a_field_is_refused_at_the_fields_start() {
    let bytes = example("A hello");
    let mut ends = BTreeSet::from([0]);
    let fields = Envelope::decode(Bytes::from(bytes.clone())).unwrap();
    for (name, value) in fields.fields() {
        ends.insert(ends.last().unwrap() + 4 + name.len() + value.len());
    }
    for len in 0..bytes.len() - 32 {
        let mut cut = bytes[..32 + len].to_vec();
        cut[28..32].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        let start = *ends.range(..=len).next_back().unwrap();
        let expected = if start == len { None } else { Some(DecodeError::Field(start)) };
        assert_eq!(Envelope::decode(Bytes::from(cut)).err(), expected, "head of {len}");
    }
}

#[test]
fn every_decode_error_names_what_is_wrong() {
    let with = |at: usize, byte: u8| {
        let mut bytes = example("A request and its reply");
        bytes[at] = byte;
        Envelope::decode(Bytes::from(bytes)).err()
    };
    assert_eq!(with(0, 0xB2), Some(DecodeError::Version(0xB2)));
    for kind in 8..=u8::MAX {
        assert_eq!(with(1, kind), Some(DecodeError::Kind(kind)));
    }
    assert_eq!(with(31, 36), Some(DecodeError::HeadLength { head_len: 36, available: 35 }));
    assert_eq!(with(28, 0xFF), Some(DecodeError::HeadLength { head_len: 0xFF00_0023, available: 35 }));
    assert_eq!(with(32, 0xFF), Some(DecodeError::Field(0)), "the name runs past the head");
    assert_eq!(with(49, 0x0D), Some(DecodeError::Field(14)), "the value runs one byte past the head");
    assert_eq!(Envelope::decode(Bytes::new()).err(), Some(DecodeError::Short(0)));
    let foreign = Bytes::from_static(b"GET / HTTP/1.1\r\n");
    assert_eq!(Envelope::decode(foreign).err(), Some(DecodeError::Version(b'G')));
}

#[test]
fn unknown_flags_and_reserved_bytes_are_ignored_when_read() {
    let mut bytes = example("A request and its reply");
    (bytes[2], bytes[3]) = (0xFF, 0xF1);
    (bytes[26], bytes[27]) = (0xAB, 0xCD);
    let read = Envelope::decode(Bytes::from(bytes)).unwrap();
    let flags = read.header().flags;
    assert!(flags.contains(Flags::IDEMPOTENT));
    assert!(![Flags::SHADOW, Flags::MORE, Flags::SAMPLED].iter().any(|flag| flags.contains(*flag)));
    assert_eq!(Header { flags: Flags::IDEMPOTENT, ..read.header() }, request());
    let reply = read.header().reply(200).to_bytes(0);
    assert_eq!((&reply[2..4], &reply[26..28]), (&[0, 0][..], &[0, 0][..]), "nor are they sent on");
}

#[test]
fn a_reply_keeps_the_bits_that_concern_it() {
    let all = Flags(u16::MAX);
    let kept = Header { flags: all, ..request() }.reply(204);
    assert_eq!(kept.flags, Flags::SHADOW.union(Flags::SAMPLED));
    assert_eq!((kept.kind, kept.status, kept.ttl_us), (Kind::Reply, 204, 0));
    assert_eq!(kept.correlation, request().correlation);
}
