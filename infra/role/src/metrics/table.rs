//! The table of every metric. `docs/metrics.md` shows it; a test compares the two.
//!
//! Owns: names, kinds, labels, and which roles have a metric. Invariant: a name is unique, has
//! lower-case words joined by `_`, and dots only between the levels of a statsd name.

use std::sync::LazyLock;

use Group::{All, Service, Store, Terminator};
use bus::proto::Counters;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// A value now.
    Gauge,
    /// A distribution of times: number, quantiles and the largest, or buckets in `/metrics`.
    Histogram,
}

/// Which roles have a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Every role.
    All,
    /// The terminator.
    Terminator,
    /// Every service.
    Service,
    /// Services that keep data, as crate `store` counts for them.
    Store,
    /// Services with a bus of their own for the services that they ask, such as web.
    Upstream,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in `/stats`; the other views derive theirs from it.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What distinguishes its values, such as `route`; `None` for a single value.
    pub label: Option<&'static str>,
    /// What it counts or measures: `requests`, `bytes`, `seconds`.
    pub unit: &'static str,
    /// One sentence, for the documentation and for `# HELP`.
    pub help: &'static str,
    /// Who has it.
    pub group: Group,
}

/// Every metric but those of [`Group::Upstream`], which are the bus's again: `bus.served` of that
/// bus is `upstream.served`.
pub const METRICS: [Metric; OWN.len() + Counters::DESCRIBED.len()] = {
    let mut all = [OWN[0]; OWN.len() + Counters::DESCRIBED.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < OWN.len() { OWN[at] } else { of_bus(Counters::DESCRIBED[at - OWN.len()]) };
        at += 1;
    }
    all
};

/// The metrics of a role that belongs to `groups`, in the order in which every view has them.
#[must_use]
pub fn table(groups: &[Group]) -> Vec<Metric> {
    let all = METRICS.iter().chain(UPSTREAM.iter());
    all.filter(|metric| groups.contains(&metric.group)).copied().collect()
}

/// The name that a counter of the bus has when it is the upstream bus's.
pub(super) fn upstream_name(name: &'static str) -> &'static str {
    let place = Counters::DESCRIBED.iter().position(|(known, _)| *known == name);
    place.map_or(name, |at| UPSTREAM[at].name)
}

/// Leaked once a process: names are compared and kept as `&'static str` everywhere.
static UPSTREAM: LazyLock<Vec<Metric>> = LazyLock::new(|| {
    let metric = |(name, help): &(&'static str, &'static str)| Metric {
        name: format!("upstream.{}", name.trim_start_matches("bus.")).leak(),
        group: Group::Upstream,
        ..of_bus((name, help))
    };
    Counters::DESCRIBED.iter().map(metric).collect()
});

const fn of_bus((name, help): (&'static str, &'static str)) -> Metric {
    Metric { name, kind: Kind::Counter, label: None, unit: "events", help, group: Group::All }
}

const fn counter(group: Group, name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, label: None, unit, help, group }
}

const fn gauge(group: Group, name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, label: None, unit, help, group }
}

const fn by(label: &'static str, metric: Metric) -> Metric {
    Metric { label: Some(label), ..metric }
}

const fn times(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, label: None, unit: "seconds", help, group: Group::All }
}

