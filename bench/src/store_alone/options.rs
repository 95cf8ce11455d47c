//! The options of `bench store`.

use std::time::Duration;

use clap::Args;

use super::work::Work;
use crate::peers::ground::Settings;
use crate::peers::stores::StoreFlag;

const EXAMPLES: &str = "\
Examples:
  bench store                                                     the embedded store, in a temporary directory
  TMPDIR=/mnt/disk bench store --only append,append-batch         appends to the embedded store on another disk
  bench store --store fdb:/etc/foundationdb/fdb.cluster           a cluster, and FoundationDB's own client beside it
  bench store --store fdb:fdb.cluster --only get,set --in-flight 256 --rounds 1

Reads and single commits run with each number of --in-flight, appends with each number of --writers, all on one thread as in a
worker of a service. On a cluster each measurement is followed by the same one with the crate foundationdb alone. Needs a build with
`--features bench/fdb`; FDB_CLIENT_LIB_PATH says where libfdb_c.so is.";

/// A store alone, beside FoundationDB's own client.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// What to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Work>,
    /// Reads and commits in flight
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [16, 256])]
    pub in_flight: Vec<usize>,
    /// Writers that append
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10, 50, 250])]
    pub writers: Vec<usize>,
    /// Seconds per measurement
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Rounds; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// The store
    #[command(flatten)]
    pub store: StoreFlag,
    /// What runs stand on
    #[command(flatten)]
    pub ground: Settings,
}

impl Options {
    pub(super) fn works(&self) -> impl Iterator<Item = Work> {
        Work::ALL.into_iter().filter(|work| self.only.is_empty() || self.only.contains(work))
    }

    /// Numbers of requests in flight.
    pub(super) fn widths(&self, work: Work) -> &[usize] {
        if work.appends() { &self.writers } else { &self.in_flight }
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}
