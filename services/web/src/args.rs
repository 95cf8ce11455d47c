//! The command line.

use clap::Parser;
use service_host::{Options, Settings, Upstream};

const EXAMPLES: &str = "\
Examples:
  web --bus-dial tcp://127.0.0.1:5555 --upstream-dial ipc:///run/profile.sock
      Joins the terminator at port 5555 and asks the services at that Unix socket.
  web --bus-listen ipc:///run/web.sock --upstream-listen tcp://0.0.0.0:5556 --workers 2
      Listens for the terminator, and for the services that it asks.

Every flag is also a key of the file that --config names, and an environment variable: WEB_BUS_DIAL, WEB_UPSTREAM_DIAL.";

/// Makes members' pages, JSON or HTML, from the services that know the members.
#[derive(Clone, Debug, Parser)]
#[command(name = "web", version, after_help = EXAMPLES)]
pub struct Args {
    /// Options that every service has.
    #[command(flatten)]
    pub host: Options,

    /// How to reach the services that web asks.
    #[command(flatten)]
    pub upstream: Upstream,
}

impl Settings for Args {
    fn options(&self) -> &Options {
        &self.host
    }

    fn upstream(&self) -> Option<&Upstream> {
        Some(&self.upstream)
    }
}
