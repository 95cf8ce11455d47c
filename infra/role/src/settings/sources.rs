//! Every setting with its value and its source, for operators.
//!
//! Owns: the list, and what is masked in it. Leaves to `layers` which source won. Invariant: no
//! value of a setting whose name says that it is secret is listed, and no password in a URL.

use std::sync::OnceLock;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use super::file::settable;

/// Words of a setting's name that make its value a secret.
const SECRET: [&str; 5] = ["password", "secret", "token", "credential", "etcd-user"];
/// Shown in its place.
const MASK: &str = "***";

/// The settings of this process. A process has one set of them, read once by [`super::load`].
static EFFECTIVE: OnceLock<Vec<Setting>> = OnceLock::new();

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The flag's name, `bus-listen`.
    pub name: String,
    /// Its values as written; none when it is not set.
    pub value: Vec<String>,
    /// What gave it.
    #[serde(flatten)]
    pub source: Source,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "source", content = "from")]
pub enum Source {
    /// Nowhere.
    Default,
    /// In this file.
    File(String),
    /// In this variable.
    Environment(String),
    /// On the command line.
    Flag,
}

/// The settings that [`super::load`] has read; empty before.
#[must_use]
pub fn effective() -> &'static [Setting] {
    EFFECTIVE.get().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn keep(listed: Vec<Setting>) {
    // Read twice, as tests may, the first set stays.
    let _ = EFFECTIVE.set(listed);
}

/// The settings in the order of `--help`.
pub(super) fn list(command: &Command, matches: &ArgMatches, source: impl Fn(&str) -> Source) -> Vec<Setting> {
    let config = command.get_arguments().filter(|arg| arg.get_id() == super::CONFIG);
    let setting = |arg: &Arg| {
        let name = arg.get_long().unwrap_or_default().to_owned();
        let value = values(arg, matches).into_iter().map(|value| masked(&name, value)).collect();
        Setting { name, value, source: source(arg.get_id().as_str()) }
    };
    settable(command).chain(config).map(setting).collect()
}

fn values(arg: &Arg, matches: &ArgMatches) -> Vec<String> {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::Count) {
        return vec![matches.get_count(id).to_string()];
    }
    let raw = matches.try_get_raw(id).ok().flatten();
    raw.map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect()).unwrap_or_default()
}

fn masked(name: &str, value: String) -> String {
    if SECRET.iter().any(|word| name.contains(word)) {
        return MASK.to_owned();
    }
    // scheme://user:password@host
    let Some((scheme, rest)) = value.split_once("://") else { return value };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        Some((user, password)) => {
            let after = &rest[user.len() + 1 + password.len()..];
            format!("{scheme}://{user}:{MASK}{after}")
        }
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn secrets_are_masked() {
        let shown = |name, value: &str| masked(name, value.to_owned());
        assert_eq!(shown("admin-token", "abc"), "***");
        assert_eq!(shown("etcd-user", "ada:pw"), "***");
        assert_eq!(shown("store", "pg://ada:pw@host/db?x=1"), "pg://ada:***@host/db?x=1");
        for plain in ["tcp://127.0.0.1:5555", "ipc:///run/a@b:c.sock", "GET /a=5s"] {
            assert_eq!(shown("bus-dial", plain), plain);
        }
    }
}
