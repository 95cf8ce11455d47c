//! The file's layer: TOML keys become arguments.
//!
//! Owns: reading the file and matching its keys and types with the role's arguments. Leaves
//! precedence to `layers`. Invariant: every key of the file is an argument of the role, or an
//! error.

use std::collections::HashSet;
use std::path::Path;

use clap::{Arg, Command};
use toml::{Table, Value};

use super::addition::{Addition, Origin, is_clap_own, switch_or_values};
use super::{CONFIG, Error, nearest};

/// What the file's keys add, in the order of the keys.
pub(crate) fn additions(command: &Command, file: &Path) -> Result<Vec<Addition>, Error> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| Error::Unreadable { file: file.to_owned(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| Error::Syntax {
        file: file.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    let mut seen = HashSet::new();
    let mut additions = Vec::new();
    for (key, value) in &table {
        let arg = argument(command, key).ok_or_else(|| unknown_key(command, file, key))?;
        let id = arg.get_id().to_string();
        if !seen.insert(id.clone()) {
            let key = arg.get_long().unwrap_or(key).to_owned();
            return Err(Error::TwiceInFile { file: file.to_owned(), key });
        }
        let args = values(arg, value)
            .and_then(|values| switch_or_values(arg, &values, |value| value.parse().ok()))
            .map_err(|expected| Error::WrongShape {
                file: file.to_owned(),
                key: key.clone(),
                value: value.to_string(),
                expected,
            })?;
        let origin = Origin::File { key: key.clone(), value: value.to_string() };
        additions.push(Addition { id, shown: arg.to_string(), args, origin });
    }
    Ok(additions)
}

fn argument<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let long = key.replace('_', "-");
    settable(command).find(|arg| {
        arg.get_long() == Some(long.as_str())
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long.as_str()))
    })
}

/// The arguments that a file may give: all with a long name but the one that names the file.
pub(crate) fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some() && arg.get_id() != CONFIG && !is_clap_own(arg))
}

fn unknown_key(command: &Command, file: &Path, key: &str) -> Error {
    let known: Vec<&str> = settable(command).filter_map(Arg::get_long).collect();
    let hint = match nearest(&key.replace('_', "-"), known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the settings are {}", known.join(", ")),
    };
    Error::UnknownKey { file: file.to_owned(), key: key.to_owned(), hint }
}

/// The values of a key as one would write them on the command line.
fn values(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::Table(entries) if takes_pairs(arg) => {
            entries.iter().map(|(key, value)| scalar(value).map(|value| format!("{key}={value}"))).collect()
        }
        Value::Table(_) => Err(format!("a table, but {arg} takes plain values")),
        value => Ok(vec![scalar(value)?]),
    }
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Datetime(time) => Ok(time.to_string()),
        Value::Array(_) | Value::Table(_) => Err("values may not be nested here".to_owned()),
    }
}

/// True when the flag is written `--flag KEY=VALUE`.
fn takes_pairs(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains('=')))
}
