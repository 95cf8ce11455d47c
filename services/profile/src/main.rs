//! The binary: serves profiles, or loads them.

use std::process::ExitCode;

use profile::{Answers, Args, Command, Documents, load, routes};
use service_host::data;

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    let args = role::settings::load::<Args>();
    match args.command.clone() {
        Some(Command::Load(what)) => data::run_command(&args, |store| load::run(store, &what)),
        None => data::run(args, |_, store| {
            move |context| Ok(routes(Documents::new(store.clone()), Answers::of(context.version())))
        }),
    }
}
