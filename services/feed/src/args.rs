//! The command line.

use clap::Parser;
use service_host::{Options, Settings};
use store::StoreAddress;

const EXAMPLES: &str = "\
Examples:
  feed --bus-dial tcp://127.0.0.1:5555 --store embedded:/var/lib/feed
      Joins the terminator at port 5555 and serves /feeds from a store in that directory.
  feed --bus-dial ipc:///run/terminator.ipc --bus-dial ipc:///run/web.ipc --store embedded:data --fan-out-limit 50
      Joins terminator and web; owners with more than 50 followers are merged in when a feed is read.
  feed --bus-dial tcp://127.0.0.1:5555 --store fdb:/etc/foundationdb/fdb.cluster
      The same on a FoundationDB cluster; any number of instances may serve. Needs a build with --features fdb.

Every flag is also a key of the file that --config names, and an environment variable: FEED_BUS_DIAL, FEED_STORE.";

/// Followers of whom an entry is written for each, when nothing is said (docs/adr/0007-feed-fan-out.md).
const FAN_OUT_DEFAULT: u32 = 200;

/// Above this many copies of the longest entry the transaction would pass the store's limit of 10 MB.
const FAN_OUT_MAX: i64 = 500;

/// Some ten thousand feeds' first pages.
const CACHE_DEFAULT: u64 = 64 * 1024 * 1024;

/// Serves members' feeds: entries, follows and unread counts under /feeds/{owner}.
#[derive(Clone, Debug, Parser)]
#[command(name = "feed", version, after_help = EXAMPLES)]
pub struct Args {
    /// What every service has.
    #[command(flatten)]
    pub host: Options,

    /// Where the feeds are kept: embedded:DIR, or fdb:CLUSTER_FILE in a build with FoundationDB.
    #[arg(long, value_name = "ADDRESS")]
    pub store: Option<StoreAddress>,

    /// Followers up to which an entry is written into every follower's feed; the entries of owners with more are
    /// merged in when a feed is read. 0 = always when read.
    #[arg(long, value_name = "N", default_value_t = FAN_OUT_DEFAULT,
        value_parser = clap::value_parser!(u32).range(0..=FAN_OUT_MAX))]
    pub fan_out_limit: u32,

    /// Memory for the newest entries of feeds that are read often, all workers together. 0 = read anew every time.
    #[arg(long, value_name = "BYTES", default_value_t = CACHE_DEFAULT)]
    pub cache_bytes: u64,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}
