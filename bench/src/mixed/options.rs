//! The options of `bench mixed`.

use std::time::Duration;

use clap::Args;

use crate::peers::ground::Settings;
use crate::peers::stores::StoreFlag;

const EXAMPLES: &str = "\
Examples:
  bench mixed                                      20 000 requests/s for 20 s, 2 000 long polls, roles of its own
  bench mixed --report                             the same, and the table of bench/README.md anew
  bench mixed --rate 5000 --duration 10s --polls 500 --seed 7
  bench mixed --store fdb:/etc/foundationdb/fdb.cluster --rate 10000
      Roles of its own on a FoundationDB cluster.
  stack seed --members 1000 --days 3 && bench mixed --url http://127.0.0.1:8080
      A stack that runs already, and the population that it was given before.

The mix, in hundredths of --rate: 60 profile reads, 20 feed reads, 5 feed writes, 8 chat reads, 5 chat writes. The other 2 are the
long polls: with 2.5 conversations to a poll some 2 in 5 chat writes wake one, which then polls again. It is measured, not sent
to a schedule. Ctrl-C ends the run, its processes too, and reports what was measured.";

/// Profiles, feeds, chats and long polls together, open loop.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A running stack, http://HOST:PORT [default: roles are started here, on free ports with new
    /// stores]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Requests per second, all kinds together
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Duration
    #[arg(short, long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Load before anything is counted
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
    /// Long polls held open, each by a client of its own
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub polls: u32,
    /// Keep-alive connections that carry everything else
    #[arg(short, long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Threads that send; the long polls have one more
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Members of the population, m1 to mN as in `stack seed`; drawn from a Zipf distribution
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub members: u32,
    /// Days of entries in the population [only with roles started here]
    #[arg(long, value_name = "D", default_value_t = 3, conflicts_with = "url")]
    pub days: u32,
    /// Conversations; drawn from a Zipf distribution
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub conversations: u32,
    /// Messages written into the conversations before the run
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub messages: u32,
    /// Seed of the requests and their order, printed with the result [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Time after which an unanswered request is given up and the time counted as its latency
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// No progress line
    #[arg(short, long)]
    pub quiet: bool,
    /// Where the roles that are started here store their data
    #[command(flatten)]
    pub store: StoreFlag,
    /// What the stack needs
    #[command(flatten)]
    pub ground: Settings,
}
