//! nngcat and nanocat, the command lines of nng and nanomsg, as peers: in both directions, over TCP
//! and IPC.
//!
//! They send the contents of a file and print received messages in hexadecimal, without any code of
//! ours on their side.

use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::terminator::Terminator;
use crate::tools::program;
use crate::wire::{HELLO, Message, PING, PONG, REPLY, REQUEST};

/// One of the two programs.
#[derive(Clone, Copy)]
enum Cat {
    Nng,
    Nano,
}

impl Cat {
    /// Starts the program: it dials or listens at `url`, sends the payload every second and prints
    /// received messages.
    fn start(self, listen: bool, url: &str, payload: &[u8], dir: &Path) -> Option<Process> {
        let (name, bus, dial, bind) = match self {
            Self::Nng => ("nngcat", "--bus0", "--dial", "--listen"),
            Self::Nano => ("nanocat", "--bus", "--connect", "--bind"),
        };
        let program = program(name)?;
        let file = dir.join(format!("{name}.payload"));
        std::fs::write(&file, payload).unwrap();
        let mut command = Command::new(program);
        command.args([bus, if listen { bind } else { dial }, url]);
        command.args(["--hex", "--interval", "1", "--file"]).arg(file);
        Some(Process::start(name, &mut command))
    }
}

/// A message as the program prints it: `"\xb1\x02..."`.
fn printed(line: &str) -> Option<Message> {
    let digits = line.trim().trim_matches('"');
    let bytes: Option<Vec<u8>> =
        digits.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).ok()).collect();
    Message::unpack(&bytes?)
}

fn url(scheme: &str, dir: &Path) -> String {
    match scheme {
        "ipc" => format!("ipc://{}/cat", dir.display()),
        _ => {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("tcp://{}", listener.local_addr().unwrap())
        }
    }
}

/// A cat at the terminator: a ping gets its pong, a raw text is dropped and counted, a hello is
/// listed.
fn is_a_peer(cat: Cat, listen: bool, scheme: &str) {
    let dir = tempfile::tempdir().unwrap();
    let address = url(scheme, dir.path());
    let terminator =
        if listen { Terminator::start(&["--bus-dial", &address]) } else { Terminator::start(&[]) };
    let at = if listen { &address } else { terminator.bus(scheme) };

    let mut ping = Message::new(PING, &[]);
    ping.correlation = *b"0123456789abcdef";
    let Some(mut pinging) = cat.start(listen, at, &ping.pack(), dir.path()) else { return };
    let pong = pinging.wait_line("a pong", |line| printed(line).filter(|message| message.kind == PONG));
    assert_eq!(pong.correlation, ping.correlation);
    drop(pinging);

    let Some(raw) = cat.start(listen, at, b"not an envelope", dir.path()) else { return };
    terminator.wait_counter("bus.rejected.version", 2);
    let peers = terminator.peers("");
    assert_eq!(peers.len(), 1, "its pipe stays open, without a hello: {peers:?}");
    drop(raw);

    let hello = Message::new(HELLO, &[("service", "cat"), ("version", "1"), ("route", "GET /cat")]).pack();
    let Some(saying) = cat.start(listen, at, &hello, dir.path()) else { return };
    terminator.wait_peers("cat", 1);
    drop(saying);
    terminator.wait_peers("cat", 0);
    assert_eq!(terminator.get("/cat").status, 503);
}

/// A cat at the profile service: a crafted request is answered.
fn is_answered(cat: Cat, listen: bool, scheme: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = url(scheme, dir.path());
    let store = format!("embedded:{}/data", dir.path().display());
    let direction = if listen { "--bus-dial" } else { "--bus-listen" };
    let mut profile = Process::role("profile", &[direction, &at, "--store", &store]);
    // A cat that finds no listener gives up.
    profile.wait_line("that it has started", |line| line.contains(&at).then_some(()));

    let mut request = Message::new(REQUEST, &[(":method", "GET"), (":path", "/profiles/nobody")]);
    request.correlation = *b"origin..request.";
    let Some(mut asking) = cat.start(listen, &at, &request.pack(), dir.path()) else { return };
    let reply = asking.wait_line("a reply", |line| printed(line).filter(|message| message.kind == REPLY));
    assert_eq!((reply.correlation, reply.status), (request.correlation, 404));
    assert_eq!(reply.field("content-type"), Some("application/problem+json"));
}

macro_rules! in_every_way {
    ($check:ident: $($test:ident $cat:ident $listen:literal $scheme:literal)*) => {
        $(#[test] fn $test() { $check(Cat::$cat, $listen, $scheme); })*
    };
}

in_every_way! { is_a_peer:
    nngcat_dials_the_terminator_over_tcp Nng false "tcp"
    nngcat_dials_the_terminator_over_ipc Nng false "ipc"
    nngcat_is_dialled_by_the_terminator_over_tcp Nng true "tcp"
    nngcat_is_dialled_by_the_terminator_over_ipc Nng true "ipc"
    nanocat_dials_the_terminator_over_tcp Nano false "tcp"
    nanocat_dials_the_terminator_over_ipc Nano false "ipc"
    nanocat_is_dialled_by_the_terminator_over_tcp Nano true "tcp"
    nanocat_is_dialled_by_the_terminator_over_ipc Nano true "ipc"
}

in_every_way! { is_answered:
    nngcat_asks_profile_over_tcp Nng false "tcp"
    nngcat_asks_profile_over_ipc Nng false "ipc"
    nngcat_is_dialled_by_profile_and_asks_over_tcp Nng true "tcp"
    nngcat_is_dialled_by_profile_and_asks_over_ipc Nng true "ipc"
    nanocat_asks_profile_over_tcp Nano false "tcp"
    nanocat_asks_profile_over_ipc Nano false "ipc"
    nanocat_is_dialled_by_profile_and_asks_over_tcp Nano true "tcp"
    nanocat_is_dialled_by_profile_and_asks_over_ipc Nano true "ipc"
}
