//! The end of a process that used FoundationDB's client: its own exit code, and no signal.
//!
//! Each case is this program started again with the case's name in a variable, so that it has a
//! `main` that ends like a service's. Needs the feature `fdb` and a cluster.

#![allow(clippy::print_stdout, reason = "says why it skips")]
#![cfg_attr(feature = "fdb", allow(clippy::unwrap_used, reason = "tests fail by panic"))]

#[cfg(feature = "fdb")]
mod cases;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "fdb")]
    if let Ok(case) = std::env::var(cases::CASE) {
        return cases::end(&case);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    #[cfg(feature = "fdb")]
    let tests = cases::tests();
    #[cfg(not(feature = "fdb"))]
    let tests = vec![libtest_mimic::Trial::test("fdb::processes_end_with_their_own_code", || {
        println!("SKIPPED: built without the feature fdb");
        Ok(())
    })];
    libtest_mimic::run(&arguments, tests).exit_code()
}
