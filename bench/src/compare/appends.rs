//! `POST /events`: events appended through the terminator, alone and in batches.
//!
//! Owns the requests and the names of their figures. Leaves starting the service to
//! `peers::systems` and sending to `load`. Invariant: every event has an id of its own.

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;

use crate::figures::float;
use crate::load::mix::{Part, Population};
use crate::load::options::Options as Load;
use crate::load::outcome::Outcome;
use crate::load::plan::Plan;
use crate::load::{self};

/// Writers that send one event a request.
pub(super) const WRITERS: [usize; 3] = [10, 50, 250];
/// Writers that send batches.
pub(super) const BATCH_WRITERS: usize = 50;
/// Events of a batch.
pub(super) const BATCH: usize = 100;
/// Bytes of an event's data, so that an event has some 200.
const DATA_BYTES: usize = 120;

/// The body of a request with `count` events.
fn body(count: usize) -> String {
    let data = "x".repeat(DATA_BYTES);
    let event = |at: usize| {
        format!(
            "{{\"id\":\"{{id}}-{at}\",\"type\":\"Posted\",\"tags\":[\"member:{{member}}\"],\"data\":\"{data}\"}}"
        )
    };
    format!("{{\"events\":[{}]}}", (0..count).map(event).collect::<Vec<_>>().join(","))
}

static ONE: LazyLock<String> = LazyLock::new(|| body(1));
static MANY: LazyLock<String> = LazyLock::new(|| body(BATCH));

/// Loads the service at `url` with `writers`; batches when `is_batch` is true.
pub(super) async fn append(url: &str, writers: usize, is_batch: bool, seconds: u32) -> Result<Outcome> {
    let body: &'static str = if is_batch { &MANY } else { &ONE };
    let part = Part { name: "appends", weight: 1, method: "POST", path: "/events", body };
    let population =
        Population { members: 1000, member: "m".to_owned(), conversations: 1, conversation: "c".to_owned() };
    let load = Load {
        connections: writers,
        duration: Some(Duration::from_secs(seconds.into())),
        warmup: Duration::from_secs(1),
        ..Load::of(url.to_owned())
    };
    load::drive(&Arc::new(Plan::made(&load, &[part], population)?), pin!(std::future::pending())).await
}

/// Requests that were accepted, per second.
pub(super) fn per_second(outcome: &Outcome) -> f64 {
    float(outcome.successes()) / outcome.seconds.max(1e-9)
}

/// Requests that were refused or not answered.
pub(super) fn errors(outcome: &Outcome) -> u64 {
    outcome.errors.total() + outcome.responses - outcome.successes()
}

/// Milliseconds.
pub(super) fn p99_ms(outcome: &Outcome) -> f64 {
    float(outcome.latency.p99_us) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_json_of_events_with_ids_of_their_own() {
        let value: serde_json::Value = serde_json::from_str(&MANY.replace("{id}", "7")).unwrap();
        let events = value["events"].as_array().unwrap();
        assert_eq!((events.len(), &events[99]["id"]), (BATCH, &"7-99".into()));
        let len = serde_json::to_string(&events[0]).unwrap().len();
        assert!((180..=220).contains(&len), "{len}");
    }
}
