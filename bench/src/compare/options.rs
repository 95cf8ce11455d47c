//! The options of `bench compare`.

use std::path::PathBuf;

use clap::Args;

use crate::peers::ground::Settings;
use crate::peers::stores::StoreFlag;

const EXAMPLES: &str = "\
Examples:
  bench compare                                             everything; about 15 minutes
  bench compare --report                                    the same, and the tables of bench/README.md anew
  bench compare --only stack,bare,haproxy --connections 256
  bench compare --only open                                 the stack at 50 000 requests/s, open loop
  bench compare --store fdb:/etc/foundationdb/fdb.cluster --only stack,client,events --connections 256
                                                            the stack on FoundationDB, beside its own client
  bench compare --from bench/runs/2026-11-27-compare-6      a kept run's tables once more

Systems: bare, stack-1, stack-2, stack-2-profile, stack-feed, nginx, haproxy, nats-1, nats-2, mongrel2, pushpin, nng-1, nng-2 (1 and 2: hops).
stack-2 is a member's page as `cargo run` serves it: web asks profile and feed. stack-2-profile runs without feed, as the peers'
hops ask one service each. stack-feed is a page of 20 entries. Further measurements: open, bodies, growth (with stack-2), events
(POST /events), client (FoundationDB's own, with --store fdb). A name stands for all that begin with it: stack is stack-1, stack-2,
stack-2-profile and stack-feed.
Debian's packages are installed by apt-get when they are missing (root, or sudo without a password); what cannot be is
SKIPPED, with the reason. Ctrl-C ends the run, its processes too, and reports what was measured.";

/// The stack beside its peers, in one interleaved run.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// What to measure [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Rounds; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds per measurement
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Seconds of load before each measurement
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub warmup: u32,
    /// Keep-alive connections
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [16, 256, 2048])]
    pub connections: Vec<u32>,
    /// Requests per second of the open loop
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub rate: u32,
    /// Print (and with --report write) the tables of a kept run instead of measuring
    #[arg(long, value_name = "RUN")]
    pub from: Option<PathBuf>,
    /// Where the stack's services store their data
    #[command(flatten)]
    pub store: StoreFlag,
    /// What every system needs
    #[command(flatten)]
    pub ground: Settings,
}

impl Options {
    /// True when the system or measurement `name` is to be measured.
    pub(super) fn wants(&self, name: &str) -> bool {
        let fits = |only: &String| {
            name == only || name.strip_prefix(only.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        self.only.is_empty() || self.only.iter().any(fits)
    }

    /// 256 when it is measured; otherwise the first number of connections.
    pub(super) fn usual_connections(&self) -> u32 {
        let first = self.connections.first().copied().unwrap_or(256);
        if self.connections.contains(&256) { 256 } else { first }
    }
}
