//! Where the plan is that a command reads or writes, and who writes.
//!
//! Owns the flags, which are those of the terminator, and the bound on waiting for the source.
//! Leaves the check that they fit together to `change::source`. Invariant: without a flag it is the
//! directory of a stack that was started in this working directory.

use std::path::PathBuf;
use std::time::Duration;

use change::source::{Driver, EtcdUrl, PlanSettings, Prefix, Source, User};

use super::error::Error;

/// Longest wait for the documents of a plan.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often the source is asked whether it failed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where the plan is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Where the plan is")]
pub struct Origin {
    /// The directory of the plan [default: ./data/plan, where `stack` has it].
    #[arg(long, value_name = "DIR", global = true)]
    pub plan: Option<PathBuf>,
    /// The etcd that the plan is in, instead of --plan; may be repeated, one for each member.
    #[arg(long, value_name = "URL", global = true)]
    pub etcd: Vec<EtcdUrl>,
    /// What the keys in etcd start with.
    #[arg(long, value_name = "PREFIX", default_value_t = Prefix::default(), global = true)]
    pub etcd_prefix: Prefix,
    /// The user of etcd, where authentication is on.
    #[arg(
        long,
        value_name = "NAME:PASSWORD",
        env = "STACK_ETCD_USER",
        hide_env_values = true,
        global = true
    )]
    pub etcd_user: Option<User>,
    /// The authority that signed etcd's certificate, in PEM; needed for https.
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_ca: Option<PathBuf>,
    /// The certificate that etcd asks for, in PEM; with --etcd-key.
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_cert: Option<PathBuf>,
    /// The private key of --etcd-cert, in PEM.
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_key: Option<PathBuf>,
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
        let is_default = self.plan.is_none() && self.etcd.is_empty();
        PlanSettings {
            directory: self.plan.clone().or_else(|| is_default.then(|| "./data/plan".into())),
            etcd: self.etcd.clone(),
            prefix: self.etcd_prefix.clone(),
            user: self.etcd_user.clone(),
            ca: self.etcd_ca.clone(),
            certificate: self.etcd_cert.clone(),
            private_key: self.etcd_key.clone(),
            cache: None,
            times: Default::default(),
        }
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
    let state = source.status().state;
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
