//! The binary: parses its arguments, opens the store, then serves.

use std::io::Write;
use std::process::ExitCode;

use chat::{Args, Conversations, serve};
use clap::CommandFactory;
use clap::error::ErrorKind;
use store::{OpenError, Store};

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let args = role::settings::load::<Args>();
    let Some(address) = args.store.clone() else {
        let usage = "the conversations need a store: give --store embedded:DIR or --store fdb:CLUSTER_FILE";
        Args::command().error(ErrorKind::MissingRequiredArgument, usage).exit();
    };
    service_host::require_bus::<Args>(&args);
    match Store::open(&address) {
        Ok(store) => {
            let conversations = Conversations::new(store);
            service_host::run(args, move |context| Ok(serve(context, conversations.clone())))
        }
        Err(error @ OpenError::FeatureMissing { .. }) => {
            Args::command().error(ErrorKind::InvalidValue, error).exit()
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "chat: {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}
