//! The binary: parses, opens the store, serves.

use std::{io::Write, process::ExitCode, rc::Rc};

use clap::{CommandFactory, error::ErrorKind};
use events::{Args, EventStore, Projections, Tail, routes};
use store::{OpenError, Store};
use tokio::signal::unix::{SignalKind, signal};

/// A third of the allocator's share of a request less than with the C library's (docs/adr/0008).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = settings::load::<Args>();
    let Some(address) = args.store.clone() else {
        let usage = "the events need a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        Args::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    };
    service_host::require_bus::<Args>(&args);
    match Store::open(&address) {
        Ok(store) => service_host::run(args, move |context| {
            let events = EventStore::new(store.clone());
            let tail = Tail::new(events.clone());
            tokio::task::spawn_local(close_at_the_end(Rc::clone(&tail)));
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

/// Answers the long polls when the service is told to stop: the drain waits for every request in hand.
async fn close_at_the_end(tail: Rc<Tail>) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::warn!("signals cannot be heard: a drain waits for long polls");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    tail.close();
}
