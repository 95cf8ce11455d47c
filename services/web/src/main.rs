//! The binary.

use std::process::ExitCode;

/// Faster under load than the C library's, and gives memory back (docs/adr/0008).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_host::main::<web::Args>(|context| Ok(web::routes(context.upstream().clone())))
}