const OWN: &[Metric] = &[
    gauge(All, "uptime_seconds", "seconds", "Time since the start of the process."),
    counter(All, "requests", "requests", "Requests whose head was read whole."),
    by("class", counter(All, "responses", "responses", "Responses by class of status: 2xx to 5xx.")),
    by("status", counter(All, "statuses", "responses", "Responses by status; only those that occurred.")),
    by("reason", counter(All, "rejected", "requests", "Requests and connections turned away, by reason.")),
    counter(All, "cancelled", "requests", "Requests whose client left before the response."),
    times("latency", "Time from the head of a request to its response, all routes together."),
    by("route", times("route_latency", "Time from the head of a request to its response, by route.")),
    by(
        "route",
        counter(All, "route_errors", "responses", "Responses with a status of 500 and above, by route."),
    ),
    gauge(All, "in_flight", "requests", "Requests being worked on now."),
    gauge(All, "outstanding", "requests", "Requests sent on the bus and not answered yet."),
    gauge(All, "peers", "connections", "Connections of the bus that are open now."),
    counter(All, "statsd_packets_dropped", "packets", "Packets to statsd that the system did not take."),
    gauge(Terminator, "connections_open", "connections", "Connections of clients that are open now."),
    counter(Terminator, "connections_accepted", "connections", "Connections accepted."),
    counter(Terminator, "connections_refused", "connections", "Connections above --connection-limit."),
    counter(Terminator, "connections_timed_out", "connections", "Connections closed by a time-out."),
    counter(Terminator, "accepts_failed", "connections", "Accepts that failed."),
    counter(Terminator, "received_bytes", "bytes", "Bytes read from clients."),
    counter(Terminator, "sent_bytes", "bytes", "Bytes written to clients."),
    counter(Terminator, "reply_fields_dropped", "fields", "Fields of replies that may not go to a client."),
    counter(
        Terminator,
        "replies_broken_off",
        "replies",
        "Replies in parts that ended early, and so the response.",
    ),
    counter(
        Terminator,
        "access_log_dropped",
        "lines",
        "Lines of the access log that its writer had no room for.",
    ),
    counter(Terminator, "ghost.copies", "requests", "Requests that were copied for a candidate."),
    counter(Terminator, "ghost.compared", "requests", "Of them those whose replies were compared."),
    counter(Terminator, "ghost.lost", "requests", "Of them those that lack a reply in time."),
    counter(
        Terminator,
        "ghost.skipped",
        "requests",
        "Requests chosen to be copied and not copied: a bound was near, or the answer came in parts.",
    ),
    gauge(
        Terminator,
        "ghost.differences",
        "differences",
        "Routes and paths in which candidates differ from stable, and not by noise.",
    ),
    gauge(Service, "queued", "requests", "Requests that wait because --limit is reached."),
    counter(Service, "panics", "requests", "Requests whose handler panicked."),
    counter(
        Store,
        "store.transactions",
        "transactions",
        "Transactions begun, and those that point reads shared.",
    ),
    counter(
        Store,
        "store.read_versions",
        "versions",
        "Read versions: one for each attempt that read something.",
    ),
    counter(
        Store,
        "store.read_versions_timed",
        "versions",
        "Read versions whose time is in store.read_version_ms.",
    ),
    counter(Store, "store.read_version_ms", "milliseconds", "Time of the read versions that were timed."),
    counter(Store, "store.reads", "keys", "Single keys read."),
    counter(Store, "store.ranges", "batches", "Batches of ranges read."),
    counter(Store, "store.read_bytes", "bytes", "Bytes of keys and values read."),
    counter(Store, "store.commits", "commits", "Commits that wrote something and succeeded."),
    counter(Store, "store.commit_ms", "milliseconds", "Time of the commits that succeeded."),
    counter(Store, "store.conflicts", "attempts", "Attempts that another transaction's commit ended."),
    counter(Store, "store.retries", "attempts", "Attempts after the first."),
    counter(Store, "store.unwritable", "commits", "Commits refused because the store takes no writes."),
    counter(
        Store,
        "store.write_failures",
        "groups",
        "Groups of commits that failed while they were written.",
    ),
    counter(Store, "store.torn_bytes", "bytes", "Bytes of journals that could not be replayed."),
    gauge(
        Store,
        "store.last_read_version_seconds",
        "seconds",
        "When the store last answered with a read version, in seconds since 1970; asked every second.",
    ),
    gauge(
        Store,
        "store.last_commit_seconds",
        "seconds",
        "When a commit last succeeded, in seconds since 1970; 0 for none since the start.",
    ),
    by("task", counter(Store, "schedule.runs", "runs", "Runs of scheduled tasks begun by this instance.")),
    by(
        "task",
        counter(Store, "schedule.failures", "runs", "Of them those with an error, a panic or a lost lease."),
    ),
    by(
        "task",
        counter(Store, "schedule.missed", "times", "Times of scheduled tasks that passed without a run."),
    ),
    gauge(Store, "schedule.running", "runs", "Runs of scheduled tasks that last now."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let all = table(&[All, Terminator, Service, Store, Group::Upstream]);
        assert_eq!(all.len(), METRICS.len() + Counters::DESCRIBED.len());
        for metric in &all {
            assert_eq!(all.iter().filter(|other| other.name == metric.name).count(), 1, "{}", metric.name);
            let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
            assert!(metric.name.chars().all(plain), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn counters_of_the_upstream_bus_have_names_of_their_own() {
        assert_eq!(upstream_name("bus.replies.sent"), "upstream.replies.sent");
    }
}
