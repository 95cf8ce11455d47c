//! The arguments that one key of the file or one variable adds to the command line.
//!
//! Owns: the rules for switches, counts and repeated flags, which file and environment share.
//! Leaves the order of the sources to `layers`. Invariant: an addition is for one argument.

use std::ffi::OsString;

use clap::ArgAction;

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

/// True when clap itself answers the flag: `--help`, `--version`.
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
