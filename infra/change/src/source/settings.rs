//! What an operator says about where the plan comes from.
//!
//! Owns the values of the flags `--etcd`, `--etcd-prefix`, `--etcd-user`, `--etcd-ca`,
//! `--etcd-cert`, `--etcd-key` and `--plan-cache`, and the check that they fit together. Leaves the
//! flags themselves to the roles. Invariant: a password is in no `Debug` output.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Uri, uri};
use percent_encoding::percent_decode_str;

use super::error::SourceError;
use super::place::{Place, Token, UnleashUrl};

/// Shortest and longest time between two questions to Unleash.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Where the plan comes from: a directory or etcd, and Unleash beside one of them or alone.
#[derive(Clone, Debug, Default)]
pub struct PlanSettings {
    /// `--plan DIR`.
    pub directory: Option<PathBuf>,
    /// `--etcd URL`, repeated.
    pub etcd: Vec<EtcdUrl>,
    /// `--etcd-prefix`.
    pub prefix: Prefix,
    /// `--etcd-user NAME:PASSWORD`; goes before one in a URL.
    pub user: Option<User>,
    /// `--etcd-ca FILE`: PEM certificates; needed for `https`.
    pub ca: Option<PathBuf>,
    /// `--etcd-cert FILE`: PEM, with `--etcd-key`.
    pub certificate: Option<PathBuf>,
    /// `--etcd-key FILE`: PEM.
    pub private_key: Option<PathBuf>,
    /// `--plan unleash:URL`.
    pub unleash: Option<UnleashSettings>,
    /// A second value of `--plan` of one kind, which [`PlanSettings::check`] refuses.
    pub surplus: Option<Place>,
    /// `--plan-cache FILE`; with `.unleash` added for the toggles of Unleash beside
    /// another source.
    pub cache: Option<PathBuf>,
    /// Bounds on waiting for etcd.
    pub times: Times,
}

/// Bounds on waiting for etcd.
///
/// Rationale for defaults: a lease outlives a restart of etcd and is renewed thrice in its time; a
/// request that etcd has not answered in 3 s is better asked of another member; a dead peer is
/// noticed within `progress` and `request`, well before a lease ends.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Longest wait for an answer.
    pub request: Duration,
    /// Longest silence of a watch before etcd is asked whether it is alive.
    pub progress: Duration,
    /// How long a lease lasts without being renewed; whole seconds, at least 2.
    pub lease: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(3),
            progress: Duration::from_secs(5),
            lease: Duration::from_secs(10),
        }
    }
}

/// The Unleash server that has the toggles.
#[derive(Clone, Debug)]
pub struct UnleashSettings {
    /// `--plan unleash:URL`.
    pub url: UnleashUrl,
    /// `--plan-token`.
    pub token: Option<Token>,
    /// `--plan-interval`: time between two questions where the server offers no stream.
    pub interval: Duration,
}

/// `http[s]://[USER:PASSWORD@]HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUrl {
    /// Without the user.
    pub(crate) origin: Uri,
    pub(crate) user: Option<User>,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// What every key begins with: `/stack/` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl PlanSettings {
    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// [`SourceError::Settings`] with the flags at fault.
    pub fn check(&self) -> Result<(), SourceError> {
        let fails = |reason: &str| Err(SourceError::Settings(reason.to_owned()));
        let tls = self.etcd.iter().any(EtcdUrl::is_tls);
        if let Some(surplus) = &self.surplus {
            return fails(&format!(
                "--plan {surplus}: a plan is in one directory, and its toggles in one Unleash: give one of each"
            ));
        }
        match (&self.directory, self.etcd.is_empty()) {
            (None, true) if self.unleash.is_none() => {
                return fails("a plan needs a source: --plan DIR, --etcd URL or --plan unleash:URL");
            }
            (Some(_), false) => {
                return fails("--plan and --etcd exclude each other: one source is the truth");
            }
            (Some(_), true) if self.cache.is_some() && self.unleash.is_none() => {
                return fails("--plan-cache is for --etcd and Unleash: a directory needs no cache");
            }
            _ => {}
        }
        if tls && self.ca.is_none() {
            return fails(
                "an https URL in --etcd needs --etcd-ca FILE, the authority that signed etcd's certificate",
            );
        }
        if !tls && (self.ca.is_some() || self.certificate.is_some()) {
            return fails("--etcd-ca and --etcd-cert need an https URL in --etcd");
        }
        if self.certificate.is_some() != self.private_key.is_some() {
            return fails("--etcd-cert and --etcd-key belong together");
        }
        if let Some(unleash) = &self.unleash
            && !(INTERVAL_MIN..=INTERVAL_MAX).contains(&unleash.interval)
        {
            return fails(&format!(
                "--plan-interval {:?} is not within {INTERVAL_MIN:?} to {INTERVAL_MAX:?}",
                unleash.interval
            ));
        }
        if self.times.lease < Duration::from_secs(2) {
            return fails("a lease of less than 2 s would end between two renewals");
        }
        Ok(())
    }

    /// The user, of the flag or of the first URL that has one.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref().or_else(|| self.etcd.iter().find_map(|url| url.user.as_ref()))
    }
}

