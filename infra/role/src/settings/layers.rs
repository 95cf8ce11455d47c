//! The order of the sources: file, then environment, then flags, decided key by key.
//!
//! Owns: parsing twice. The first parse only tells which arguments the command line gives (clap's `value_source`); the
//! last parses the command line with everything the lower sources add in front of it, so that clap applies the same
//! checks to all of it. What a higher source hides is parsed alone, so that it is checked too. Invariant: an argument is
//! added from one source at most, and never when a flag gives it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};

use super::{CONFIG, Error, environment, file};

/// What one key of the file or one variable adds to the command line.
pub(crate) struct Addition {
    /// The argument it is for.
    pub(crate) id: String,
    /// How the argument is shown in clap's errors: `--workers <N>`.
    pub(crate) shown: String,
    /// `--workers=4`, none for a switch that stays off.
    pub(crate) args: Vec<OsString>,
    /// For errors.
    pub(crate) origin: Origin,
}

/// Where an addition was written.
pub(crate) enum Origin {
    File { key: String, value: String },
    Variable { name: String, value: String },
}

/// Parses `args` with what the environment and the file add.
pub(crate) fn matches(
    command: Command,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
) -> Result<ArgMatches, Error> {
    let command = environment::name_variables(command);
    let given = command.clone().ignore_errors(true).try_get_matches_from(&args)?;
    let from_flags = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);

    let mut built = command.clone();
    built.build(); // an argument can be shown, `--workers <N>`, only after this
    let additions = environment::additions(&built, &env)?;
    // clap would read the variables a second time, without the rules for switches, commas and empty values.
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    let (hidden, mut additions): (Vec<_>, Vec<_>) =
        additions.into_iter().partition(|addition| from_flags(&addition.id));
    check_hidden(&command, &args, hidden, None)?;
    let file = config_file(&given, &additions);
    if let Some(path) = &file {
        let in_environment: HashSet<String> = additions.iter().map(|addition| addition.id.clone()).collect();
        let (hidden, keys): (Vec<_>, Vec<_>) = file::additions(&built, path)?
            .into_iter()
            .partition(|addition| from_flags(&addition.id) || in_environment.contains(&addition.id));
        check_hidden(&command, &args, hidden, Some(path))?;
        additions.extend(keys);
    }

    // After the program's name and before everything else: there they belong to the role, not to a subcommand.
    let mut all = args;
    let at = all.len().min(1);
    all.splice(at..at, additions.iter().flat_map(|addition| addition.args.iter().cloned()));
    command.try_get_matches_from(all).map_err(|error| blame(error, &additions, file.as_deref()))
}

/// Checks the values that a higher source hides: a file that is wrong would else be so on the day the flag goes.
fn check_hidden(
    command: &Command,
    args: &[OsString],
    hidden: Vec<Addition>,
    file: Option<&Path>,
) -> Result<(), Error> {
    for addition in hidden {
        let alone = args.iter().take(1).chain(&addition.args);
        if let Err(error) = command.clone().try_get_matches_from(alone)
            // Others say that something is missing, as it is here.
            && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        {
            return Err(blame(error, &[addition], file));
        }
    }
    Ok(())
}

/// Whether clap itself answers the flag: `--help`, `--version`.
pub(crate) fn is_clap_own(arg: &clap::Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    matches!(arg.get_action(), Help | HelpLong | HelpShort | Version)
}

/// The arguments that give `arg` the `values`, written as one would write them in a shell.
///
/// # Errors
/// What a switch takes.
pub(crate) fn switch_or_values(
    arg: &clap::Arg,
    values: &[String],
    as_switch: impl Fn(&str) -> Option<bool>,
) -> Result<Vec<OsString>, String> {
    let long = arg.get_long().expect("only arguments with a long name are looked up");
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => {
            let on = values.first().filter(|_| values.len() == 1).and_then(|value| as_switch(value));
            let on = on.ok_or("this is a switch: give true or false")?;
            Ok(if on { vec![format!("--{long}").into()] } else { Vec::new() })
        }
        ArgAction::Count => {
            let times =
                values.first().filter(|_| values.len() == 1).and_then(|value| value.parse::<u8>().ok());
            let times = times.ok_or("this is a count: give a number from 0 to 255")?;
            Ok(vec![format!("--{long}").into(); usize::from(times)])
        }
        action if values.len() > 1 && !matches!(action, ArgAction::Append) => {
            Err(format!("--{long} takes one value, not {}", values.len()))
        }
        _ => Ok(values.iter().map(|value| format!("--{long}={value}").into()).collect()),
    }
}

/// The file that `--config` gives, or else its variable.
fn config_file(given: &ArgMatches, additions: &[Addition]) -> Option<PathBuf> {
    let variable =
        additions.iter().find(|addition| addition.id == CONFIG).map(|addition| match &addition.origin {
            Origin::File { value, .. } | Origin::Variable { value, .. } => PathBuf::from(value),
        });
    let raw = given.try_get_raw(CONFIG).ok().flatten().and_then(|mut values| values.next());
    variable.or_else(|| raw.map(|value: &OsStr| PathBuf::from(value)))
}

/// Names the file or the variable when clap refuses a value that came from there.
fn blame(error: clap::Error, additions: &[Addition], file: Option<&Path>) -> Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error.into() };
    let Some(addition) = additions.iter().find(|addition| addition.shown == *shown) else {
        return error.into();
    };
    let reason = reason(&error);
    match (&addition.origin, file) {
        (Origin::File { key, value }, Some(file)) => {
            Error::WrongInFile { file: file.to_owned(), key: key.clone(), value: value.clone(), reason }
        }
        (Origin::Variable { name, value }, _) => {
            Error::WrongVariable { name: name.clone(), value: value.clone(), reason }
        }
        (Origin::File { .. }, None) => error.into(),
    }
}

/// The first line of what clap would print, less its `error: `; the validators' own reason is in it.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
