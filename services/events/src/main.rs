//! The binary: opens the store and serves events.

use std::process::ExitCode;

use events::{Args, serve};
use service_host::data;

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    data::main(|_: &Args, store| move |context| Ok(serve(context, &store)))
}
