//! The binary: parses, then runs. Exit code 0 after a stop that was asked for, 1 on failure, 2 on usage.
#![expect(clippy::print_stderr, reason = "a command-line program says why it failed")]

use std::process::ExitCode;

use clap::Parser;
use stack::options::{Options, Task};
use stack::{run, tied};

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.task {
        Some(Task::Tied { parent, program, args }) => tied::exec(*parent, program, args),
        None => run::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
