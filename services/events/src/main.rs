//! The binary: parses its arguments, opens the store, then serves.

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, error::ErrorKind};
use events::{Args, EventStore, Projections, Tail, routes};
use store::{OpenError, Store};

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let args = role::settings::load::<Args>();
    let Some(address) = args.store.clone() else {
        let usage = "the events need a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        Args::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    };
    service_host::require_bus::<Args>(&args);
    match Store::open(&address) {
        Ok(store) => service_host::run(args, move |context| {
            let events = EventStore::new(store.clone());
            let tail = Tail::new(events.clone());
            Ok(routes(events, Projections::new(store.clone()), tail, context.bus().clone()))
        }),
        Err(error @ OpenError::FeatureMissing { .. }) => {
            Args::command().error(ErrorKind::InvalidValue, error).exit()
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let _ = writeln!(std::io::stderr(), "events: {error}{}", source.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}
