//! The command line.

use clap::Parser;
use service_host::data::{StoreOptions, StoreSettings};
use service_host::{Options, Settings};
use store::Owner;

const EXAMPLES: &str = "\
Examples:
  feed --bus-dial tcp://127.0.0.1:5555 --store embedded:/var/lib/feed
      Joins the terminator at port 5555 and serves /feeds from a store in that directory.
  feed --bus-dial ipc:///run/terminator.ipc --bus-dial ipc:///run/web.ipc --store embedded:data --fan-out-limit 50
      Joins terminator and web; entries of owners with more than 50 followers are merged when a feed is read.
  feed --bus-dial tcp://127.0.0.1:5555 --store fdb:/etc/foundationdb/fdb.cluster
      The same on a FoundationDB cluster; any number of instances may serve. Needs a build with --features fdb.

Every flag is also a key of the file that --config names, and an environment variable: FEED_BUS_DIAL, FEED_STORE.";

/// Default of `--fan-out-limit` (docs/adr/0007-feed-fan-out.md).
const FAN_OUT_DEFAULT: u32 = 200;

/// With more copies of the longest entry a transaction would exceed the store's limit of 10 MB.
const FAN_OUT_MAX: i64 = 500;

/// First pages of some ten thousand feeds.
const CACHE_DEFAULT: u64 = 64 * 1024 * 1024;

/// Serves members' feeds: entries, follows and unread counts under /feeds/{owner}.
#[derive(Clone, Debug, Parser)]
#[command(name = "feed", version, after_help = EXAMPLES)]
pub struct Args {
    /// Options that every service has.
    #[command(flatten)]
    pub host: Options,

    /// Where the feeds are stored.
    #[command(flatten)]
    pub store: StoreOptions,

    /// Followers up to which an entry is copied into every follower's feed. Entries of owners with
    /// more followers are merged when a feed is read. 0 = always merged.
    #[arg(long, value_name = "N", default_value_t = FAN_OUT_DEFAULT,
        value_parser = clap::value_parser!(u32).range(0..=FAN_OUT_MAX))]
    pub fan_out_limit: u32,

    /// Memory for the newest entries of frequently read feeds, all workers together. 0 = no cache.
    #[arg(long, value_name = "BYTES", default_value_t = CACHE_DEFAULT)]
    pub cache_bytes: u64,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}

impl StoreSettings for Args {
    const OWNER: Owner = Owner { service: "feed", layout: 1 };

    fn store(&self) -> &StoreOptions {
        &self.store
    }
}
