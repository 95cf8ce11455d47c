//! The same program with the feature `nng`, under another name, so that `bench` can build it
//! without replacing itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::cli::main()
}
