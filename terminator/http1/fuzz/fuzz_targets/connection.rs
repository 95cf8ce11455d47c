//! Connections: requests in arbitrary cuts, replies with arbitrary fields at arbitrary times; a
//! client must parse the responses as they were meant.
//!
//! The fourth byte says how many bytes at the end are the replies'.

#![no_main]

#[path = "cut.rs"]
mod cut;
#[path = "../../tests/proof/responses.rs"]
mod responses;
#[path = "../../tests/proof/server.rs"]
mod server;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((limits, seed, rest)) = cut::split(data) else { return };
    let [replies, rest @ ..] = rest else { return };
    let (input, replies) = rest.split_at(rest.len().saturating_sub(usize::from(*replies)));
    server::exchange(input, cut::cuts(seed, input.len()), &mut server::Source(replies), &limits);
});
