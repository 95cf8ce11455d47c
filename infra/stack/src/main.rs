//! The binary: parses its arguments, then runs. Exit code 0 after a requested stop, 1 on failure, 2
//! on usage.
#![expect(clippy::print_stderr, reason = "a command-line program says why it failed")]

use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;
use clap::error::ErrorKind;
use stack::live::{self, Command};
use stack::options::{Options, Task};
use stack::seed::{self, error::Error, sending::End};
use stack::{run, tied, upgrade};

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.task {
        Some(Task::Tied { parent, program, args }) => tied::exec(*parent, program, args),
        Some(Task::Seed(options)) => return seeded(options),
        Some(Task::Plan(options)) => return changed(Command::Plan(options)),
        Some(Task::Toggle(options)) => return changed(Command::Toggle(options)),
        Some(Task::Rollout(options)) => return changed(Command::Rollout(options)),
        Some(Task::Ghost(options)) => return changed(Command::Ghost(options)),
        Some(Task::Upgrade(options)) => return ended(upgrade::run(options)),
        None => run::run(&options),
    };
    ended(result)
}

fn ended(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a command of live change: 1 when a plan has faults.
fn changed(command: Command<'_>) -> ExitCode {
    match live::run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code of `seed`: 3 when lines were skipped, 130 after a signal, as shells report Ctrl-C.
fn seeded(options: &seed::options::Options) -> ExitCode {
    match seed::run(options) {
        Ok(End::Complete { bad: 0 }) => ExitCode::SUCCESS,
        Ok(End::Complete { .. }) => ExitCode::from(3),
        Ok(End::Stopped) => ExitCode::from(130),
        Err(error @ Error::Template(_)) => Options::command().error(ErrorKind::InvalidValue, error).exit(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
