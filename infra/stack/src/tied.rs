//! A process that does not outlive the stack, even when the stack is killed with SIGKILL.
//!
//! Owns asking Linux for a signal at the parent's death (`PR_SET_PDEATHSIG`), and executing the
//! role. The request survives `exec`, so roles need no support for it; and because the stack starts
//! itself again for it, no `unsafe` code is needed between `fork` and `exec`. On other systems a
//! role outlives a killed stack and must be ended by hand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::Error;

/// Starts roles.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The stack's own binary; `None` where roles cannot be tied.
    tie: Option<PathBuf>,
}

impl Launcher {
    /// Ties children through the binary of this process.
    #[must_use]
    pub fn this_process() -> Self {
        // By this name the kernel finds the binary even after a new build replaced its file.
        Self::through(Path::new("/proc/self/exe"))
    }

    /// Ties children through the stack's binary `stack`.
    #[must_use]
    pub fn through(stack: &Path) -> Self {
        Self { tie: (cfg!(target_os = "linux") && stack.exists()).then(|| stack.to_owned()) }
    }

    /// The command that starts `program` in a process group of its own: a Ctrl-C in the terminal
    /// reaches only the stack, which then stops the roles in order.
    #[must_use]
    pub fn command(&self, program: &Path, args: &[OsString]) -> Command {
        let mut command = match &self.tie {
            Some(stack) => {
                let mut command = Command::new(stack);
                command.args(["tied", "--parent", &std::process::id().to_string(), "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).process_group(0);
        command
    }
}

/// Executes `program`, tied to `parent`; returns only on failure.
///
/// # Errors
/// The program cannot be started.
pub fn exec(parent: u32, program: &Path, args: &[OsString]) -> Result<(), Error> {
    use std::os::unix::process::CommandExt;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        let cannot =
            |source: rustix::io::Errno| Error::Start { program: program.to_owned(), source: source.into() };
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(cannot)?;
        // The parent may have died before the request, and then no signal will come.
        if getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) != Some(parent) {
            return Ok(());
        }
    }
    let source = std::process::Command::new(program).args(args).exec();
    Err(Error::Start { program: program.to_owned(), source })
}
