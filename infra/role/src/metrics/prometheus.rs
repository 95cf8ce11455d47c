//! The answer of `/metrics`: Prometheus's text format, by the crate `prometheus`.
//!
//! Owns: names and buckets of that format. A counter ends with `_total`, times are in seconds
//! (`store.commit_ms` is `stack_store_commit_seconds_total`), and every series has the label
//! `service`; scraping adds host and instance. Invariant: `promtool check metrics` finds nothing.

use std::time::Duration;

use prometheus::proto::{self, Bucket, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::sample::{Sample, Value};
use super::{Kind, Latency, Metric, TARGET};
use crate::identity::Identity;

/// Upper bounds of the buckets, in milliseconds; around [`TARGET`] and the default deadline of 1 s.
const BOUNDS_MS: [f64; 13] =
    [1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0];

/// `requests` is `stack_requests_total`, `latency` is `stack_latency_seconds`.
#[must_use]
pub fn prometheus_name(metric: &Metric) -> String {
    let name = metric.name.replace('.', "_");
    match metric.kind {
        Kind::Counter => match name.strip_suffix("_ms") {
            Some(name) => format!("stack_{name}_seconds_total"),
            None => format!("stack_{name}_total"),
        },
        Kind::Gauge => format!("stack_{name}"),
        Kind::Histogram => format!("stack_{name}_seconds"),
    }
}

/// The text. A labelled metric without values, such as `route_latency` before a route is known, is
/// left out: the format has no way to say it.
#[must_use]
pub fn to_prometheus(identity: &Identity, samples: &[Sample]) -> Vec<u8> {
    let families: Vec<MetricFamily> = samples
        .iter()
        .map(|sample| family(&identity.service, sample))
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut text)
        .expect("writing to memory cannot fail, and no family is without a name or values");
    text
}

fn family(service: &str, sample: &Sample) -> MetricFamily {
    let metric = &sample.metric;
    let label = |value: Option<&str>| {
        let own = value.map(|value| pair(metric.label.unwrap_or("value"), value));
        std::iter::once(pair("service", service)).chain(own).collect::<Vec<_>>()
    };
    let number = |value: Option<&str>, count: u64| number(metric, label(value), count);
    let values = match &sample.value {
        Value::Number(count) => vec![number(None, *count)],
        Value::Numbers(counts) => counts.iter().map(|(value, count)| number(Some(value), *count)).collect(),
        Value::Latency(latency) => vec![histogram(label(None), latency)],
        Value::Latencies(latencies) => {
            latencies.iter().map(|(value, latency)| histogram(label(Some(value)), latency)).collect()
        }
    };
    let mut family = MetricFamily::default();
    family.set_name(prometheus_name(metric));
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(values);
    family
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[expect(clippy::cast_precision_loss, reason = "the format has floats only")]
fn number(of: &Metric, labels: Vec<LabelPair>, count: u64) -> proto::Metric {
    let mut metric = proto::Metric::from_label(labels);
    if of.kind == Kind::Counter {
        let mut counter = proto::Counter::default();
        let in_seconds = of.name.ends_with("_ms");
        counter.set_value(count as f64 / if in_seconds { 1e3 } else { 1.0 });
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(count as f64);
        metric.set_gauge(gauge);
    }
    metric
}

fn histogram(labels: Vec<LabelPair>, latency: &Latency) -> proto::Metric {
    let bounds = BOUNDS_MS.map(|ms| Duration::from_secs_f64(ms / 1e3));
    let (counts, sum) = latency.cumulative(&bounds);
    let bucket = |(bound, count): (&Duration, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        // This one is counted exactly.
        bucket.set_cumulative_count(if *bound == TARGET { latency.under_target() } else { count });
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(bounds.iter().zip(counts).map(bucket).collect());
    histogram.set_sample_count(latency.count());
    histogram.set_sample_sum(sum.as_secs_f64());
    let mut metric = proto::Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests {
    use super::super::{Group, Picture, RoutePicture, samples};
    use super::*;

    #[test]
    fn text_has_help_type_labels_and_buckets() {
        let mut latency = Latency::new();
        [2, 24, 26, 700].into_iter().for_each(|ms| latency.record(Duration::from_millis(ms)));
        let route = RoutePicture { pattern: "GET /a".to_owned(), requests: 4, errors: 0, latency };
        let picture = Picture { counters: vec![("requests", 4)], routes: vec![route], ..Picture::default() };
        let identity = Identity::new("s", "1", None);
        let text = to_prometheus(&identity, &samples(&[Group::All], &[picture], &[]));
        let text = String::from_utf8(text).expect("is text");
        for line in [
            "# HELP stack_requests_total Requests whose head was read whole.",
            "# TYPE stack_requests_total counter",
            "stack_requests_total{service=\"s\"} 4",
            "stack_responses_total{service=\"s\",class=\"5xx\"} 0",
            "stack_route_latency_seconds_bucket{service=\"s\",route=\"GET /a\",le=\"0.025\"} 2",
            "stack_route_latency_seconds_bucket{service=\"s\",route=\"GET /a\",le=\"1\"} 4",
            "stack_latency_seconds_count{service=\"s\"} 4",
            "stack_bus_requests_sent_total{service=\"s\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
        assert!(!text.contains("stack_statuses_total"), "no status occurred");
    }
}
