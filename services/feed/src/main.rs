//! The binary: parses its arguments, opens the store, then serves.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use feed::{Args, Feeds, routes};
use store::{OpenError, Store};

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let args = role::settings::load::<Args>();
    let Some(address) = args.store.clone() else {
        let usage = "the feeds need a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        Args::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    };
    service_host::require_bus::<Args>(&args);
    match Store::open(&address) {
        Ok(store) => {
            let feeds = Feeds::new(store, args.fan_out_limit, args.cache_bytes);
            service_host::run(args, move |_| Ok(routes(feeds.clone())))
        }
        Err(error @ OpenError::FeatureMissing { .. }) => {
            Args::command().error(ErrorKind::InvalidValue, error).exit()
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "feed: {:#}", Causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Formats an error and its sources, one after the other.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
