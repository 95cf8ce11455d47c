//! The binary.

use std::process::ExitCode;

/// Faster under load than the C library's, and gives memory back (docs/adr/0008).
#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::Allocator;

fn main() -> ExitCode {
    service_host::main::<web::Args>(|context| Ok(web::routes(context.upstream().clone())))
}
