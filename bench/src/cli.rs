//! The command line: one subcommand per question.
//!
//! Owns the names of the subcommands. Each module defines its options.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::peers::{bare, programs};
use crate::{bus_alone, compare, idle, load, mixed, polls, store_alone};

const EXAMPLES: &str = "\
Examples:
  bench load --rate 50000 -c 256 -d 10s http://127.0.0.1:8080/members/1   one server, at a fixed rate
  bench compare                                  the stack beside its peers, every figure that is promised
  bench compare --only stack,bare,haproxy --rounds 3 --seconds 5
  bench mixed                                    profiles, feeds, chats and 2 000 long polls at 20 000 requests/s
  bench store                                    the store alone: reads, commits, appends
  bench bus                                      the bus alone, beside nng and a raw copy loop
  bench idle                                     what 10 000 idle connections cost
  bench polls                                    what 20 000 long polls cost, and how fast one message wakes them
  bench bare --listen 127.0.0.1:9000             the yardstick, to measure by hand

Exit codes: 0 ok, 1 failure, 2 usage. Ctrl-C ends a run cleanly and reports what was measured.";

/// Measures the stack, and other systems beside it.
#[derive(Debug, Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// HTTP load: at a fixed rate, or as fast as the connections go
    Load(load::options::Options),
    /// The yardstick: a bare hyper server
    Bare(bare::Options),
    /// The stack beside its peers, in one interleaved run
    Compare(compare::Options),
    /// Profiles, feeds, chats and long polls together, at a fixed rate
    Mixed(mixed::Options),
    /// The store alone, beside FoundationDB's own client
    Store(store_alone::Options),
    /// The bus alone, beside nng and a raw copy loop
    Bus(bus_alone::Options),
    /// Memory of idle connections, and after a burst of bodies
    Idle(idle::Options),
    /// Memory of idle long polls, and the time until one message has answered them all
    Polls(polls::Options),
    /// One process of a peer; started by the other commands
    #[command(hide = true)]
    Peer(programs::Options),
}

impl Command {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What failed, and in which step.
    pub fn run(&self) -> anyhow::Result<()> {
        let _ = crate::process::raise_file_limit();
        match self {
            Self::Load(options) => load::main(options),
            Self::Bare(options) => bare::main(options),
            Self::Compare(options) => compare::main(options),
            Self::Mixed(options) => mixed::main(options),
            Self::Store(options) => store_alone::main(options),
            Self::Bus(options) => bus_alone::main(options),
            Self::Idle(options) => idle::main(options),
            Self::Polls(options) => polls::main(options),
            Self::Peer(options) => programs::main(options),
        }
    }
}

/// Parses the arguments and runs the subcommand. Exit code 0, 1 on failure, 2 on usage.
#[must_use]
#[expect(clippy::print_stderr, reason = "a command-line program says why it failed")]
pub fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn definition_is_sound_and_help_has_examples() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("Examples:") && !help.contains("One process of a peer"), "{help}");
    }

    #[test]
    fn weighttps_flags_mean_what_they_mean_there() {
        let cli =
            Cli::try_parse_from(["bench", "load", "-n", "1000", "-c", "256", "-t", "2", "-k", "http://h/"]);
        let Command::Load(options) = cli.unwrap().command else { panic!("load") };
        assert_eq!((options.requests, options.connections, options.threads), (Some(1000), 256, 2));
        assert!(options.keepalive);
    }
}
