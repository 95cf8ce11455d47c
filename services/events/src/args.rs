//! The command line.

use clap::Parser;
use service_host::data::{StoreOptions, StoreSettings};
use service_host::{Options, Settings};
use store::Owner;

const EXAMPLES: &str = "\
Examples:
  events --bus-dial tcp://127.0.0.1:5555 --store embedded:/var/lib/events
      Joins the terminator at port 5555 and serves /events and /projections from a store in that directory.
  events --bus-dial tcp://127.0.0.1:5555 --store fdb:/etc/foundationdb/fdb.cluster
      The same on FoundationDB, in a build with the feature fdb; any number of instances share the events.
  curl localhost:8080/events -d '{\"events\":[{\"id\":\"1\",\"type\":\"Opened\",\"tags\":[\"account:7\"],\"data\":{}}]}'
      Appends an event; repeating the command has no further effect.
  curl 'localhost:8080/events/stream?tags=account:7'
      Returns the events with that tag, or waits for the first.

Every flag is also a key of the file that --config names, and an environment variable: EVENTS_BUS_DIAL, EVENTS_STORE.";

/// Serves an event store: POST and GET /events, GET /events/stream, GET and PUT
/// /projections/{name}.
#[derive(Clone, Debug, Parser)]
#[command(name = "events", version, after_help = EXAMPLES)]
// A waiting poll counts against `limit`: thousands of them must fit beside the appends.
#[command(mut_arg("limit", |limit| limit.default_value("65536")))]
pub struct Args {
    /// Options that every service has.
    #[command(flatten)]
    pub host: Options,

    /// Where the events are stored.
    #[command(flatten)]
    pub store: StoreOptions,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }
}

impl StoreSettings for Args {
    const OWNER: Owner = Owner { service: "events", layout: 2 };

    fn store(&self) -> &StoreOptions {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_that_wait_fit_into_the_default_limit() {
        assert_eq!(Args::parse_from(["events"]).host.limit, 65_536);
        assert_eq!(Args::parse_from(["events", "--limit", "9"]).host.limit, 9);
    }
}
