//! `stack rollout pause`, `resume`, `abort` and `promote`: an order to the terminator that decides.
//!
//! Owns the flags, and the wait until the order is obeyed. Leaves writing it to `change::orders`.
//! Invariant: success says that the rollout is as ordered, unless the operator chose not to wait.

use std::time::Duration;

use change::document::Key;
use change::orders::{self, Given};
use change::rollout::{Command, State};
use serde::Serialize;

use super::error::Error;
use super::origin::{Origin, who};
use super::output::Output;
use super::toggle::Written;

/// An order to a rollout.
#[derive(Clone, Debug, clap::Args)]
pub struct Ordered {
    /// The service.
    #[arg(value_parser = super::rollout::key)]
    pub service: Key,
    /// Longest wait for the terminator that decides; 0s to write the order and not wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
    /// Where the plan is.
    #[command(flatten)]
    pub origin: Origin,
}

/// What became of an order.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    written: Written,
    /// The state after the order; `None` when it was not awaited.
    state: Option<String>,
    /// The candidate's share after the order, in percent.
    percent: Option<f64>,
}

/// Gives the order.
///
/// # Errors
/// It does not fit, cannot be written, or is not obeyed in time.
pub async fn run(ordered: &Ordered, command: Command, output: Output) -> Result<(), Error> {
    let (source, service) = (ordered.origin.open()?, ordered.service.name());
    let given = orders::give(&source, service, command, &who()).await?;
    if ordered.wait.is_zero() {
        show(&given, None, output);
        return Ok(());
    }
    let obeyed = orders::obeyed(&source, service, &given.order);
    match tokio::time::timeout(ordered.wait, obeyed).await {
        Ok(state) => show(&given, Some(&state?), output),
        Err(_) => {
            return Err(Error::Unheard { service: service.to_owned(), command, wait: ordered.wait });
        }
    }
    Ok(())
}

fn show(given: &Given, state: Option<&State>, output: Output) {
    let Given { key, before, revision, order } = given;
    let written =
        Written { key: key.to_string(), before: *before, revision: *revision, who: order.who.clone() };
    let (state, percent) =
        (state.map(|state| state.phase.to_string()), state.map(|state| f64::from(state.percent)));
    output.show(&Outcome { written, state, percent }, |outcome| match (&outcome.state, outcome.percent) {
        (Some(state), Some(percent)) => {
            format!("the rollout of {} is {state}, share {percent} %", key.name())
        }
        _ => format!("the order to {} {} is written, revision {revision}", order.command.name(), key.name()),
    });
}
