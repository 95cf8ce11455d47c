//! `stack rollout watch`: a line for each change of a rollout, until it ends.
//!
//! Owns when the terminator is asked, and which changes are new. Leaves the changes to the history
//! that the terminator's `/rollouts` answers. Invariant: every change is printed once, in order; a
//! terminator that is away for a while is waited for.

use std::time::Duration;

use serde_json::{Value, json};

use super::error::Error;
use super::output::{Format, Output, time};
use super::status::{self, percent, text};

/// How often the terminator is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Prints the changes of the service's rollout. True when the candidate has taken over, false when
/// it was taken back.
///
/// # Errors
/// The terminator does not answer the first question, or has no rollout of the service.
pub async fn run(admin: &str, service: &str, output: Output) -> Result<bool, Error> {
    let mut last_ms = 0;
    let mut rollout = status::rollout(admin, service).await?;
    loop {
        let history = rollout["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in history {
            // Two changes can have the same time, and then they are in the same answer.
            if at_ms(entry) > last_ms {
                show(service, &rollout, entry, output);
            }
        }
        last_ms = history.last().map_or(last_ms, |entry| at_ms(entry).max(last_ms));
        match rollout["state"].as_str() {
            Some("completed") => return Ok(true),
            Some("rolled_back" | "aborted") => return Ok(false),
            _ => {}
        }
        rollout = next(admin, service).await?;
    }
}

/// The rollout as it is a moment later, when the terminator answers again.
async fn next(admin: &str, service: &str) -> Result<Value, Error> {
    let mut is_lost = false;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        match status::rollout(admin, service).await {
            Err(Error::Admin { admin, reason }) => {
                if !is_lost {
                    note(&format!("--admin {admin}: {reason}; waits for it"));
                }
                is_lost = true;
            }
            rollout => return rollout,
        }
    }
}

#[expect(clippy::print_stderr, reason = "stdout has the changes only")]
fn note(what: &str) {
    eprintln!("{what}");
}

fn show(service: &str, rollout: &Value, entry: &Value, output: Output) {
    match output.format {
        Format::Text => {
            let at = entry["at_ms"].as_u64().map_or_else(|| "-".to_owned(), time);
            let [state, verdict, reason] = ["state", "verdict", "reason"].map(|field| text(&entry[field]));
            let share = percent(&entry["percent"]);
            output.line(&format!("{at}  {service}  {state:<11}  {share:>6}  {verdict}: {reason}"));
        }
        Format::Json => {
            let mut line =
                json!({ "service": service, "stable": rollout["stable"], "candidate": rollout["candidate"] });
            for (name, value) in entry.as_object().into_iter().flatten() {
                line[name] = value.clone();
            }
            output.line(&line.to_string());
        }
    }
}

fn at_ms(entry: &Value) -> u64 {
    entry["at_ms"].as_u64().unwrap_or(0)
}
