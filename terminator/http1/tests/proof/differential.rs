//! llhttp, h11, nginx and haproxy on the cases of the table. Every input that the crate accepts and
//! one of them refuses, or vice versa, is listed in `differential/differences.txt` with the reason.
//! `HTTP1_DIFFERENCES=write` rewrites that file.
//!
//! Owns the comparison and the reasons. The other parsers are run by `differential/readers.py`;
//! `.ci/tools` installs them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use http1::{Error, Limits};

use crate::driver::{self, End, Log};
use crate::outcome::Outcome;
use crate::table;

/// Longer inputs meet other limits than the crate's.
const LEN_MAX: usize = 30_000;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/differences.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/readers.py");

/// Why a reader refuses cases whose names begin so.
const STRICTER: &[(&str, &str)] = &[
    ("connect", "it does not serve CONNECT, or takes what follows for a tunnel"),
    ("http-1.0-", "it does not keep HTTP/1.0 connections"),
    ("http-1.", "it refuses versions after 1.1, against RFC 9110 section 2.5"),
    (
        "chunked-",
        "it takes no empty members or tabs in Transfer-Encoding, which RFC 9110 section 5.6.1.2 wants ignored",
    ),
    (
        "empty-codings",
        "it takes no empty members in Transfer-Encoding, which RFC 9110 section 5.6.1.2 wants ignored",
    ),
    ("absolute-", "it wants Host to equal the authority of the target, or other bytes in it"),
    ("method-", "it has a list of methods; a server may"),
    ("one-letter-method", "it has a list of methods; a server may"),
    ("unknown-method", "it has a list of methods; a server may"),
    ("every-token-byte-in-the-method", "it has a list of methods, or of their bytes; a server may"),
    ("empty-line", "it does not skip empty lines, which RFC 9112 section 2.2 asks for with SHOULD"),
    ("one-empty-line", "it does not skip empty lines, which RFC 9112 section 2.2 asks for with SHOULD"),
    ("many-empty-lines", "it does not skip empty lines, which RFC 9112 section 2.2 asks for with SHOULD"),
    ("nothing", "it takes a connection without a request for a fault"),
    ("host-", "it wants a name in Host, and no tab around it"),
    ("length-with-leading-zeros", "it bounds the digits of a length"),
    ("length-in-white-space", "it takes no tab around a value"),
    ("length-with-options", "it does not serve OPTIONS *"),
    ("options-of-the-server", "it does not serve OPTIONS *"),
    ("size-with-leading-zeros", "it bounds the digits of a size"),
    ("extension-white-space", "it takes no white space in extensions"),
    (
        "trailer-that-frames",
        "it refuses trailers that frame; the crate's callers never see them as fields of the head",
    ),
    (
        "upgrade",
        "it takes what follows an upgrade for another protocol, or refuses what the server does not upgrade to",
    ),
    ("dots-", "it resolves the path, which leaves the root"),
    ("escaped-nul", "it decodes the path, and refuses what a C string cannot hold"),
    ("name-of-a-thousand", "it bounds names"),
];

/// Requests read whole, and whether a refusal came behind them.
fn verdict(log: &Log) -> (usize, bool) {
    let accepted = log.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Request(_)));
    (accepted.count(), log.error.is_some() || matches!(log.end, End::Within(_)))
}

/// Why another reader takes what the crate refuses, or refuses what the crate takes.
fn reason(name: &str, log: &Log, is_laxer: bool) -> &'static str {
    if !is_laxer {
        let found = STRICTER.iter().find(|(start, _)| name.starts_with(start));
        return found.map_or("it is stricter than the RFC asks for", |(_, reason)| reason);
    }
    match log.error {
        Some(Error::LineEnd | Error::ChunkLineEnd) => {
            "RFC 9112 section 2.2 lets a reader take a bare LF for a line's end; readers behind may not"
        }
        Some(Error::RequestLine) => {
            "RFC 9112 section 3 lets a reader be lenient about white space and words of the request line"
        }
        Some(Error::Target) => "it looks at fewer bytes of the target than RFC 3986 does",
        Some(Error::Version) => "it does not look at the version's numbers, or waits for more",
        Some(Error::FieldName | Error::Folded | Error::FieldValue) => {
            "it reads names and values more widely than RFC 9110 section 5"
        }
        Some(Error::Host) => "it does not look at Host, or not as RFC 3986 does",
        Some(Error::Length | Error::LengthRepeated | Error::LengthAndCoding) => {
            "it resolves an ambiguous length that RFC 9112 section 6.3 lets a server refuse"
        }
        Some(Error::Coding | Error::CodingUnknown | Error::CodingVersion) => {
            "it passes codings on that RFC 9112 section 6.1 lets a server refuse"
        }
        Some(Error::ChunkSize | Error::ChunkExtension | Error::ChunkEnd | Error::Trailer) => {
            "it reads chunks and trailers more widely than RFC 9112 section 7.1"
        }
        Some(_) => "it has another limit",
        None => "it counts what follows a request that closes the connection, or that is not whole",
    }
}

