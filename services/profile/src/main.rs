//! The binary: parses its arguments, then serves or loads.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use profile::{Args, Command, Documents, load, routes};
use service_host::Settings;
use store::{OpenError, Store};

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let args = role::settings::load::<Args>();
    let Some(address) = args.store.clone() else {
        let usage = "the profiles need a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        Args::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    };
    if args.command.is_none() {
        service_host::require_bus::<Args>(&args);
    } else if let Err(usage) = role::telemetry::trace(&args.options().log) {
        Args::command().error(ErrorKind::InvalidValue, usage).exit();
    }
    let store = match Store::open(&address) {
        Ok(store) => store,
        Err(error @ OpenError::FeatureMissing { .. }) => {
            Args::command().error(ErrorKind::InvalidValue, error).exit()
        }
        Err(error) => return exit(Err(error.into())),
    };
    match &args.command {
        Some(Command::Load(what)) => exit(load::run(&store, what)),
        None => service_host::run(args, move |_| Ok(routes(Documents::new(store.clone())))),
    }
}

fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "profile: {error:#}");
            ExitCode::FAILURE
        }
    }
}