impl EtcdUrl {
    pub(crate) fn is_tls(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }
}

impl FromStr for EtcdUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("no URL of etcd ({why}): expected http[s]://[USER:PASSWORD@]HOST:PORT");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("no scheme"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(wrong("the scheme is neither http nor https"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => {
                let (name, password) =
                    user.split_once(':').ok_or_else(|| wrong("a user without password"))?;
                let plain = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
                (Some(User { name: plain(name), password: plain(password) }), host)
            }
            None => (None, rest),
        };
        let authority: Authority = host.parse().map_err(|_| wrong("no host"))?;
        if authority.host().is_empty() || authority.port().is_none() {
            return Err(wrong("no host, or no port such as 2379"));
        }
        let origin = uri::Builder::new().scheme(scheme).authority(authority).path_and_query("/").build();
        Ok(Self { origin: origin.map_err(|_| wrong("no host"))?, user })
    }
}

impl fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.to_string().trim_end_matches('/'))
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, password) = text.split_once(':').ok_or("no user: expected NAME:PASSWORD")?;
        Ok(Self { name: name.to_owned(), password: password.to_owned() })
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.name)
    }
}

impl Prefix {
    /// Its text, which begins and ends with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("/stack/".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.len() >= 3 && text.starts_with('/') && text.ends_with('/');
        if !whole || text.contains("//") {
            return Err(format!("`{text}` is no prefix: expected /NAME/ such as /stack/"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_user_and_origin_and_debug_hides_the_password() {
        let url: EtcdUrl = "https://root:p%40ss:w@[::1]:2379/".parse().expect("is a URL");
        assert_eq!(url.to_string(), "https://[::1]:2379");
        assert_eq!(url.user, Some(User { name: "root".to_owned(), password: "p@ss:w".to_owned() }));
        assert!(!format!("{url:?}").contains("p@ss"), "{url:?}");
        for wrong in [
            "etcd:2379",
            "ftp://etcd:2379",
            "http://etcd",
            "http://:2379",
            "http://root@etcd:2379",
            "http://e:1/x",
        ] {
            assert!(wrong.parse::<EtcdUrl>().is_err(), "{wrong}");
        }
        let error = "http://root:secret@".parse::<EtcdUrl>().expect_err("no host");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn settings_that_do_not_fit_together_are_refused() {
        let etcd =
            |url: &str| PlanSettings { etcd: vec![url.parse().expect("is a URL")], ..Default::default() };
        let directory = PlanSettings { directory: Some("plan".into()), ..Default::default() };
        assert!(etcd("http://a:1").check().is_ok() && directory.check().is_ok());
        let wrong = [
            PlanSettings::default(),
            PlanSettings { directory: Some("plan".into()), ..etcd("http://a:1") },
            PlanSettings { cache: Some("cache".into()), ..directory },
            etcd("https://a:1"),
            PlanSettings { ca: Some("ca".into()), ..etcd("http://a:1") },
            PlanSettings { ca: Some("ca".into()), private_key: Some("key".into()), ..etcd("https://a:1") },
            PlanSettings {
                times: Times { lease: Duration::from_secs(1), ..Default::default() },
                ..etcd("http://a:1")
            },
        ];
        for settings in wrong {
            assert!(matches!(settings.check(), Err(SourceError::Settings(_))), "{settings:?}");
        }
        for prefix in ["stack", "/stack", "stack/", "/", "//", "/a//b/"] {
            assert!(prefix.parse::<Prefix>().is_err(), "{prefix}");
        }
    }
}
