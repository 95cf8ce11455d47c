//! The systems that are compared, and how each is started.
//!
//! Owns their list and what they need. Each system's file has its processes and configuration.
//! Invariant: every process listens on free ports of 127.0.0.1, and is ended by its process id.

mod messaging;
mod proxies;
mod stack;
mod zeromq;

use anyhow::{Context, Result};

use super::ground::Ground;
use super::running::Running;

pub(crate) use self::proxies::bare;
pub(crate) use self::stack::{events, services, whole};

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Bare,
    StackOne,
    StackTwo,
    StackTwoProfile,
    StackFeed,
    Nginx,
    Haproxy,
    NatsOne,
    NatsTwo,
    Mongrel2,
    Pushpin,
    NngOne,
    NngTwo,
}

/// What a system needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Needs {
    Nothing,
    /// Programs, each with its Debian package.
    Packages(&'static [(&'static str, &'static str)]),
    /// The stack's binaries and its sample.
    Roles,
    /// The feature `nng`.
    Nng,
}

impl System {
    pub(crate) const ALL: [Self; 13] = [
        Self::Bare,
        Self::StackOne,
        Self::StackTwo,
        Self::StackTwoProfile,
        Self::StackFeed,
        Self::Nginx,
        Self::Haproxy,
        Self::NatsOne,
        Self::NatsTwo,
        Self::Mongrel2,
        Self::Pushpin,
        Self::NngOne,
        Self::NngTwo,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::StackOne => "stack-1",
            Self::StackTwo => "stack-2",
            Self::StackTwoProfile => "stack-2-profile",
            Self::StackFeed => "stack-feed",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::NatsOne => "nats-1",
            Self::NatsTwo => "nats-2",
            Self::Mongrel2 => "mongrel2",
            Self::Pushpin => "pushpin",
            Self::NngOne => "nng-1",
            Self::NngTwo => "nng-2",
        }
    }

    pub(crate) const fn needs(self) -> Needs {
        match self {
            Self::Bare => Needs::Nothing,
            Self::StackOne | Self::StackTwo | Self::StackTwoProfile | Self::StackFeed => Needs::Roles,
            Self::Nginx => Needs::Packages(&[("nginx", "nginx-light")]),
            Self::Haproxy => Needs::Packages(&[("haproxy", "haproxy")]),
            Self::NatsOne | Self::NatsTwo => Needs::Packages(&[("nats-server", "nats-server")]),
            Self::Mongrel2 => Needs::Packages(&[("mongrel2", "mongrel2-core")]),
            Self::Pushpin => Needs::Packages(&[("pushpin", "pushpin"), ("condure", "condure")]),
            Self::NngOne | Self::NngTwo => Needs::Nng,
        }
    }

    /// Succeeds when the system can be measured here; installs or builds what it needs.
    pub(crate) async fn prepare(self, ground: &Ground) -> Result<()> {
        match self.needs() {
            Needs::Nothing => Ok(()),
            Needs::Packages(programs) => {
                for (program, package) in programs {
                    ground.installer.program(program, package).await?;
                }
                Ok(())
            }
            Needs::Roles => ground.roles().await,
            Needs::Nng => ground.nng().await,
        }
    }

    /// True when the system is measured at the usual number of connections only.
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::Pushpin)
    }

    pub(crate) async fn start(self, ground: &Ground) -> Result<Running> {
        let started = match self {
            Self::Bare => proxies::bare(ground, &[]).await,
            Self::StackOne => stack::one_hop(ground).await,
            Self::StackTwo => stack::two_hops(ground).await,
            Self::StackTwoProfile => stack::two_hops_profile(ground).await,
            Self::StackFeed => stack::feed_page(ground).await,
            Self::Nginx => proxies::nginx(ground).await,
            Self::Haproxy => proxies::haproxy(ground).await,
            Self::NatsOne => messaging::nats(ground, 1).await,
            Self::NatsTwo => messaging::nats(ground, 2).await,
            Self::Mongrel2 => zeromq::mongrel2(ground).await,
            Self::Pushpin => zeromq::pushpin(ground).await,
            Self::NngOne => messaging::nng(ground, 1).await,
            Self::NngTwo => messaging::nng(ground, 2).await,
        };
        started.with_context(|| format!("{} could not be started", self.name()))
    }
}
