//! The command line of the stack.
//!
//! Owns the options. `plan` translates them for the roles.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  cargo run --release                                  the whole stack, a sample of 1000 members loaded
  cargo run --release -- --workers 2 --data /srv/data  two worker threads per role, another directory
  cargo run --release -- --statsd 127.0.0.1:8125       figures to a statsd daemon
  TERMINATOR_DEADLINE=2s cargo run --release           a role's own setting, by its variable
  cargo run --release --features fdb -- --store fdb:/etc/foundationdb/fdb.cluster
                                                       on a FoundationDB cluster (services/store/README.md)

  cargo run --release -- seed --members 1000 --days 30 fills a running stack with a generated population
  cargo run --release -- seed --help                   the same with a file of your own

  cargo run --release -- toggle ls                     the toggles of the plan (docs/live-change.md)
  cargo run --release -- rollout status profile        how far a rollout is

  cargo run --release -- upgrade                       new binaries, without a failed request

  curl -i http://127.0.0.1:8080/members/1              a member as JSON, through every hop
  curl -s http://127.0.0.1:8081/stats                  the terminator's figures

Exit code: 0 after Ctrl-C or SIGTERM, 1 on failure, 2 on usage.";

/// Runs the whole stack on this machine: terminator, web, profile, feed, chat and events, each a
/// process, on the embedded store or a FoundationDB cluster.
#[derive(Debug, Parser)]
#[command(name = "stack", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// The address of the HTTP listener.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,

    /// The address of the terminator's admin listener: /live, /ready, /stats, /metrics, /peers,
    /// /routes, /config and /log. The services' are Unix sockets, which the stack prints.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,

    /// The address where guests' services dial the bus: tcp://ADDR.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5555")]
    pub guests: SocketAddr,

    /// Worker threads of every role; by default each role's own default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,

    /// The statsd daemon that every role sends to; none by default.
    #[arg(long, value_name = "HOST:PORT")]
    pub statsd: Option<String>,

    /// Where the embedded stores are, one directory per service. A new directory gets the sample. A
    /// file ROLE.toml in it has settings of that role, whose keys are the names of its flags; they
    /// are read when the role starts and by `stack upgrade ROLE`.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,

    /// The directory of the plan: toggles and rollouts, which the terminator follows
    /// (docs/live-change.md) [default: DATA/plan].
    // The commands' `--plan` also takes a server, and clap passes a command's flag up by its id.
    #[arg(id = "plan_directory", long = "plan", value_name = "DIR")]
    pub plan: Option<PathBuf>,

    /// Store everything in this FoundationDB cluster instead: fdb:CLUSTER_FILE, for every service
    /// with data; fdb:CLUSTER_FILE?prefix=NAME beside other stacks. No sample is loaded. Needs a
    /// build with --features fdb.
    #[arg(long, value_name = "fdb:CLUSTER_FILE", value_parser = cluster, conflicts_with = "data")]
    pub store: Option<String>,

    /// Use the roles' binaries beside this one as they are, also under `cargo run`.
    #[arg(long)]
    pub no_build: bool,

    /// A subcommand; without one the stack runs.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What to do instead of running the stack.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Fill a running stack with a generated population, or with a file of your own.
    Seed(Box<crate::seed::options::Options>),
    /// Checks plans: the documents of toggles and rollouts.
    Plan(crate::live::check::Options),
    /// Shows and changes toggles.
    Toggle(Box<crate::live::toggle::Options>),
    /// Begins and shows rollouts.
    Rollout(Box<crate::live::rollout::Options>),
    /// Copies requests to a candidate, and shows where its answers differ.
    Ghost(Box<crate::live::ghost::Options>),
    /// Replaces the roles of a running stack, one at a time, by the binaries that are on disk.
    Upgrade(Box<crate::upgrade::Options>),
    /// Becomes PROGRAM, which gets SIGTERM when the process PARENT ends.
    #[command(hide = true)]
    Tied {
        /// The process id of the stack.
        #[arg(long)]
        parent: u32,
        /// The program to execute.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

impl Options {
    /// The directory of the plan: that of `--plan`, else `plan` in that of `--data`.
    #[must_use]
    pub fn plan_directory(&self) -> PathBuf {
        self.plan.clone().unwrap_or_else(|| self.data.join("plan"))
    }

    /// The file of `--store fdb:FILE?OPTIONS`.
    #[must_use]
    pub fn cluster_file(&self) -> Option<&Path> {
        let place = self.store.as_deref()?.strip_prefix("fdb:")?;
        Some(Path::new(place.split_once('?').map_or(place, |(file, _)| file)))
    }
}

/// Checks the form only; the roles parse the address.
fn cluster(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("fdb", file)) if !file.is_empty() && !file.starts_with('?') => Ok(text.to_owned()),
        Some(("embedded", dir)) => {
            Err(format!("the embedded stores are in the directory of --data: give --data {dir}"))
        }
        _ => Err("write fdb:CLUSTER_FILE, e.g. fdb:/etc/foundationdb/fdb.cluster".to_owned()),
    }
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
    fn store_is_a_cluster_and_other_text_is_refused_with_the_remedy() {
        let parse = |store: &str| Options::try_parse_from(["stack", "--store", store]);
        let options = parse("fdb:/etc/fdb.cluster?grv_cache=true").expect("parses");
        assert_eq!(options.cluster_file().and_then(|file| file.to_str()), Some("/etc/fdb.cluster"));
        for (text, remedy) in
            [("embedded:/srv/d", "--data /srv/d"), ("fdb:", "fdb:CLUSTER_FILE"), ("x", "fdb:CLUSTER_FILE")]
        {
            let error = parse(text).expect_err("is refused").to_string();
            assert!(error.contains(remedy), "{error}");
        }
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
