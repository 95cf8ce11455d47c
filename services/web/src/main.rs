//! The binary.

use std::process::ExitCode;

/// mimalloc is faster under load than the C library's allocator, and returns memory (ADR 0008).
#[global_allocator]
static ALLOCATOR: role::memory::Allocator = role::memory::Allocator;

fn main() -> ExitCode {
    service_host::main::<web::Args>(|context| Ok(web::routes(context.upstream().clone())))
}
