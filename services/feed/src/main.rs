//! The binary: opens the store and serves feeds.

use std::process::ExitCode;

use feed::{Args, Feeds, routes};
use service_host::data;

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    data::main(|args: &Args, store| {
        let feeds = Feeds::new(store, args.fan_out_limit, args.cache_bytes);
        move |_| Ok(routes(feeds.clone()))
    })
}
