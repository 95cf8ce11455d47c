//! hyper as an oracle: it reads the same bytes from a pipe in memory, and must see the same
//! requests or differ for a listed reason.
//!
//! Owns the list of explained differences ([`explained`]). hyper is the server that this crate
//! replaced. Where hyper accepts more, the reason says what the crate refuses; where it accepts
//! less, why the crate does not refuse it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use http1::{Error, Limits};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::driver::{self, End, Log};
use crate::outcome::{Outcome, Request};
use crate::{mutations, random, table};

/// Inputs that are longer take hyper seconds, byte limits being other ones there.
const LEN_MAX: usize = 40_000;

/// Requests that were read whole, and whether a refusal came behind them.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    requests: Vec<(String, String, Vec<u8>)>,
    refused: bool,
}

fn of_crate(log: &Log) -> Verdict {
    let requests = log.outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Request(request) => {
            Some((request.method.clone(), request.target.clone(), request.body.clone()))
        }
        Outcome::Refused(_) => None,
    });
    Verdict {
        requests: requests.collect(),
        refused: log.error.is_some() || matches!(log.end, End::Within(_)),
    }
}

async fn of_hyper(input: &[u8]) -> Verdict {
    let (client, server) = tokio::io::duplex(1 << 16);
    let requests = RefCell::new(Vec::new());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let requests = &requests;
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let target = head.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
            let is_connect = head.method == hyper::Method::CONNECT;
            requests.borrow_mut().push((head.method.to_string(), target, body));
            let mut response = hyper::Response::new(Empty::<Bytes>::new());
            if is_connect {
                // A success would end HTTP on the connection.
                *response.status_mut() = hyper::StatusCode::NOT_FOUND;
            }
            Ok::<_, hyper::Error>(response)
        }
    });
    let mut builder = Builder::new();
    builder.half_close(true).header_read_timeout(None);
    let connection = builder.serve_connection(TokioIo::new(server), service);
    let (mut read, mut write) = tokio::io::split(client);
    let write = async {
        // The server may have closed the pipe.
        let _ = write.write_all(input).await;
        let _ = write.shutdown().await;
    };
    let mut out = Vec::new();
    let (ended, (), _) = tokio::join!(connection, write, read.read_to_end(&mut out));
    Verdict { requests: requests.into_inner(), refused: ended.is_err() }
}

/// The reason why the crate and hyper differ on an input; `None` when there is none. Only the first
/// difference needs one.
fn explained(input: &[u8], log: &Log, ours: &Verdict, theirs: &Verdict) -> Option<&'static str> {
    let at = ours.requests.iter().zip(&theirs.requests).take_while(|(ours, theirs)| ours == theirs).count();
    match log.outcomes.get(at) {
        Some(Outcome::Request(request)) => stricter(input, request, theirs.requests.get(at)),
        _ => laxer(log.error?),
    }
}

/// Why hyper reads what the crate refuses.
fn laxer(error: Error) -> Option<&'static str> {
    Some(match error {
        Error::LineEnd | Error::ChunkLineEnd => "laxer: a bare LF ends a line",
        Error::Host => "laxer: Host is not looked at",
        Error::Target => "laxer: targets with fragments, bad escapes, obs-text, users, other schemes",
        Error::LengthRepeated => "laxer: equal lengths count as one",
        Error::LengthAndCoding => "laxer: a coding wins over a length",
        Error::Coding => "laxer: chunked may be named twice",
        Error::CodingUnknown => "laxer: any coding in front of chunked is passed on",
        Error::ChunkExtension => "laxer: extensions are any bytes up to the end of the line",
        Error::TooManyOptions { .. } => "other limit: none on connection options",
        Error::HeadTooLong { .. } | Error::TargetTooLong { .. } => "other limit: 400 KB of head",
        Error::BodyTooLong { .. } => "other limit: none on a body",
        _ => return None,
    })
}

/// Why hyper refuses a request that the crate reads, or reads another target.
fn stricter(
    input: &[u8],
    request: &Request,
    theirs: Option<&(String, String, Vec<u8>)>,
) -> Option<&'static str> {
    if let Some((method, target, body)) = theirs {
        let same = (method, body) == (&request.method, &request.body);
        let of_empty_path = request.authority.is_some() && (target.starts_with('?') || request.target == "*");
        return (same && of_empty_path).then_some("hyper leaves the path of an absolute target empty");
    }
    let is_later = |version: &[u8]| version.starts_with(b"HTTP/1.") && matches!(version[7], b'2'..=b'9');
    let codings = request.fields.iter().filter(|field| field.name == "transfer-encoding");
    let trailers_len: usize = request.trailers.iter().map(Vec::len).sum();
    let reasons = [
        (
            input.windows(8).any(is_later),
            "stricter: versions after 1.1 are refused, against RFC 9110 section 2.5",
        ),
        (
            request.target.contains(['"', '[', '\\', ']', '^', '`', '{', '|', '}']),
            "stricter: bytes that browsers send",
        ),
        (
            request.authority.as_ref().is_some_and(|authority| authority.contains('%')),
            "stricter: escapes in an authority",
        ),
        (
            codings.clone().any(|field| field.value.contains(&b',')),
            "stricter: empty members in a list of codings",
        ),
        (trailers_len > 16_000, "other limit: 16 KiB of trailers"),
    ];
    reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
}

fn differences(inputs: impl Iterator<Item = (String, Vec<u8>)>) -> BTreeMap<&'static str, usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O");
    let mut counts = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (name, input) in inputs.filter(|(_, input)| input.len() <= LEN_MAX) {
        let log = driver::run(&input, [], &Limits::default());
        let (ours, theirs) = (of_crate(&log), runtime.block_on(of_hyper(&input)));
        if ours == theirs {
            *counts.entry("none").or_insert(0) += 1;
            continue;
        }
        match explained(&input, &log, &ours, &theirs) {
            Some(reason) => *counts.entry(reason).or_insert(0) += 1,
            None => unexplained.push(format!(
                "{name} {:?}\n  {}\n  crate {ours:?}\n  hyper {theirs:?}\n",
                log.error,
                input[..input.len().min(300)].escape_ascii()
            )),
        }
    }
    assert!(unexplained.is_empty(), "{} not explained:\n{}", unexplained.len(), unexplained.concat());
    counts
}

#[test]
fn every_case_that_hyper_reads_differently_is_explained() {
    let cases = table::cases().into_iter().map(|case| (case.name, case.bytes));
    println!("{:#?}", differences(cases));
}

#[test]
fn every_mutation_that_hyper_reads_differently_is_explained() {
    let mut rng = random::seeded();
    let seeds = mutations::seeds();
    let inputs = (0..random::count(50_000) / 10)
        .map(|at| (format!("mutation {at}"), mutations::mutated(&mut rng, &seeds)));
    println!("{:#?}", differences(inputs));
}
