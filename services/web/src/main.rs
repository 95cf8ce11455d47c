//! The binary.

use std::process::ExitCode;

/// A third of the allocator's share of a request less than with the C library's (docs/adr/0008).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_host::main::<web::Args>(|context| Ok(web::routes(context.upstream().clone())))
}
