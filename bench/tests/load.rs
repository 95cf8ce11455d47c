//! `bench load` against servers that behave, refuse, stall and break off: every request is counted
//! once, by its outcome.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bench::cli::{Cli, Command};
use bench::load::{self, outcome::Outcome};
use clap::Parser;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Serves every connection on a thread of its own. `answer` receives the number of the request,
/// from 1, and returns the bytes to write, or `None` to end the connection.
fn serve(answer: impl Fn(u64) -> Option<&'static [u8]> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || converse(stream, &*answer, &count));
        }
    });
    address
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(u64) -> Option<&'static [u8]>, count: &AtomicU64) {
    let mut read = Vec::new();
    let mut room = [0; 4096];
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            match stream.read(&mut room) {
                Ok(0) | Err(_) => return,
                Ok(len) => read.extend_from_slice(&room[..len]),
            }
        }
        read.clear();
        let Some(reply) = answer(count.fetch_add(1, Ordering::SeqCst) + 1) else { return };
        if stream.write_all(reply).is_err() {
            return;
        }
    }
}

fn load(address: SocketAddr, flags: &str) -> Outcome {
    let url = format!("http://{address}/x");
    let args = ["bench", "load", "--quiet"].into_iter().chain(flags.split_whitespace()).chain([url.as_str()]);
    let Command::Load(options) = Cli::try_parse_from(args).unwrap().command else {
        panic!("load was asked for")
    };
    load::run(&options).unwrap()
}

#[test]
fn every_request_is_sent_once_whatever_the_threads() {
    for flags in ["-n 1000 -c 7 -t 3", "-n 1000 -c 7 -t 2 -k=false", "-n 1000 -c 3 --rate 100000"] {
        let served = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&served);
        let address = serve(move |number| {
            counting.store(number, Ordering::SeqCst);
            Some(OK)
        });
        let outcome = load(address, flags);
        assert_eq!(outcome.statuses.get(&200), Some(&1000), "{flags}: {outcome}");
        assert_eq!((outcome.responses, outcome.errors.total()), (1000, 0), "{flags}");
        assert_eq!(served.load(Ordering::SeqCst), 1000, "{flags}");
        assert_eq!(outcome.timeline.iter().map(|slice| slice.requests).sum::<u64>(), 1000, "{flags}");
    }
}

#[test]
fn statuses_and_errors_are_told_apart() {
    let address = serve(|number| match number % 10 {
        1 => Some(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"),
        2 => None,
        3 => Some(b"nonsense\r\n\r\n"),
        4 => Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"),
        _ => Some(OK),
    });
    let outcome = load(address, "-n 100 -c 1");
    assert_eq!(outcome.statuses.get(&503), Some(&10), "{outcome}");
    assert_eq!(outcome.statuses.get(&200), Some(&70));
    assert_eq!((outcome.errors.closed, outcome.errors.malformed), (10, 10));
    assert_eq!(outcome.errors.total(), 20);
}

#[test]
fn a_stall_is_charged_to_every_request_that_was_due_in_it() {
    // The second request is never answered, and all later ones wait behind it on the only
    // connection.
    let address = serve(|number| {
        if number == 2 {
            std::thread::park();
        }
        Some(OK)
    });
    let outcome = load(address, "--rate 1000 -c 1 -d 1s --timeout 500ms");
    assert_eq!(outcome.errors.timeout, 1, "{outcome}");
    assert_eq!(outcome.responses + outcome.errors.total(), 1000, "each that was due is counted: {outcome}");
    // In the closed loop a stall costs one sample; here it costs one for every request that was due
    // in the meantime.
    let stalled = outcome.percentiles.iter().filter(|point| point.latency_us > 100_000).count();
    assert!(stalled > 5, "the distribution shows the stall: {outcome}");
}

/// The server's requests are lost, each counted once, and the run ends.
#[test]
fn a_server_that_goes_away_costs_what_is_left_and_no_more() {
    for flags in ["-n 100 -c 1", "-n 100 -c 1 --rate 1000 --timeout 300ms"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let count = AtomicU64::new(0);
            while count.load(Ordering::SeqCst) <= 50 {
                converse(listener.accept().unwrap().0, &|number| (number <= 50).then_some(OK), &count);
            }
        });
        let outcome = load(address, flags);
        assert_eq!((outcome.responses, outcome.errors.total()), (50, 50), "{flags}: {outcome}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let args = ["bench", "load", "-q", &format!("http://{address}/")].map(str::to_owned);
    let Command::Load(options) = Cli::try_parse_from(args).unwrap().command else { panic!("load") };
    let error = load::run(&options).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("is the server running"), "{error}");
}
