//! The order of the sources: file, then environment, then flags, decided key by key.
//!
//! Owns: parsing twice. The first parse only tells which arguments the command line gives (clap's
//! `value_source`); the last parses the command line with everything that the lower sources add in
//! front of it, so that clap applies the same checks to all of it. A value that a higher source
//! hides is parsed alone, so that it is checked too. Invariant: an argument is added from one
//! source at most, and never when a flag gives it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::addition::{Addition, Origin};
use super::sources::{Setting, Source, list};
use super::{CONFIG, Error, environment, file};

/// Parses `args` with what the environment and the file add; and lists every setting with its
/// source.
pub(crate) fn matches(
    command: Command,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
) -> Result<(ArgMatches, Vec<Setting>), Error> {
    let command = environment::name_variables(command);
    let given = command.clone().ignore_errors(true).try_get_matches_from(&args)?;
    let from_flags = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);

    let mut built = command.clone();
    built.build(); // An argument can be shown, `--workers <N>`, only after this.
    let additions = environment::additions(&built, &env)?;
    // clap would read the variables a second time, without the rules for switches, commas and empty
    // values.
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

    // After the program's name and before everything else: there they belong to the role, not to a
    // subcommand.
    let mut all = args;
    let at = all.len().min(1);
    all.splice(at..at, additions.iter().flat_map(|addition| addition.args.iter().cloned()));
    let matches =
        command.try_get_matches_from(all).map_err(|error| blame(error, &additions, file.as_deref()))?;
    let source = |id: &str| match additions.iter().find(|addition| addition.id == id) {
        _ if from_flags(id) => Source::Flag,
        Some(Addition { origin: Origin::Variable { name, .. }, .. }) => Source::Environment(name.clone()),
        Some(Addition { origin: Origin::File { .. }, .. }) => {
            Source::File(file.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
        }
        None => Source::Default,
    };
    let listed = list(&built, &matches, source);
    Ok((matches, listed))
}

/// Checks the values that a higher source hides: else an error in the file would show only on the
/// day on which the flag is removed.
fn check_hidden(
    command: &Command,
    args: &[OsString],
    hidden: Vec<Addition>,
    file: Option<&Path>,
) -> Result<(), Error> {
    for addition in hidden {
        let alone = args.iter().take(1).chain(&addition.args);
        if let Err(error) = command.clone().try_get_matches_from(alone)
            // Other errors say that an argument is missing, which is right when one is parsed
            // alone.
            && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        {
            return Err(blame(error, &[addition], file));
        }
    }
    Ok(())
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

/// The first line that clap would print, without its `error: `; it contains the validator's reason.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
