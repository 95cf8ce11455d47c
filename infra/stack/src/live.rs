//! The operator's commands of live change: `stack plan`, `stack toggle` and `stack rollout`.
//!
//! Owns running one of them. Leaves documents, and reading and writing them, to the crate `change`;
//! what a terminator does with them it says itself, on its admin listener. Invariant: a command
//! changes at most one document, and only from the revision that it has read.

pub mod admin;
pub mod check;
pub mod error;
pub mod order;
pub mod origin;
pub mod output;
pub mod rollout;
pub mod status;
pub mod toggle;
pub mod watch;

use self::error::Error;

/// One of the commands.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `stack plan`.
    Plan(&'a check::Options),
    /// `stack toggle`.
    Toggle(&'a toggle::Options),
    /// `stack rollout`.
    Rollout(&'a rollout::Options),
}

/// Runs a command. Returns true when it found nothing wrong, false for the exit code 1 without an
/// error.
///
/// # Errors
/// Why it did not do what it was told.
pub fn run(command: Command<'_>) -> Result<bool, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let done = runtime.block_on(async {
        match command {
            Command::Plan(options) => check::run(options).await,
            Command::Toggle(options) => toggle::run(options).await.map(|()| true),
            Command::Rollout(options) => rollout::run(options).await,
        }
    });
    // A thread that resolves a name or lists a directory is not waited for.
    runtime.shutdown_background();
    done
}
