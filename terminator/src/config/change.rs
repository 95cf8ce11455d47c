//! The settings of live change as typed: where the plan comes from, and who sends a request.
//!
//! Owns the flags. Leaves the check that they fit together, and opening the source, to
//! `change::source`. Invariant: without any of them no plan is read, and nothing is decided.

use std::path::PathBuf;

use change::identity::{SessionCookie, Source};
use change::source::{PlanFlags, PlanSettings, Token, User};

use super::write_token::WriteToken;
use crate::live::Identities;

/// The settings of live change.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Live change")]
pub struct ChangeSettings {
    /// Where the plan is
    #[command(flatten)]
    pub flags: PlanFlags,
    /// The user of etcd, where authentication is on
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub etcd_user: Option<User>,
    /// The token of Unleash's client API, for --plan unleash:URL; as the variable
    /// TERMINATOR_PLAN_TOKEN it is not in the list of processes
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub plan_token: Option<Token>,
    /// Where the plan is kept for a start without etcd or Unleash
    #[arg(long, value_name = "FILE")]
    pub plan_cache: Option<PathBuf>,
    /// The token with which the page at /change of the admin listener, and its POST paths, change
    /// toggles and rollouts; without it they change nothing. As the variable
    /// TERMINATOR_ADMIN_WRITE_TOKEN it is not in the list of processes
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub admin_write_token: Option<WriteToken>,
    /// Where the id of the user is, for toggles and rollouts: header:NAME or cookie:NAME. A header
    /// must be set by a proxy that clients cannot go around
    #[arg(long = "identity", value_name = "header:NAME|cookie:NAME")]
    pub user: Option<Source>,
    /// The cookie with the id of the session
    #[arg(long, value_name = "NAME")]
    pub session_cookie: Option<SessionCookie>,
    /// The environment for which toggles are evaluated, such as production
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
}

impl ChangeSettings {
    /// Where the identity of a request is.
    pub(super) fn identities(&self) -> Identities {
        Identities { user: self.user.clone(), session: self.session_cookie.clone() }
    }

    /// Where the plan comes from; `None` when there is none.
    pub(super) fn plan(&self) -> Option<PlanSettings> {
        let plan =
            self.flags.settings(self.etcd_user.clone(), self.plan_token.clone(), self.plan_cache.clone());
        let is_absent = plan.directory.is_none()
            && plan.etcd.is_empty()
            && plan.unleash.is_none()
            && plan.ca.is_none()
            && plan.certificate.is_none()
            && plan.cache.is_none();
        (!is_absent).then_some(plan)
    }
}
