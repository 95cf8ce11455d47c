//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_host::main::<web::Args>(|context| Ok(web::routes(context.upstream().clone())))
}
