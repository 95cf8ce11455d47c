//! `stack rollout ls` and `stack rollout status`: what a terminator says of its rollouts.
//!
//! Owns the text. Leaves the content to the terminator's `/rollouts`, which `-o json` passes on as
//! it is. Invariant: a field that a terminator does not send is shown as `-`.

use serde_json::Value;

use super::admin;
use super::error::Error;
use super::output::{Output, table, time};

/// Changes that the text shows; JSON has all.
const HISTORY_SHOWN: usize = 10;

/// Prints all rollouts.
///
/// # Errors
/// The terminator does not answer.
pub async fn list(admin: &str, output: Output) -> Result<(), Error> {
    output.show(&rollouts(admin).await?[..], listed);
    Ok(())
}

/// Prints the rollout of one service.
///
/// # Errors
/// The terminator does not answer, or has no rollout of the service.
pub async fn one(admin: &str, service: &str, output: Output) -> Result<(), Error> {
    output.show(&rollout(admin, service).await?, status);
    Ok(())
}

/// The rollout of one service.
///
/// # Errors
/// As for [`one`].
pub(super) async fn rollout(admin: &str, service: &str) -> Result<Value, Error> {
    let rollouts = rollouts(admin).await?;
    if let Some(rollout) = rollouts.iter().find(|rollout| rollout["service"] == service) {
        return Ok(rollout.clone());
    }
    let known: Vec<_> = rollouts.iter().map(|rollout| text(&rollout["service"])).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Error::NoRollout { service: service.to_owned(), admin: admin.to_owned(), known })
}

async fn rollouts(admin: &str) -> Result<Vec<Value>, Error> {
    match admin::get(admin, "/rollouts").await? {
        Value::Array(rollouts) => Ok(rollouts),
        _ => Err(Error::Admin { admin: admin.to_owned(), reason: "/rollouts is no list".to_owned() }),
    }
}

fn listed(rollouts: &[Value]) -> String {
    if rollouts.is_empty() {
        return "no rollouts; `stack rollout start SERVICE` begins one".to_owned();
    }
    let heading = ["SERVICE", "STABLE", "CANDIDATE", "STATE", "SHARE", "VERDICT", "REASON"];
    let fields = ["service", "stable", "candidate", "state", "percent", "verdict", "reason"];
    let cell = |rollout: &Value, field: &str| match field {
        "percent" => percent(&rollout[field]),
        _ => text(&rollout[field]),
    };
    let rows = rollouts.iter().map(|rollout| fields.iter().map(|field| cell(rollout, field)).collect());
    table(&std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())
}

fn status(rollout: &Value) -> String {
    let of = |field: &str| text(&rollout[field]);
    let stage = rollout["stage"].as_u64().map_or_else(|| "-".to_owned(), |stage| (stage + 1).to_string());
    let since = rollout["since_ms"].as_u64().map_or_else(|| "-".to_owned(), time);
    let mut lines = vec![
        format!("{}: candidate {} beside stable {}", of("service"), of("candidate"), of("stable")),
        format!(
            "  state      {}, stage {stage}, share {}, since {since}",
            of("state"),
            percent(&rollout["percent"])
        ),
        format!("  verdict    {}: {}", of("verdict"), of("reason")),
        format!("  candidate  {}", counts(&rollout["candidate_counts"])),
        format!("  control    {}", counts(&rollout["control_counts"])),
    ];
    let history = rollout["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = history.iter().rev().take(HISTORY_SHOWN).map(|entry| {
        let at = entry["at_ms"].as_u64().map_or_else(|| "-".to_owned(), time);
        let (state, verdict) = (text(&entry["state"]), text(&entry["verdict"]));
        vec![format!("  {at}"), state, percent(&entry["percent"]), verdict, text(&entry["reason"])]
    });
    lines.push("  history, the newest first".to_owned());
    lines.join("\n") + "\n" + &table(&shown.collect::<Vec<_>>())
}

/// `120 requests, 2 errors (0.1 to 4.2 %), p99 12.3 ms (10.1 to 14.0)`.
fn counts(counts: &Value) -> String {
    let number =
        |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"));
    let range = |value: &Value| format!("{} to {}", number(&value[0]), number(&value[1]));
    let (requests, errors) = (text(&counts["requests"]), text(&counts["errors"]));
    let (rate, p99) = (range(&counts["errors_percent"]), range(&counts["p99_interval_ms"]));
    format!("{requests} requests, {errors} errors ({rate} %), p99 {} ms ({p99})", number(&counts["p99_ms"]))
}

pub(super) fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |percent| format!("{percent} %"))
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
