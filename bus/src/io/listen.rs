//! Where to listen, the mode and owner of the socket's file, and which claims are accepted there.

use std::fmt;
use std::str::FromStr;

use bus_proto::Claims;
use bus_proto::claims::{Rule, RuleError};

use crate::io::endpoint::{Endpoint, EndpointError};

/// One endpoint to listen on. It is parsed from the text of an endpoint. The text of an `ipc`
/// endpoint may add the file's mode and owner:
/// `ipc:///run/bus.sock?mode=0660&user=1000&group=1001`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Permissions of the file of an `ipc` endpoint. Other endpoints have no file.
    pub file: FileAccess,
    /// Which claims of peers that dial in here are accepted. This is not part of the text.
    pub claims: Claims,
}

/// Permissions of a Unix socket's file. A field that is `None` leaves what the process's umask and
/// identity give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// The permission bits. Connecting to a socket requires the write permission.
    pub mode: Option<u32>,
    /// The user id of the owner.
    pub user: Option<u32>,
    /// The group id of the owner.
    pub group: Option<u32>,
}

/// `[URL ]SERVICE=ROUTE,...`: a rule for one listener or, without a URL, for all of them; see
/// [`bus_proto::claims::Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    on: Option<Endpoint>,
    rule: Rule,
}

impl Allow {
    /// Sets the rules of every listener. A listener without a rule accepts every claim.
    ///
    /// # Errors
    /// The endpoint that a rule names and that is not in `listen`.
    pub fn apply(rules: &[Self], listen: &mut [Listen]) -> Result<(), Endpoint> {
        let is_there = |on: &Endpoint| listen.iter().any(|listen| listen.endpoint == *on);
        if let Some(on) = rules.iter().filter_map(|allow| allow.on.as_ref()).find(|on| !is_there(on)) {
            return Err(on.clone());
        }
        for listen in listen {
            let concerns = |allow: &&Self| allow.on.as_ref().is_none_or(|on| *on == listen.endpoint);
            listen.claims =
                Claims::new(rules.iter().filter(concerns).map(|allow| allow.rule.clone()).collect());
        }
        Ok(())
    }
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(' ').filter(|(first, _)| first.contains("://")) {
            Some((on, rule)) => Ok(Self { on: Some(on.parse()?), rule: rule.parse()? }),
            None => Ok(Self { on: None, rule: text.parse()? }),
        }
    }
}

/// Why a text is not a rule for a listener. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// The URL is not an endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The rest is not a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

impl From<Endpoint> for Listen {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, file: FileAccess::default(), claims: Claims::default() }
    }
}

impl FromStr for Listen {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason| EndpointError::new(text, reason);
        let (endpoint, options) = match text.split_once('?') {
            Some((endpoint, options)) if text.starts_with("ipc://") => (endpoint, options),
            _ => return Ok(text.parse::<Endpoint>()?.into()),
        };
        let mut listen = Self::from(endpoint.parse::<Endpoint>()?);
        for option in options.split('&') {
            let number = |text: &str, radix| u32::from_str_radix(text, radix).ok();
            match option.split_once('=') {
                Some(("mode", mode)) => {
                    let mode = number(mode, 8).filter(|mode| *mode <= 0o777);
                    listen.file.mode =
                        Some(mode.ok_or_else(|| bad("the mode is not an octal number up to 0777"))?);
                }
                Some(("user", user)) => {
                    listen.file.user = Some(
                        number(user, 10)
                            .ok_or_else(|| bad("the user is not a number (`id -u NAME` prints it)"))?,
                    );
                }
                Some(("group", group)) => {
                    let group = number(group, 10)
                        .ok_or_else(|| bad("the group is not a number (`getent group NAME` prints it)"))?;
                    listen.file.group = Some(group);
                }
                _ => return Err(bad("only mode=, user= and group= may follow the `?`")),
            }
        }
        Ok(listen)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        let mut sign = '?';
        let mut option = |name: &str, value: Option<String>| {
            let Some(value) = value else { return Ok(()) };
            write!(f, "{sign}{name}={value}")?;
            sign = '&';
            Ok(())
        };
        option("mode", self.file.mode.map(|mode| format!("{mode:04o}")))?;
        option("user", self.file.user.map(|user| user.to_string()))?;
        option("group", self.file.group.map(|group| group.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_owner_of_a_socket_survive_a_round_trip() {
        for text in ["tcp://*:80", "ipc:///a", "ipc:///a?mode=0660", "ipc:///a?mode=0600&user=1&group=2"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_rule_applies_to_the_listener_it_names_or_to_all() {
        let listen = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Listen>>();
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Allow>>();
        let allows = |listen: &Listen, service: &str, route: &str| {
            listen.claims.allow(service, &route.parse().unwrap())
        };
        let mut all = listen(&["ipc:///own", "tcp://*:5555"]);
        let some = rules(&["tcp://*:5555 a=GET /a", "tcp://*:5555 b=*"]);
        assert_eq!(Allow::apply(&some, &mut all), Ok(()));
        assert!(allows(&all[0], "c", "GET /c"), "it has no rule");
        assert!(allows(&all[1], "a", "GET /a") && allows(&all[1], "b", "GET /c"));
        assert!(!allows(&all[1], "a", "GET /c") && !allows(&all[1], "c", "GET /a"));
        assert_eq!(Allow::apply(&rules(&["a=GET /a"]), &mut all), Ok(()));
        assert!(all.iter().all(|listen| !allows(listen, "a", "GET /c")));
        let elsewhere = Allow::apply(&rules(&["tcp://*:1 a=GET /a"]), &mut all);
        assert_eq!(elsewhere.unwrap_err().to_string(), "tcp://*:1");
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (text, named) in [
            ("ipc:///a?mode=0888", "octal"),
            ("ipc:///a?mode=7777", "octal"),
            ("ipc:///a?user=root", "id -u"),
            ("ipc:///a?group=-1", "getent"),
            ("ipc:///a?size=1", "only mode="),
            ("tcp://h:1?mode=0600", "port"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(text), "{error}");
        }
    }
}
