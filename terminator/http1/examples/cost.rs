//! `cost SCENARIO COUNT` parses one head, or filters one reply, COUNT times; valgrind counts the
//! instructions (`tests/cost.rs`).
//!
//! Owns the inputs. Invariant: all heads have 32 000 bytes, so that their costs can be compared;
//! those of `receive` are read at once, those of `bytes-` byte by byte.
#![expect(clippy::print_stderr, reason = "a command-line program says why it failed")]

use std::process::ExitCode;

use http1::{Connection, Head, Limits, Options, Response};

const LEN: usize = 32_000;

/// What a browser sends.
const SMALL: &[u8] = b"GET /members/1?full HTTP/1.1\r\n\
    Host: example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en\r\n\
    Accept-Encoding: gzip, br\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef\r\n\
    \r\n";

/// `front`, then `unit` up to the length, then `back` and the end of the head.
fn filled(front: &str, unit: &str, back: &str) -> Vec<u8> {
    let room = LEN - front.len() - back.len();
    let middle: String = unit.chars().cycle().take(room).collect();
    format!("{front}{middle}{back}").into_bytes()
}

/// A head whose last field is filled with `unit`.
fn field(name: &str, unit: &str) -> Vec<u8> {
    filled(&format!("GET / HTTP/1.1\r\nHost: h\r\n{name}: "), unit, "\r\n\r\n")
}

/// 98 fields of the same length, with `first` in front of them.
fn fields(first: &str) -> Vec<u8> {
    let front = format!("GET /members/1 HTTP/1.1\r\nHost: example.org\r\n{first}");
    let len = (LEN - front.len() - 2) / 98;
    let mut head = front;
    for at in 0..98 {
        let pad = if at == 97 { LEN - 2 - head.len() } else { len };
        let name = format!("X-Header-{at:02}: ");
        let value: String = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36, "
            .chars()
            .cycle()
            .take(pad - name.len() - 2)
            .collect();
        head.push_str(&format!("{name}{value}\r\n"));
    }
    format!("{head}\r\n").into_bytes()
}

fn head_of(scenario: &str) -> Option<Vec<u8>> {
    let options = vec!["x-header-zz"; 31].join(",");
    Some(match scenario {
        "small" => SMALL.to_vec(),
        "ordinary" => fields(""),
        "options" => fields(&format!("Connection: {options}\r\n")),
        "tokens" => field("Connection", "a,"),
        "closes" => field("Connection", "close,"),
        "commas" => field("Connection", ","),
        "spaces" => field("Connection", " "),
        "codings" => field("Transfer-Encoding", ","),
        "digits" => field("Content-Length", "0"),
        "cookie" => field("Cookie", "a=b; "),
        "host" => field("Host", "%41"),
        "name" => filled("GET / HTTP/1.1\r\nHost: h\r\n", "Ab", ": c\r\n\r\n"),
        "percents" => filled("GET /", "%41", "41 HTTP/1.1\r\nHost: h\r\n\r\n"),
        "query" => filled("GET /?", "%", " HTTP/1.1\r\nHost: h\r\n\r\n"),
        "path" => filled("GET /", "a/", " HTTP/1.1\r\nHost: h\r\n\r\n"),
        "method" => filled("", "A", " / HTTP/1.1\r\nHost: h\r\n\r\n"),
        "absolute" => filled("GET http://h", "a", "/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        _ => return None,
    })
}

fn receive(bytes: &[u8], by_bytes: bool, head: &mut Head) {
    let mut connection = Connection::new();
    let mut input = bytes.to_vec();
    for len in if by_bytes { 1..=input.len() } else { input.len()..=input.len() } {
        // Some inputs are refused, which must be cheap too.
        if connection.receive(&mut input[..len], head, &Limits::default()).is_err() {
            break;
        }
    }
}

/// A reply with many fields, some of them listed in `Connection`, filtered as the terminator does.
fn reply(options: &str, out: &mut Vec<u8>) {
    let names: Vec<String> = (0..1900).map(|at| format!("x-header-{at:04}")).collect();
    let mut connection = Connection::new();
    let response = Response { status: 200, reason: "OK", length: Some(0), close: false, date: "now" };
    let nominated = Options::of(std::iter::once(options.as_bytes()));
    connection.respond(&response, out, |fields| {
        let Ok(nominated) = nominated else { return };
        for name in &names {
            if !nominated.name(name.as_bytes()) {
                fields.add(name.as_bytes(), b"value");
            }
        }
    });
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(scenario), Some(Ok(count))) = (args.first(), args.get(1).map(|count| count.parse::<u32>()))
    else {
        eprintln!("usage: cost SCENARIO COUNT");
        return ExitCode::from(2);
    };
    let replies = match &scenario[..] {
        "reply-ordinary" => Some("close".to_owned()),
        "reply-options" => Some((0..32).map(|at| format!("x-hidden-{at:04}, ")).collect()),
        "reply-tokens" => Some("a,".repeat(8000)),
        _ => None,
    };
    if let Some(options) = replies {
        (0..count).for_each(|_| reply(&options, &mut Vec::new()));
        return ExitCode::SUCCESS;
    }
    let by_bytes = scenario.starts_with("bytes-");
    let Some(bytes) = head_of(scenario.strip_prefix("bytes-").unwrap_or(scenario)) else {
        eprintln!("no scenario {scenario}");
        return ExitCode::from(2);
    };
    assert!(bytes.len() == LEN || bytes == SMALL);
    let mut head = Head::default();
    (0..count).for_each(|_| receive(&bytes, by_bytes, &mut head));
    ExitCode::SUCCESS
}
