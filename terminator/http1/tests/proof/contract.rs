//! The contract with the caller beyond the meaning of the bytes: the order of calls, the end of the
//! input, and limits that apply to announced and chunked bodies alike.

use http1::{Connection, Error, Event, Head, Limits, Response};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: Response<'_> = Response { status: 200, reason: "OK", length: Some(0), close: false, date: "now" };

/// A connection that has received `bytes`, all of them one head.
fn received(bytes: &[u8]) -> Connection {
    let mut connection = Connection::new();
    let step = receive(&mut connection, bytes);
    assert_eq!(step, Ok(Some(Event::Head(bytes.len()))));
    connection
}

fn receive(connection: &mut Connection, bytes: &[u8]) -> Result<Option<Event>, Error> {
    let step = connection.receive(&mut bytes.to_vec(), &mut Head::default(), &Limits::default())?;
    assert_eq!(step.skip, 0);
    Ok(step.event)
}

/// The error of the chunks in `bytes`, given in pieces that end at `cuts`.
fn chunk_error(bytes: &[u8]) -> [Option<Error>; 2] {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut whole = received(head);
    let mut in_bytes = received(head);
    let found = (1..=bytes.len()).find_map(|len| receive(&mut in_bytes, &bytes[..len]).err());
    [receive(&mut whole, bytes).err(), found]
}

#[test]
fn what_begins_no_chunk_size_is_refused_the_same_way_in_any_cuts() {
    for bytes in [&b"x\n"[..], b"x\r\n", &[b"x".as_slice(), &[b'a'; 2000], b"\r\n"].concat()] {
        assert_eq!(chunk_error(bytes), [Some(Error::ChunkSize); 2], "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_request_without_a_body_is_whole_when_its_head_is() {
    let mut connection = received(GET);
    connection.respond(&OK, &mut Vec::new(), |_| {});
    assert!(connection.finish(), "the response did not say close");

    let mut connection = received(GET);
    assert_eq!(connection.end_of_input(), Ok(()));
    assert_eq!(
        receive(&mut connection, b""),
        Ok(Some(Event::End)),
        "a client that ends its side is answered"
    );
    let mut out = Vec::new();
    connection.respond(&OK, &mut out, |_| {});
    assert!(out.windows(17).any(|bytes| bytes == b"connection: close"), "{}", out.escape_ascii());
    assert!(!connection.finish());
}

#[test]
fn a_field_called_close_ends_here() {
    let mut input = *b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nClose: a\r\n\r\n";
    let mut head = Head::default();
    Connection::new().receive(&mut input, &mut head, &Limits::default()).unwrap();
    let ends_here: Vec<_> = head.request(&input).fields().map(|field| field.ends_here).collect();
    assert_eq!(ends_here, [false, true, true]);
}

#[test]
fn a_chunk_size_beyond_64_bits_is_too_long_and_not_malformed() {
    let too_long = Some(Error::BodyTooLong { limit: Limits::default().body_len_max });
    for size in ["ffffffffffffffff", "10000000000000000", "fffffffffffffffffffffffff"] {
        assert_eq!(chunk_error(format!("{size}\r\n").as_bytes()), [too_long; 2], "{size}");
    }
}

#[test]
fn more_than_32_options_are_refused_whatever_they_are() {
    for option in ["close", "keep-alive", "x"] {
        let head = |count| {
            format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {}\r\n\r\n", vec![option; count].join(","))
        };
        received(head(32).as_bytes());
        let refused = receive(&mut Connection::new(), head(33).as_bytes());
        assert_eq!(refused, Err(Error::TooManyOptions { limit: 32 }), "{option}");
    }
}

#[test]
fn a_date_that_is_refused_does_not_stand_for_ours() {
    let mut out = Vec::new();
    received(GET).respond(&OK, &mut out, |fields| {
        assert!(!fields.add(b"date", b"a\r\nb"));
        assert!(!fields.add(b"server", b"\0"));
        assert!(fields.add(b"server", b"s"));
    });
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 0\r\ndate: now\r\n\r\n");
}
