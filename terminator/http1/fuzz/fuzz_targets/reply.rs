//! Replies with arbitrary status, fields and length: `httparse` and a strict parser must agree on
//! what was written, and no bytes may be left over.

#![no_main]

#[path = "../../tests/proof/responses.rs"]
mod responses;
#[path = "../../tests/proof/server.rs"]
mod server;

use http1::Limits;
use libfuzzer_sys::fuzz_target;

const REQUESTS: [&[u8]; 6] = [
    b"GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
];

fuzz_target!(|data: &[u8]| {
    let [first, second, replies @ ..] = data else { return };
    let request = |byte: &u8| REQUESTS[usize::from(*byte) % REQUESTS.len()];
    let input = [request(first), request(second)].concat();
    let out = server::exchange(&input, [], &mut server::Source(replies), &Limits::default());
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(&out).expect("httparse reads it");
    assert!(status.is_complete(), "httparse reads it whole");
});
