//! Random requests: the cases of the table, spliced and damaged, read by the crate and by the
//! reference.
//!
//! `HTTP1_MUTATIONS` says how many (50 000), `HTTP1_SEED` which.

use fastrand::Rng;
use http1::Limits;

use crate::outcome::{Outcome, listed};
use crate::{driver, random, reference, server, table};

/// Longer cases cost time and say nothing that a smaller limit does not.
const SEED_LEN_MAX: usize = 3000;

/// What a mutation puts in; the rest are single bytes.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"%",
    b"?",
    b"#",
    b"0",
    b"\r\n\r\n",
    b"\r\n ",
    b"0\r\n\r\n",
    b"5;a=b\r\nhello\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/1.1\r\n",
    b"HTTP/2.0",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, x\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: a\r\n",
    b"chunked",
    b"http://",
    b"[::1]:1",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
];

/// Cases to start from. Accepted ones are repeated, because most damage leads to a refusal anyway.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let cases = table::cases().into_iter().filter(|case| case.bytes.len() <= SEED_LEN_MAX);
    cases.flat_map(|case| vec![case.bytes; if case.verdict.goes_on() { 6 } else { 1 }]).collect()
}

/// A case, or two of them, with some damage.
pub(crate) fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.usize(..seeds.len())].clone();
    if rng.u8(..4) == 0 {
        // The front of one case and the back of another.
        let other = &seeds[rng.usize(..seeds.len())];
        bytes.truncate(rng.usize(..=bytes.len()));
        bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
    }
    for _ in 0..rng.usize(0..=2) {
        let at = rng.usize(..=bytes.len());
        let end = bytes.len().min(at + rng.usize(..=8));
        match rng.u8(..8) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, WORDS[rng.usize(..WORDS.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, WORDS[rng.usize(..WORDS.len())].iter().copied())),
            3 => bytes.insert(at, rng.u8(..)),
            4 if at < bytes.len() => bytes[at] = rng.u8(..),
            5 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            6 => {
                let copied = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copied.repeat(rng.usize(1..4))));
            }
            _ => swap_lines(rng, &mut bytes),
        }
    }
    bytes
}

/// Repeats, drops or moves a whole line, which bytes alone seldom do.
fn swap_lines(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (from, to) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
    match rng.u8(..3) {
        0 => lines.insert(to, lines[from]),
        1 => drop(lines.remove(from)),
        _ => lines.swap(from, to),
    }
    *bytes = lines.concat();
}

/// The default ones, or ones that are small enough to be reached.
fn limits(rng: &mut Rng) -> Limits {
    match rng.u8(..4) {
        0 => Limits {
            head_len_max: rng.usize(20..200),
            fields_max: rng.usize(0..5),
            body_len_max: rng.u64(0..12),
        },
        _ => Limits::default(),
    }
}

#[test]
fn a_mutated_request_means_what_the_reference_says_in_any_cuts() {
    let mut rng = random::seeded();
    let seeds = seeds();
    let (mut accepted, mut refused, mut runs) = (0_u64, 0_u64, 0_u64);
    let count = random::count(50_000);
    for at in 0..count {
        let (input, limits) = (mutated(&mut rng, &seeds), limits(&mut rng));
        let said = || format!("mutation {at}, {limits:?}:\n{}\n", input.escape_ascii());
        let whole = driver::run(&input, [], &limits);
        let cuts = random::cuts(&mut rng, input.len(), 8);
        for cuts in [cuts, (1..input.len()).collect()] {
            assert_eq!(
                driver::run(&input, cuts.iter().copied(), &limits),
                whole,
                "{}cut at {cuts:?}",
                said()
            );
            runs += 1;
        }
        let (ours, expected) = (whole.flat(), reference::read(&input, &limits));
        assert!(ours == expected, "{}crate:\n{}reference:\n{}", said(), listed(&ours), listed(&expected));
        refused += u64::from(matches!(ours.last(), Some(Outcome::Refused(_))));
        accepted += ours.iter().filter(|outcome| matches!(outcome, Outcome::Request(_))).count() as u64;
    }
    println!("{count} mutated inputs, {runs} runs in cuts: {accepted} requests accepted, {refused} refusals");
    // The test would prove little if nearly all or nearly no mutations were refused.
    assert!(accepted > count as u64 / 10 && refused > count as u64 / 10, "{accepted} {refused}");
}

#[test]
fn replies_of_any_kind_are_read_as_they_were_meant() {
    let mut rng = random::seeded();
    let seeds = seeds();
    let mut written = 0;
    for _ in 0..random::count(50_000) {
        let input = mutated(&mut rng, &seeds);
        let cuts = random::cuts(&mut rng, input.len(), 8);
        let replies: Vec<u8> = (0..rng.usize(..120)).map(|_| rng.u8(..)).collect();
        let limits = limits(&mut rng);
        written += server::exchange(&input, cuts, &mut server::Source(&replies), &limits).len();
    }
    println!("{written} bytes of responses");
    assert!(written > 0);
}
