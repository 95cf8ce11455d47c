//! The command line.

use clap::{Parser, Subcommand};
use service_host::data::{StoreOptions, StoreSettings};
use service_host::{Options, Settings};
use store::Owner;

use crate::answers::Answers;

const EXAMPLES: &str = "\
Examples:
  profile --bus-dial tcp://127.0.0.1:5555 --store embedded:/var/lib/profile
      Joins the terminator at port 5555 and serves /profiles from a store in that directory.
  profile --bus-listen ipc:///run/profile.sock --store embedded:data --workers 2 --statsd 127.0.0.1:8125
      Listens for peers at a Unix socket.
  profile --bus-dial tcp://127.0.0.1:5555 --store fdb:/etc/foundationdb/fdb.cluster
      The same on a FoundationDB cluster; any number of instances may serve. Needs a build with --features fdb.
  profile --bus-join front --etcd http://10.0.0.9:2379 --store embedded:data
      Joins every terminator that etcd lists (docs/live-change.md).
  profile --bus-dial tcp://127.0.0.1:5555 --store embedded:data --answer-version 1 --answer-version 2
      Serves two versions of the answers at once, for a rollout from one to the other.
  profile --store embedded:data load members.jsonl
      Loads one JSON object per line; run it again to continue where it was stopped.

Every flag is also a key of the file that --config names, and an environment variable: PROFILE_BUS_DIAL, PROFILE_STORE.";

/// Serves members' profiles: JSON documents with GET, PUT, PATCH and DELETE /profiles/{id}.
#[derive(Clone, Debug, Parser)]
#[command(name = "profile", version, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Args {
    /// Options that every service has.
    #[command(flatten)]
    pub host: Options,

    /// What the answers are: 1, the profiles as they were written, by the version of this binary;
    /// or 2, which adds the initials of the name, by the version 2. Repeated, both are served at
    /// once, each to the requests that a rollout gives it.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub answer_version: Vec<u8>,

    /// Where the profiles are stored.
    #[command(flatten)]
    pub store: StoreOptions,

    /// A subcommand; without one the service serves.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Load profiles from a file of one JSON object per line, resumably.
    Load(Load),
}

/// What `profile load` reads.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// The file, or - for standard input, which cannot be resumed.
    #[arg(value_name = "FILE.jsonl")]
    pub file: std::path::PathBuf,

    /// The member of each object that holds the id: a string or a whole number.
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub id_field: String,

    /// Count lines that are not profiles and continue, instead of stopping at the first.
    #[arg(long)]
    pub skip_bad: bool,

    /// Load from the first line, and ignore the checkpoint of an earlier run.
    #[arg(long)]
    pub from_start: bool,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }

    fn versions(&self) -> Vec<String> {
        let mut versions: Vec<String> =
            self.answer_version.iter().map(|n| Answers::new(*n).version()).collect();
        versions.dedup();
        versions
    }
}

impl StoreSettings for Args {
    const OWNER: Owner = Owner { service: "profile", layout: 1 };

    fn store(&self) -> &StoreOptions {
        &self.store
    }
}
