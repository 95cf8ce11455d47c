//! The command line of the stack.
//!
//! Owns: what was typed. Does not own: what it means for a role (`plan`).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  cargo run --release                                  the whole stack, a sample of 1000 members loaded
  cargo run --release -- --workers 2 --data /srv/data  two worker threads a role, another directory
  cargo run --release -- --statsd 127.0.0.1:8125       figures to a statsd daemon
  TERMINATOR_DEADLINE=2s cargo run --release           a role's own settings, by its variables

  curl -i http://127.0.0.1:8080/members/1              a member as JSON, through every hop
  curl -s http://127.0.0.1:8081/stats                  the terminator's figures

Exit code: 0 after Ctrl-C or SIGTERM, 1 on failure, 2 on usage.";

/// Runs the whole stack on this machine: terminator, web and profile, each a process, on the embedded store.
#[derive(Debug, Parser)]
#[command(name = "stack", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Where HTTP is served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,

    /// Where /live, /ready, /routes, /peers and /stats are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,

    /// Where guests' services dial the bus: tcp://ADDR.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5555")]
    pub guests: SocketAddr,

    /// Worker threads of every role; their own defaults when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,

    /// The statsd daemon that every role sends to; none when not given.
    #[arg(long, value_name = "HOST:PORT")]
    pub statsd: Option<String>,

    /// Where the store lies. A fresh directory gets the sample.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,

    /// Take the roles' binaries beside this one as they are, also under `cargo run`.
    #[arg(long)]
    pub no_build: bool,

    /// What this binary does for itself.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the stack starts itself again for.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Becomes PROGRAM, which gets SIGTERM when the process PARENT ends.
    #[command(hide = true)]
    Tied {
        /// The process id of the stack.
        #[arg(long)]
        parent: u32,
        /// What to become.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Options, Task};

    #[test]
    fn definition_is_sound_and_help_has_examples() {
        Options::command().debug_assert();
        let help = Options::command().render_help().to_string();
        assert!(help.contains("Examples:") && !help.contains("tied"), "{help}");
    }

    #[test]
    fn tied_program_keeps_its_own_flags() {
        let options =
            Options::try_parse_from(["stack", "tied", "--parent", "7", "--", "web", "--workers", "2"])
                .expect("parses");
        let Some(Task::Tied { parent, program, args }) = options.task else { panic!("no task") };
        assert_eq!((parent, program.to_str(), args.len()), (7, Some("web"), 2));
    }
}
