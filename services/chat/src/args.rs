//! The command line.

use clap::Parser;
use service_host::data::{StoreOptions, StoreSettings};
use service_host::{Options, Settings};
use store::Owner;

const EXAMPLES: &str = "\
Examples:
  chat --bus-dial tcp://127.0.0.1:5555 --store embedded:/var/lib/chat
      Joins the terminator at port 5555 and serves /chats from a store in that directory.
  terminator --http 0.0.0.0:8080 --bus-listen tcp://0.0.0.0:5555 --route-deadline 'GET /chats/{id}/updates=31s'
      Its terminator: without this deadline a long poll ends, empty, shortly before the default deadline.
  curl '127.0.0.1:8080/chats/7/updates?after=CURSOR'
      Waits up to 30 s for changes after the cursor.
  chat --bus-dial tcp://127.0.0.1:5555 --store fdb:/etc/foundationdb/fdb.cluster
      The same on a FoundationDB cluster; any number of instances may serve. Needs a build with --features fdb.

Every flag is also a key of the file that --config names, and an environment variable: CHAT_BUS_DIAL, CHAT_STORE.";

/// Serves conversations: messages, long polls, typing and read markers under /chats/{id}.
#[derive(Clone, Debug, Parser)]
#[command(name = "chat", version, after_help = EXAMPLES)]
// A waiting poll counts against `limit`: 20 000 of them must fit beside other requests.
#[command(mut_arg("limit", |limit| limit.default_value("65536")))]
pub struct Args {
    /// Options that every service has.
    #[command(flatten)]
    pub host: Options,

    /// Where the conversations are stored.
    #[command(flatten)]
    pub store: StoreOptions,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}

impl StoreSettings for Args {
    const OWNER: Owner = Owner { service: "chat", layout: 1 };

    fn store(&self) -> &StoreOptions {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_wait_fit_into_the_default_limit() {
        let args = Args::parse_from(["chat"]);
        assert_eq!(args.host.limit, 65_536);
        assert_eq!(Args::parse_from(["chat", "--limit", "9"]).host.limit, 9);
    }
}
