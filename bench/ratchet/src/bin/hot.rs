//! `hot SCENARIO COUNT`: runs one scenario COUNT times, for valgrind to count.
#![expect(clippy::print_stderr, reason = "a command-line program says why it failed")]

use std::process::ExitCode;

use ratchet::scenario;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let run = args.first().and_then(|name| scenario::ALL.iter().find(|(known, _)| known == name));
    let (Some((_, run)), Some(Ok(count))) = (run, args.get(1).map(|count| count.parse())) else {
        let known = scenario::ALL.map(|(name, _)| name).join(", ");
        eprintln!("usage: hot SCENARIO COUNT; scenarios: {known}");
        return ExitCode::from(2);
    };
    run(count);
    ExitCode::SUCCESS
}
