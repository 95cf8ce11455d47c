//! Where the plan is that a command reads or writes, and who writes.
//!
//! Owns the flags, which are those of the terminator, and the bound on waiting for the source.
//! Leaves the check that they fit together to `change::source`. Invariant: without a flag it is the
//! directory of a stack that was started in this working directory.

use std::time::Duration;

use change::source::{Driver, PlanFlags, PlanSettings, Source, Token, User};

use super::error::Error;

/// Where `stack` has the plan, in the directory in which it was started.
const DEFAULT_DIRECTORY: &str = "./data/plan";
/// Longest wait for the documents of a plan.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the source is asked whether it failed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where the plan is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Where the plan is")]
pub struct Origin {
    /// Where the plan is; without a flag in ./data/plan, where `stack` has it.
    #[command(flatten)]
    pub flags: PlanFlags,
    /// The user of etcd, where authentication is on.
    #[arg(
        long,
        value_name = "NAME:PASSWORD",
        env = "STACK_ETCD_USER",
        hide_env_values = true,
        global = true
    )]
    pub etcd_user: Option<User>,
    /// The token of Unleash's client API, for --plan unleash:URL.
    #[arg(long, value_name = "TOKEN", env = "STACK_PLAN_TOKEN", hide_env_values = true, global = true)]
    pub plan_token: Option<Token>,
}

impl Origin {
    /// The source, for reads and writes of single documents.
    ///
    /// # Errors
    /// The flags do not fit together, or a certificate cannot be read.
    pub fn open(&self) -> Result<Source, Error> {
        Ok(Source::open(&self.settings())?.0)
    }

    /// The source with all of its documents as they are now.
    ///
    /// # Errors
    /// The source cannot be read, or does not answer in time.
    pub async fn read(&self) -> Result<Source, Error> {
        read(&self.settings()).await
    }

    fn settings(&self) -> PlanSettings {
        let mut settings = self.flags.settings(self.etcd_user.clone(), self.plan_token.clone(), None);
        if settings.directory.is_none() && settings.etcd.is_empty() && settings.unleash.is_none() {
            settings.directory = Some(DEFAULT_DIRECTORY.into());
        }
        settings
    }
}

/// A source with all of its documents as they are now.
///
/// # Errors
/// The source cannot be read, or does not answer in time.
pub async fn read(settings: &PlanSettings) -> Result<Source, Error> {
    let (source, driver): (Source, Driver) = Source::open(settings)?;
    let is_directory = settings.directory.is_some();
    // A directory that cannot be read now will not be waited for; a member of etcd may be away.
    let failed = async {
        while !is_directory || source.status().state.error.is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let loaded = tokio::select! {
        () = source.loaded() => true,
        () = failed => false,
        () = tokio::time::sleep(ANSWER_WITHIN) => false,
        () = driver.run(std::future::pending()) => false,
    };
    if loaded {
        return Ok(source);
    }
    let status = source.status();
    let state = status.unconnected().next().unwrap_or(&status.state).clone();
    let reason = state.error.unwrap_or_else(|| "no answer".to_owned());
    Err(Error::Unreadable { source_name: state.source, reason })
}

/// Who changes something, for the history: `user@host`.
#[must_use]
pub fn who() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.filter(|user| !user.is_empty());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}
