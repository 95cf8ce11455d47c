//! The bounds of a comparison.
//!
//! Owns their values, and the figures of a run that they apply to.

use super::medians::Median;
use super::rows::Rows;
use crate::report::verdict::{Bound, Verdict};

/// Every bound of the run's store.
pub(super) fn all(rows: &Rows) -> Vec<Verdict> {
    if rows.store.is_cluster() { on_cluster(rows) } else { embedded(rows) }
}

/// On a FoundationDB cluster, beside its own client in the same run.
fn on_cluster(rows: &Rows) -> Vec<Verdict> {
    use Bound::{AtLeast, AtMost};
    let median = |system: &str| Median::of(rows, system, 256);
    let extra = |name: &str| rows.extras.get(name).copied();
    let ratio = |of: Option<f64>, to: Option<f64>| of.zip(to).map(|(of, to)| of / to.max(1e-9));
    let rate = |system: &str| median(system).map(|median| median.requests_per_second);
    let p99 = |system: &str| median(system).map(|median| median.p99_ms);
    let reads = extra("client_reads_per_s");
    let commits = extra("client_commits_per_s");
    let check = Verdict::new;
    vec![
        check("profile / the client's point reads, per s @256", AtLeast(0.75), ratio(rate("stack-1"), reads)),
        check("member / profile, requests/s @256", AtLeast(0.45), ratio(rate("stack-2"), rate("stack-1"))),
        check(
            "feed page / profile, requests/s @256",
            AtLeast(0.45),
            ratio(rate("stack-feed"), rate("stack-1")),
        ),
        check("profile: p99 ms @256", AtMost(25.0), p99("stack-1")),
        check("member: p99 ms @256", AtMost(25.0), p99("stack-2")),
        check("feed page: p99 ms @256", AtMost(25.0), p99("stack-feed")),
        check(
            "events of 250 writers / the client's commits @256, per s",
            AtLeast(0.8),
            ratio(extra("events_250_per_s"), commits),
        ),
        check("events of 250 writers: p99 ms", AtMost(25.0), extra("events_250_p99_ms")),
        check("events of 10 writers: p99 ms", AtMost(6.0), extra("events_10_p99_ms")),
        check("events: errors", AtMost(0.0), extra("events_errors")),
        check("events in batches of 100, per s", AtLeast(100_000.0), extra("events_batches_per_s")),
    ]
}

/// With embedded stores, beside other systems.
fn embedded(rows: &Rows) -> Vec<Verdict> {
    use Bound::{AtLeast, AtMost};
    let ratio = |of: &str, to: &str, connections: u32, figure: fn(&Median) -> f64| {
        let of = Median::of(rows, of, connections)?;
        let to = Median::of(rows, to, connections)?;
        let to = figure(&to);
        (to > 0.0).then(|| figure(&of) / to)
    };
    let rate = |of: &str, to: &str, connections| ratio(of, to, connections, |of| of.requests_per_second);
    let cpu = |of: &str, to: &str| ratio(of, to, 256, |of| of.cpu_total_us);
    let extra = |name: &str| rows.extras.get(name).copied();
    let check = Verdict::new;
    vec![
        check("one hop / bare hyper, requests/s @256", AtLeast(0.80), rate("stack-1", "bare", 256)),
        check("two hops / bare hyper, requests/s @256", AtLeast(0.75), rate("stack-2", "bare", 256)),
        check("two hops / haproxy's one hop, requests/s @256", AtLeast(1.6), rate("stack-2", "haproxy", 256)),
        // The peers' hops ask one service each.
        check(
            "two hops, profile alone / NATS two hops, requests/s @256",
            AtLeast(2.0),
            rate("stack-2-profile", "nats-2", 256),
        ),
        check(
            "two hops, profile alone / nng BUS two hops, requests/s @256",
            AtLeast(6.0),
            rate("stack-2-profile", "nng-2", 256),
        ),
        check("one hop / bare hyper, CPU per request @256", AtMost(1.4), cpu("stack-1", "bare")),
        check("two hops / bare hyper, CPU per request @256", AtMost(1.7), cpu("stack-2", "bare")),
        check("two hops / bare hyper, requests/s @16", AtLeast(0.42), rate("stack-2", "bare", 16)),
        check("two hops / bare hyper, requests/s @2048", AtLeast(0.70), rate("stack-2", "bare", 2048)),
        check("two hops / bare hyper, p99 @256", AtMost(1.7), ratio("stack-2", "bare", 256, |of| of.p99_ms)),
        check("two hops, open loop: p99 ms", AtMost(5.0), extra("open_p99_ms")),
        check("two hops, open loop: p99.9 ms", AtMost(25.0), extra("open_p999_ms")),
        check("two hops, open loop: errors", AtMost(0.0), extra("open_errors")),
        check("CPU per request, 4096 / 256 connections", AtMost(1.25), extra("growth_connections")),
        check("CPU per request, 16 / 1 instances", AtMost(1.15), extra("growth_instances")),
        check("CPU per request, 200 / 1 routes", AtMost(1.05), extra("growth_routes")),
        check("1 MiB bodies up / bare hyper, bytes/s", AtLeast(0.8), extra("bodies_up")),
        check("1 MiB bodies down / bare hyper, bytes/s", AtLeast(0.8), extra("bodies_down")),
        check("the same / bare hyper unpaced, too", AtLeast(0.8), extra("bodies_down_of_unpaced")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::peers::stores::StoreKind;

    #[test]
    fn a_promise_is_kept_broken_or_not_measured() {
        let mut rows = Rows::new(Machine::default(), &StoreKind::Embedded, 1, 1);
        rows.extras.insert("open_p99_ms".into(), 4.0);
        rows.extras.insert("bodies_up".into(), 0.5);
        let words = |what: &str| {
            let all = all(&rows);
            all.iter().find(|verdict| verdict.what.contains(what)).map(Verdict::word)
        };
        assert_eq!(words("open loop: p99 ms"), Some("pass"));
        assert_eq!(words("bodies up"), Some("FAIL"));
        assert_eq!(words("haproxy"), Some("not measured"));
    }

    #[test]
    fn a_cluster_has_bounds_of_its_own() {
        let store = "fdb:f".parse().unwrap();
        let mut rows = Rows::new(Machine::default(), &store, 1, 1);
        for (name, value) in
            [("events_250_per_s", 9.0), ("client_commits_per_s", 10.0), ("events_10_p99_ms", 7.0)]
        {
            rows.extras.insert(name.into(), value);
        }
        let all = all(&rows);
        let words: Vec<_> = all.iter().map(Verdict::word).filter(|word| *word != "not measured").collect();
        assert_eq!(words, ["pass", "FAIL"], "{all:?}");
    }
}
