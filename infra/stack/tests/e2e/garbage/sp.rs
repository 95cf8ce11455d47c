//! Garbage for the bus port: one of each kind with the reason under which it must be counted, and
//! random bytes.

use crate::wire::{CANCEL, EVENT, HELLO, Message, OPENING, PONG, REPLY, REQUEST};

/// The limit of a message's length according to PROTOCOL.md.
const MESSAGE_LEN_MAX: u64 = 1 << 20;

/// Streams that end their pipe, with the reason. The sender closes a stream named `truncated`.
pub(super) fn streams(scheme: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ipc = scheme == "ipc";
    let after = |rest: &[u8]| [&OPENING, rest].concat();
    let mut streams = vec![
        ("opening", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("opening", vec![0xFF; 64]),
        ("opening", vec![0x00, 0x53, 0x50, 0x01, 0x00, 0x70, 0x00, 0x00]),
        ("opening", vec![0x00, 0x53, 0x50, 0x00, 0x00, 0x70, 0x00, 0x01]),
        ("protocol", vec![0x00, 0x53, 0x50, 0x00, 0x00, 0x30, 0x00, 0x00]),
        ("protocol", vec![0x00, 0x53, 0x50, 0x00, 0xFF, 0xFF, 0x00, 0x00]),
        ("truncated", OPENING[..5].to_vec()),
        ("too_long", after(&prefix(ipc, u64::MAX))),
        ("too_long", after(&prefix(ipc, 1 << 63))),
        ("too_long", after(&prefix(ipc, u64::from(u32::MAX) + 1))),
        ("too_long", after(&prefix(ipc, MESSAGE_LEN_MAX + 1))),
        ("truncated", after(&prefix(ipc, 100)[..4])),
        ("truncated", after(&[prefix(ipc, 100), vec![0xB1; 99]].concat())),
    ];
    if ipc {
        streams.push(("message_type", after(&[2, 0, 0, 0, 0, 0, 0, 0, 0])));
    }
    streams
}

/// Messages that are dropped while their pipe stays open, with the reason; empty when the message
/// is no error.
pub(super) fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let event = Message::new(EVENT, &[(":topic", "t")]).pack();
    let with = |at: usize, bytes: &[u8]| {
        let mut message = event.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let hello = |fields: &[(&str, &str)]| Message::new(HELLO, fields).pack();
    let mut not_utf8 = event.clone();
    *not_utf8.last_mut().expect("it has a head") = 0xFF;
    vec![
        ("short", Vec::new()),
        ("short", vec![0xB1]),
        ("short", event[..31].to_vec()),
        ("short", vec![0xB1; 31]),
        ("version", with(0, &[0xB0])),
        ("version", with(0, &[0x00])),
        ("kind", with(1, &[8])),
        ("kind", with(1, &[0xFF])),
        ("head_length", with(28, &u32::MAX.to_be_bytes())),
        ("head_length", with(28, &12u32.to_be_bytes())),
        ("field", with(32, &0xFFFFu16.to_be_bytes())),
        ("field", with(34, &2u16.to_be_bytes())),
        ("field", with(28, &3u32.to_be_bytes())),
        ("hello", hello(&[])),
        ("hello", hello(&[("service", "")])),
        ("hello", hello(&[("service", "x"), ("weight", "-1")])),
        ("hello", hello(&[("service", "x"), ("limit", "4294967296")])),
        ("hello", hello(&[("service", "x"), ("route", "/no-method")])),
        ("unserved", Message::new(REQUEST, &[(":method", "GET"), (":path", "/")]).pack()),
        ("topic", Message::new(EVENT, &[("free", "field")]).pack()),
        ("topic", not_utf8),
        ("", Message::new(CANCEL, &[]).pack()),
        ("", Message::new(PONG, &[]).pack()),
    ]
}

/// The bytes of one connection.
pub(super) fn random(rng: &mut fastrand::Rng, ipc: bool) -> Vec<u8> {
    let mut noise = vec![0; rng.usize(..300)];
    rng.fill(&mut noise);
    let opened = |rest: &[Vec<u8>]| [&OPENING[..], &rest.concat()].concat();
    let mut message = any_message(rng);
    match rng.u8(..8) {
        0 => noise,
        1 => [&[0x00, 0x53, 0x50, 0x00][..], &noise].concat(),
        2 => [0x00, 0x53, 0x50, 0x00, 0x00, rng.u8(..0x70), 0x00, 0x00].to_vec(),
        3 => opened(&[noise]),
        4 => opened(&[prefix(ipc, u64::MAX >> rng.u32(..64)), noise]),
        5 => {
            let cut = rng.usize(..message.len());
            opened(&[prefix(ipc, message.len() as u64), message[..cut].to_vec()])
        }
        6 => {
            for _ in 0..rng.usize(1..5) {
                let at = rng.usize(..message.len().min(48));
                message[at] = rng.u8(..);
            }
            let cut = rng.usize(..=message.len());
            opened(&[framed(ipc, &message), framed(ipc, &message[..cut]), framed(ipc, &noise)])
        }
        _ => opened(&[framed(ipc, &message), framed(ipc, &message), framed(ipc, &message)]),
    }
}

/// A well-formed message of any kind; none of its hellos is of a service that the tests use.
fn any_message(rng: &mut fastrand::Rng) -> Vec<u8> {
    let name = format!("storm-{}", rng.u8(..64));
    let (route, own) = ("GET /share/{n}", format!("GET /storm/{}", rng.u8(..64)));
    let mut message = match rng.u8(..8) {
        // A thief claims a route that another service holds.
        HELLO => {
            Message::new(HELLO, &[("service", &name), ("route", route), ("route", &own), ("topic", &name)])
        }
        REQUEST => Message::new(REQUEST, &[(":method", "GET"), (":path", "/share/1")]),
        EVENT => Message::new(EVENT, &[(":topic", &name)]),
        kind => Message::new(kind, &[("content-type", "text/plain")]),
    };
    rng.fill(&mut message.correlation);
    message.ttl_us = rng.u32(..);
    if message.kind == REPLY {
        message.status = rng.u16(..);
    }
    message.body = vec![rng.u8(..); rng.usize(..2000)];
    message.pack()
}

fn framed(ipc: bool, payload: &[u8]) -> Vec<u8> {
    [prefix(ipc, payload.len() as u64), payload.to_vec()].concat()
}

fn prefix(ipc: bool, length: u64) -> Vec<u8> {
    let mark: &[u8] = if ipc { &[1] } else { &[] };
    [mark, &length.to_be_bytes()].concat()
}
