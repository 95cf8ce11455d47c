//! The flags that say where the plan is: the same in every program that reads or writes it.
//!
//! Owns their names, forms and help. Leaves the user of etcd, the token of Unleash and the cache to
//! the programs, which differ in them, and the check that all of it fits together to
//! [`PlanSettings::check`]. Invariant: every value that parses has the right form.

use std::path::PathBuf;
use std::time::Duration;

use super::place::{Place, Token};
use super::settings::{EtcdUrl, PlanSettings, Prefix, UnleashSettings, User};

/// Where the plan is, as typed.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanFlags {
    /// The directory of the plan: toggles/NAME.json, segments.json, rollouts/SERVICE.json. With
    /// unleash:URL the toggles and segments come from an Unleash server, such as
    /// `unleash:https://unleash.example/api`; give both, or --etcd and this, for rollouts as well
    #[arg(long, value_name = "DIR|unleash:URL", global = true)]
    pub plan: Vec<Place>,
    /// How often an Unleash server that offers no stream is asked for changes
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration, global = true)]
    pub plan_interval: Duration,
    /// The etcd that the plan is in instead
    #[command(flatten)]
    pub etcd: EtcdFlags,
}

/// Where etcd is, as typed.
#[derive(Clone, Debug, clap::Args)]
pub struct EtcdFlags {
    /// The etcd that the plan and the listeners of buses are in; may be repeated, one for each
    /// member
    #[arg(long, value_name = "URL", global = true)]
    pub etcd: Vec<EtcdUrl>,
    /// What the keys in etcd start with
    #[arg(long, value_name = "PREFIX", default_value_t = Prefix::default(), global = true)]
    pub etcd_prefix: Prefix,
    /// The authority that signed etcd's certificate, in PEM; needed for https
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_ca: Option<PathBuf>,
    /// The certificate that etcd asks for, in PEM; with --etcd-key
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_cert: Option<PathBuf>,
    /// The private key of --etcd-cert, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub etcd_key: Option<PathBuf>,
}

impl PlanFlags {
    /// The settings, with the user of etcd, the token of Unleash and the file of the cache.
    #[must_use]
    pub fn settings(&self, user: Option<User>, token: Option<Token>, cache: Option<PathBuf>) -> PlanSettings {
        let (mut directory, mut unleash, mut surplus) = (None, None, None);
        for place in &self.plan {
            match place {
                Place::Directory(path) if directory.is_none() => directory = Some(path.clone()),
                Place::Unleash(url) if unleash.is_none() => {
                    let (url, token, interval) = (url.clone(), token.clone(), self.plan_interval);
                    unleash = Some(UnleashSettings { url, token, interval });
                }
                place => surplus = Some(place.clone()),
            }
        }
        PlanSettings { directory, unleash, surplus, cache, ..self.etcd.settings(user) }
    }
}

impl EtcdFlags {
    /// The settings of a source that is etcd, with its user.
    #[must_use]
    pub fn settings(&self, user: Option<User>) -> PlanSettings {
        PlanSettings {
            directory: None,
            unleash: None,
            surplus: None,
            etcd: self.etcd.clone(),
            prefix: self.etcd_prefix.clone(),
            user,
            ca: self.etcd_ca.clone(),
            certificate: self.etcd_cert.clone(),
            private_key: self.etcd_key.clone(),
            cache: None,
            times: Default::default(),
        }
    }
}
