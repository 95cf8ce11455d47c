//! A server with arbitrary replies: status, length, fields and the time of the answer are drawn
//! from bytes.
//!
//! Owns the exchange of one connection, and the check that a client parses the responses as they
//! were meant. Invariant: each response ends where the next begins, and says `close` exactly when
//! it is the last one.

use http1::{CONTINUE, Connection, Event, Fields, Head, Limits, Response, Sending};
use http1::{begin_chunk, last_chunk};

use crate::responses::{self, Answer, Pairs};

/// Draws choices from bytes; zeros when there are none left.
pub(crate) struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Up to `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }
}

const NAMES: [&[u8]; 20] = [
    b"x-a",
    b"Date",
    b"date",
    b"SERVER",
    b"server",
    b"Content-Length",
    b"transfer-encoding",
    b"Connection",
    b"keep-alive",
    b"Trailer",
    b"upgrade",
    b"te",
    b"proxy-connection",
    b"set-cookie",
    b"",
    b"a b",
    b"a\r\nb",
    b"a:",
    b"close",
    b"\xfc",
];
const VALUES: [&[u8]; 10] =
    [b"v", b"", b"close", b"keep-alive, x", b"chunked", b"7", b"a\r\n\r\nb", b"a\nb: c", b"\0", b" \t\xfc "];

/// A reply of a service, and how its body comes.
#[derive(Debug)]
pub(crate) struct Reply {
    /// 200 to 599.
    pub(crate) status: u16,
    /// True when the length of the body is known beforehand.
    pub(crate) has_length: bool,
    /// True when the connection must close after it.
    pub(crate) close: bool,
    /// Fields with arbitrary bytes.
    pub(crate) fields: Pairs,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Draws a reply.
    pub(crate) fn draw(source: &mut Source<'_>) -> Self {
        let flags = source.byte();
        let any = 200 + u16::from(source.byte()) + u16::from(flags >> 2);
        let status = source.pick(&[200, 200, 204, 205, 304, 404, 500, 599, any, any]);
        let fields = (0..source.byte() % 4).map(|_| {
            let kind = source.byte();
            let name = if kind & 1 == 0 { source.pick(&NAMES) } else { source.bytes(4) };
            let value = if kind & 2 == 0 { source.pick(&VALUES) } else { source.bytes(6) };
            (name.to_vec(), value.to_vec())
        });
        let fields = fields.collect();
        let len = usize::from(source.byte() % 40);
        Self {
            status,
            has_length: flags & 1 == 0,
            close: flags & 2 != 0 && flags & 12 == 0,
            fields,
            body: vec![b'b'; len],
        }
    }
}

/// What was meant by what was written.
struct Meant {
    reply: Reply,
    is_head: bool,
    added: Pairs,
    goes_on: bool,
}

/// Writes the response to the current request, without [`Connection::finish`].
fn write(connection: &mut Connection, reply: &Reply, out: &mut Vec<u8>) -> (Pairs, Sending) {
    let length = reply.has_length.then_some(reply.body.len() as u64);
    let head = Response { status: reply.status, reason: "Reason", length, close: reply.close, date: "today" };
    let mut added = Vec::new();
    let mut add = |fields: &mut Fields<'_>| {
        for (name, value) in &reply.fields {
            if fields.add(name, value) {
                added.push((name.to_ascii_lowercase(), value.clone()));
            }
        }
    };
    let sending = connection.respond(&head, out, &mut add);
    match sending {
        Sending::Nothing => {}
        Sending::Length | Sending::UntilClose => out.extend_from_slice(&reply.body),
        Sending::Chunked => {
            for part in reply.body.chunks(17) {
                begin_chunk(part.len(), out);
                out.extend_from_slice(part);
                out.extend_from_slice(http1::CHUNK_END);
            }
            last_chunk(out, |_| {});
        }
    }
    (added, sending)
}

/// Runs a connection that reads `input` in pieces that end at `cuts`, with replies drawn from
/// `source`. Returns what was written. Panics when a client would not parse it as it was meant.
pub(crate) fn exchange(
    input: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    source: &mut Source<'_>,
    limits: &Limits,
) -> Vec<u8> {
    let (mut connection, mut head) = (Connection::new(), Head::default());
    let (mut buffer, mut out, mut meant) = (Vec::new(), Vec::new(), Vec::new());
    let (mut is_head, mut goes_on, mut start) = (false, true, 0);
    for cut in cuts.into_iter().chain([input.len()]) {
        let cut = cut.clamp(start, input.len());
        buffer.extend_from_slice(&input[start..cut]);
        start = cut;
        while goes_on {
            let step = connection.receive(&mut buffer, &mut head, limits);
            let mut is_answered = step.is_err();
            if let Ok(step) = step {
                buffer.drain(..step.skip);
                match step.event {
                    Some(Event::Head(len)) => {
                        is_head = head.request(&buffer).method() == "HEAD";
                        buffer.drain(..len);
                        let is_early = source.byte() & 7 == 7;
                        is_answered = connection.check_length(limits).is_err() || is_early;
                        if connection.expects_continue() && source.byte() & 1 == 0 {
                            out.extend_from_slice(CONTINUE);
                            connection.continued();
                        }
                    }
                    Some(Event::Data(len) | Event::Trailer(len)) => drop(buffer.drain(..len)),
                    Some(Event::End) => is_answered = true,
                    None => break,
                }
            }
            if is_answered {
                let reply = Reply::draw(source);
                let (added, _) = write(&mut connection, &reply, &mut out);
                goes_on = connection.finish();
                meant.push(Meant { reply, is_head, added, goes_on });
                is_head = false;
            }
        }
    }
    check(&out, meant);
    out
}

fn check(out: &[u8], meant: Vec<Meant>) {
    let mut rest = out;
    for Meant { reply, is_head, added, goes_on } in meant {
        let answer = responses::take(&mut rest, is_head)
            .unwrap_or_else(|fault| panic!("{fault}\nin {}\nfor {reply:?}", out.escape_ascii()));
        assert_eq!(answer.status, reply.status);
        check_fields(&answer, &added);
        let has_body = !is_head && !matches!(reply.status, 204 | 205 | 304);
        assert_eq!(answer.body, if has_body { &reply.body[..] } else { b"" }, "{}", out.escape_ascii());
        assert_eq!(answer.says_close(), !goes_on, "{}", out.escape_ascii());
        assert!(!answer.until_close || !goes_on, "a body that ends with the connection is the last one");
    }
    // The body that `100 Continue` asked for may be missing.
    let rest = rest.strip_prefix(CONTINUE).unwrap_or(rest);
    assert!(rest.is_empty(), "written and never meant: {}", rest.escape_ascii());
}

/// Checks that the response has every accepted field, and otherwise only fields of the protocol.
fn check_fields(answer: &Answer, added: &[(Vec<u8>, Vec<u8>)]) {
    assert_eq!(answer.called("date").len(), 1, "one date: {answer:?}");
    assert!(answer.called("server").len() <= 1, "one server: {answer:?}");
    let ours = ["content-length", "transfer-encoding", "connection", "date"];
    let is_ours = |name: &[u8]| ours.iter().any(|our| our.as_bytes() == name);
    let others = answer.fields.iter().filter(|(name, _)| !is_ours(name));
    let expected = added.iter().filter(|(name, _)| !is_ours(name));
    assert!(others.eq(expected), "{answer:?} instead of {added:?}");
}
