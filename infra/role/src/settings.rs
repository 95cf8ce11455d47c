//! One set of settings from a TOML file, the environment and flags: for each setting the last of
//! these that gives it wins.
//!
//! Owns: finding the file, turning its keys and the role's environment variables into arguments,
//! the errors that name where a wrong value came from, and the list of where each value came from
//! ([`Setting`]). Leaves to the role's clap struct what an argument means, its default and its
//! checks. Invariant: whatever the source, a value goes through the same clap argument, so that a
//! file accepts exactly what the flag accepts.
//!
//! - **File**: given by `--config FILE` (or its variable). Keys are the long flags' names,
//!   `deadline` or `bus-listen` (`bus_listen` is the same); arrays repeat a flag; `true` sets a
//!   switch; a table fills a flag of the form `--flag KEY=VALUE`, one value for each entry.
//! - **Environment**: every flag of the role has a variable, `--bus-listen` of `terminator` is
//!   `TERMINATOR_BUS_LISTEN`, unless its clap argument names another. Commas separate the values of
//!   a repeatable flag. A variable that is set to nothing counts as not set.
//! - **Unknown** keys and variables with the role's prefix are errors: a typing mistake never
//!   becomes a default. Only the variables that Kubernetes and Docker invent for a service's name
//!   (`WEB_SERVICE_HOST`, `WEB_PORT_8080_TCP`) pass.
//!
//! Flags of subcommands are not read from the file or the environment.

mod addition;
mod environment;
mod file;
mod layers;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;

pub use sources::{Setting, Source, effective};

/// The id of the argument that gives the file.
const CONFIG: &str = "config";

/// Reads the settings of a role whose clap struct `T` may have an argument `--config FILE` with the
/// id `config`. Prints and exits as clap does: 0 after `--help` and `--version`, 2 on anything
/// wrong. [`effective`] then lists them.
#[must_use]
pub fn load<T: clap::Parser>() -> T {
    let loaded = load_from(std::env::args_os(), std::env::vars_os());
    let (settings, listed) = loaded.unwrap_or_else(|error| match error {
        Error::Arguments(error) => error.exit(),
        error => T::command().error(ErrorKind::ValueValidation, error).exit(),
    });
    sources::keep(listed);
    settings
}

/// [`load`] from given arguments, the program's name first, and a given environment; with the list
/// of all settings.
///
/// # Errors
/// The first thing that is wrong, grouped in [`Error`] by where it was written; `--help` and
/// `--version` are [`Error::Arguments`] too, as in clap.
pub fn load_from<T: clap::Parser>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(T, Vec<Setting>), Error> {
    let args = args.into_iter().map(Into::into).collect();
    let env = env.into_iter().collect();
    let (matches, listed) = layers::matches(T::command(), args, env)?;
    Ok((T::from_arg_matches(&matches)?, listed))
}

/// What is wrong with the settings, by where it was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On the command line, or nowhere (a required flag is missing), or `--help`.
    #[error(transparent)]
    Arguments(#[from] clap::Error),

    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; give --config the path of a TOML file", file.display())]
    Unreadable {
        /// As given.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// The file is not TOML.
    #[error("{}: {reason}", file.display())]
    Syntax {
        /// As given.
        file: PathBuf,
        /// Line, column and the parser's reason.
        reason: String,
    },

    /// The file has a key that is no flag.
    #[error("{}: there is no setting `{key}`; {hint}", file.display())]
    UnknownKey {
        /// As given.
        file: PathBuf,
        /// As written in the file.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },

    /// The file has one key in both spellings.
    #[error("{}: `{key}` is there twice, with `-` and with `_`; keep one", file.display())]
    TwiceInFile {
        /// As given.
        file: PathBuf,
        /// The flag's name.
        key: String,
    },

    /// A key's value is of a TOML type that its flag cannot take.
    #[error("{}: `{key} = {value}`: {expected}", file.display())]
    WrongShape {
        /// As given.
        file: PathBuf,
        /// As written in the file.
        key: String,
        /// As written in the file.
        value: String,
        /// What the flag takes.
        expected: String,
    },

    /// A key's value is refused by its flag.
    #[error("{}: `{key} = {value}`: {reason}", file.display())]
    WrongInFile {
        /// As given.
        file: PathBuf,
        /// As written in the file.
        key: String,
        /// As written in the file.
        value: String,
        /// The flag's own reason.
        reason: String,
    },

    /// A variable with the role's prefix that no flag reads.
    #[error("environment: nothing reads {name}; {hint}, or unset it")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest known variable, or the prefix.
        hint: String,
    },

    /// A variable's value is refused by its flag.
    #[error("environment: {name}={value}: {reason}")]
    WrongVariable {
        /// The variable.
        name: String,
        /// As set.
        value: String,
        /// The flag's own reason.
        reason: String,
    },
}

/// `did you mean ...`, when something near `word` is known.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// clap's own threshold for its suggestions.
    const SIMILAR: f64 = 0.7;
    known
        .into_iter()
        .map(|name| (strsim::jaro(word, name), name))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
