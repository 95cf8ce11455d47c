//! Garbage for the HTTP port: one of each kind with its allowed statuses, and random bytes.

/// The name of each request, its bytes, and the allowed statuses.
pub(super) fn requests() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let long = "a".repeat(200_000);
    let many = "x: y\r\n".repeat(5000);
    let text = |text: String| text.into_bytes();
    vec![
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
        ("a version of the future", text("GET / HTTP/9.9\r\nhost: a\r\n\r\n".into()), &[400, 505]),
        ("a long path", text(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")), &[414, 431]),
        ("a long header", text(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")), &[431]),
        ("many headers", text(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")), &[431]),
        (
            "both lengths: the way requests are smuggled",
            text("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into()),
            &[400],
        ),
        (
            "two lengths",
            text("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd".into()),
            &[400],
        ),
        ("a negative length", text("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".into()), &[400]),
        (
            // The length fits into 64 bits, so it is refused like any length above the limit, or by
            // its path, which has no route.
            "a length of 2^64-1",
            text("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\nabcd".into()),
            &[404, 413],
        ),
        (
            "a length above the limit",
            text("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1073741824\r\n\r\nabcd".into()),
            &[404, 413],
        ),
        ("a NUL in a header", b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n".to_vec(), &[400]),
        ("a space before the colon", b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n".to_vec(), &[400]),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), &[400, 404]),
    ]
}

/// The bytes of one connection.
pub(super) fn random(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut known = requests();
    let mut bytes = match rng.u8(..4) {
        0 => (0..rng.usize(..500)).map(|_| rng.u8(..)).collect(),
        1 => known.swap_remove(rng.usize(..known.len())).1,
        _ => b"POST /storm?a=b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nx: y\r\n\r\nabcde".to_vec(),
    };
    if rng.bool() {
        bytes.truncate(rng.usize(..=bytes.len()));
    }
    for _ in 0..rng.usize(..4) {
        if !bytes.is_empty() {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
    }
    bytes
}
