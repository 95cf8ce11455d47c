//! The environment's layer: the variables that a role reads, and those that it refuses.
//!
//! Owns: the names of the variables and the rules for commas and switches. Leaves precedence to
//! `layers`. Invariant: a variable with the role's prefix is read, or is an error, or is one that
//! an orchestrator invents.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::addition::{Addition, Origin, is_clap_own, switch_or_values};
use super::{Error, nearest};

/// Gives every flag without a variable of its own the one made of the role's name and the flag's.
pub(crate) fn name_variables(command: Command) -> Command {
    let prefix = prefix(&command);
    command.mut_args(|arg| match (arg.get_long(), arg.get_env()) {
        (Some(long), None) if !is_clap_own(&arg) => {
            let name = format!("{prefix}{}", upper(long));
            arg.env(name).hide_env_values(true)
        }
        _ => arg,
    })
}

/// What the variables add, in the order of the arguments.
pub(crate) fn additions(command: &Command, env: &[(OsString, OsString)]) -> Result<Vec<Addition>, Error> {
    refuse_unknown(command, env)?;
    let mut additions = Vec::new();
    for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
        let Some(name) = arg.get_env() else { continue };
        let Some((name, value)) = env.iter().find(|(known, _)| known == name) else { continue };
        let name = name.to_string_lossy().into_owned();
        let wrong =
            |value: String, reason: String| Error::WrongVariable { name: name.clone(), value, reason };
        let value = value
            .to_str()
            .ok_or_else(|| wrong(value.to_string_lossy().into_owned(), "is not UTF-8".to_owned()))?;
        if value.is_empty() {
            continue;
        }
        let args = switch_or_values(arg, &split(arg, value), as_switch)
            .map_err(|reason| wrong(value.to_owned(), reason))?;
        let origin = Origin::Variable { name: name.clone(), value: value.to_owned() };
        additions.push(Addition { id: arg.get_id().to_string(), shown: arg.to_string(), args, origin });
    }
    Ok(additions)
}

fn refuse_unknown(command: &Command, env: &[(OsString, OsString)]) -> Result<(), Error> {
    let prefix = prefix(command);
    let known: Vec<&str> =
        command.get_arguments().filter_map(|arg| arg.get_env()).filter_map(|name| name.to_str()).collect();
    for name in env.iter().filter_map(|(name, _)| name.to_str()) {
        let Some(rest) = name.strip_prefix(&prefix) else { continue };
        if known.contains(&name) || is_service_link(rest) {
            continue;
        }
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the variables of `{}` are in its --help", command.get_name()),
        };
        return Err(Error::UnknownVariable { name: name.to_owned(), hint });
    }
    Ok(())
}

/// Commas separate the values of a repeatable flag, unless the argument has a delimiter of its own.
fn split(arg: &Arg, value: &str) -> Vec<String> {
    if matches!(arg.get_action(), ArgAction::Append) && arg.get_value_delimiter().is_none() {
        value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    } else {
        vec![value.to_owned()]
    }
}

fn as_switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// True for the variables that Kubernetes and Docker set in every container for a service with the
/// role's name: `SERVICE_HOST`, `SERVICE_PORT`, `SERVICE_PORT_HTTP`, `PORT`, `PORT_8080_TCP`,
/// `PORT_8080_TCP_ADDR`. A role must start beside its own service.
fn is_service_link(rest: &str) -> bool {
    let ported =
        rest.strip_prefix("PORT_").is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()));
    rest == "PORT"
        || rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || ported
}

/// `TERMINATOR_`.
fn prefix(command: &Command) -> String {
    format!("{}_", upper(command.get_name()))
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}