fn python() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let tools = std::env::var_os("STACK_TOOLS_DIR")
        .map_or_else(|| own.ancestors().nth(3).map(|it| it.join("tools")), |it| Some(it.into()));
    tools.map(|tools| tools.join("venv/bin/python")).filter(|python| python.is_file())
}

fn verdicts(python: &Path, inputs: &str) -> String {
    let work = std::env::temp_dir().join(format!("http1-readers-{}", std::process::id()));
    std::fs::create_dir_all(&work).expect("a directory for the proxies");
    let mut child = Command::new(python)
        .arg(SCRIPT)
        .arg(&work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    child.stdin.take().expect("it is piped").write_all(inputs.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    std::fs::remove_dir_all(&work).expect("it is ours");
    assert!(output.status.success(), "the script failed; its reason is above");
    String::from_utf8(output.stdout).expect("ASCII")
}

#[test]
fn every_case_that_another_reader_reads_differently_is_explained() {
    let Some(python) = python() else {
        println!(
            "SKIPPED: target/tools/venv is missing (.ci/tools): llhttp, h11, nginx and haproxy are not asked"
        );
        return;
    };
    let cases: Vec<_> = table::cases().into_iter().filter(|case| case.bytes.len() <= LEN_MAX).collect();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    let inputs: String = cases.iter().map(|case| format!("{} {}\n", case.name, hex(&case.bytes))).collect();
    let (mut found, mut asked) = (BTreeSet::new(), BTreeSet::new());
    let mut compared = 0;
    for line in verdicts(&python, &inputs).lines() {
        let [reader, name, accepted, refused] = line.split(' ').collect::<Vec<_>>()[..] else {
            match line.strip_prefix("MISSING ") {
                Some(reader) => println!("SKIPPED: {reader} is not installed (.ci/tools)"),
                None => println!("{line}"),
            }
            continue;
        };
        let case = cases.iter().find(|case| case.name == name).expect("it was asked about");
        let is_proxy = reader == "nginx" || reader == "haproxy";
        if is_proxy && case.verdict.is_cut_off {
            // The proxy closed without a response.
            continue;
        }
        asked.insert(reader.to_owned());
        compared += 1;
        let log = driver::run(&case.bytes, [], &Limits::default());
        let ours = verdict(&log);
        let theirs = (accepted.parse().expect("a number"), refused == "1");
        // A proxy may refuse by closing without a response.
        if ours == theirs || is_proxy && ours.0 == theirs.0 && ours.1 {
            continue;
        }
        let is_laxer = theirs.0 > ours.0 || theirs.0 == ours.0 && !theirs.1;
        let said =
            |(count, refused): (usize, bool)| format!("{count}{}", if refused { " and refuses" } else { "" });
        let direction = if is_laxer { "laxer" } else { "stricter" };
        found.insert(format!(
            "{reader} | {name} | {direction}: {}, the crate {} | {}",
            said(theirs),
            said(ours),
            reason(name, &log, is_laxer)
        ));
    }
    println!("{compared} verdicts of {asked:?} compared, {} differ", found.len());
    let head = "# Cases that another reader reads differently: READER | CASE | requests that it takes, and the crate | why.\n";
    if std::env::var("HTTP1_DIFFERENCES").is_ok_and(|word| word == "write") {
        let lines: String = found.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(FILE, format!("{head}{lines}")).expect("the table is written");
    }
    let table = std::fs::read_to_string(FILE).expect("the table is there");
    let known: BTreeSet<&str> = table.lines().collect();
    let new: Vec<_> = found.iter().filter(|line| !known.contains(&line[..])).collect();
    assert!(new.is_empty(), "{} not in {FILE}:\n{new:#?}", new.len());
}
