//! The answer of `/stats`.
//!
//! Owns: the shape in JSON. Times are integers in microseconds. Invariant: beside [`RESERVED`] the
//! keys are the names of the metrics.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::sample::{Sample, Value};
use super::{Kind, Latency};
use crate::identity::Identity;

/// The keys of `/stats` besides the metrics: the identity of the process, and one object for each
/// worker.
pub const RESERVED: [&str; 5] = ["service", "version", "instance", "host", "workers"];

/// An object: [`RESERVED`], then every metric. A labelled metric is an object by label value, a
/// histogram `{"count", "under_25ms", "p50_us", "p99_us", "max_us"}`. `workers` has the counters
/// and gauges of each worker.
#[must_use]
pub fn to_json(identity: &Identity, samples: &[Sample], workers: &[(usize, Vec<Sample>)]) -> Json {
    let mut all = Map::new();
    let who = [&identity.service, &identity.version, &identity.instance, &identity.host];
    all.extend(RESERVED.into_iter().zip(who).map(|(key, value)| (key.to_owned(), json!(value))));
    all.extend(samples.iter().map(entry));
    let worker = |(number, samples): &(usize, Vec<Sample>)| {
        let numbers = samples.iter().filter(|sample| sample.metric.kind != Kind::Histogram);
        let mut of = Map::from_iter([("worker".to_owned(), json!(number))]);
        of.extend(numbers.map(entry));
        Json::Object(of)
    };
    all.insert("workers".to_owned(), workers.iter().map(worker).collect());
    Json::Object(all)
}

fn entry(sample: &Sample) -> (String, Json) {
    let value = match &sample.value {
        Value::Number(number) => json!(number),
        Value::Numbers(numbers) => {
            numbers.iter().map(|(label, number)| (label.clone(), json!(number))).collect()
        }
        Value::Latency(latency) => times(latency),
        Value::Latencies(latencies) => {
            latencies.iter().map(|(label, latency)| (label.clone(), times(latency))).collect()
        }
    };
    (sample.metric.name.to_owned(), value)
}

fn times(latency: &Latency) -> Json {
    json!({
        "count": latency.count(),
        "under_25ms": latency.under_target(),
        "p50_us": microseconds(latency.quantile(0.5)),
        "p99_us": microseconds(latency.quantile(0.99)),
        "max_us": microseconds(latency.max()),
    })
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Group, METRICS, Picture, by_worker, samples};
    use super::*;

    #[test]
    fn no_metric_has_a_reserved_name() {
        assert!(!METRICS.iter().any(|metric| RESERVED.contains(&metric.name)));
    }

    #[test]
    fn stats_are_the_sum_and_each_share() {
        let picture = |worker| Picture { worker, counters: vec![("requests", 2)], ..Picture::default() };
        let (groups, pictures) = ([Group::All], [picture(0), picture(1)]);
        let identity = Identity::new("s", "1", Some("a".to_owned()));
        let stats = to_json(&identity, &samples(&groups, &pictures, &[]), &by_worker(&groups, &pictures));
        assert_eq!((&stats["service"], &stats["instance"]), (&json!("s"), &json!("a")));
        assert_eq!((&stats["requests"], &stats["responses"]["2xx"]), (&json!(4), &json!(0)));
        assert_eq!(
            (&stats["workers"][1]["worker"], &stats["workers"][1]["requests"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(stats["latency"]["count"], 0);
    }
}
