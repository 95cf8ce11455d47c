//! The binary: opens the store and serves conversations.

use std::process::ExitCode;

use chat::{Args, Conversations, serve};
use service_host::data;

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    data::main(|_: &Args, store| {
        let conversations = Conversations::new(store);
        move |context| Ok(serve(context, conversations.clone()))
    })
}
