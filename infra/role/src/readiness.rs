//! Whether a role takes requests, and the reasons when it does not.
//!
//! Owns: the rules that hold for every role, and the sum over workers. Leaves to a role what else
//! keeps it from serving, and to `admin` how it is answered. Invariant: every reason that holds is
//! listed, once.

use std::time::{Duration, Instant};

use bus::Bus;
use serde::Serialize;

/// Something that keeps a role from being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Stable: `draining`, `settling`, `expected`, `joining`, `store`, `bus`, `worker`.
    pub reason: &'static str,
    /// What is the case.
    pub detail: String,
    /// What to do.
    pub remedy: &'static str,
}

/// An endpoint that is dialled without success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailingDial {
    /// As configured.
    pub endpoint: String,
    /// Seconds since the last connection, or since the start.
    pub seconds: u64,
    /// Tries since then.
    pub failures: u64,
    /// Why the last of them failed.
    pub error: String,
}

/// One worker's part of the answer.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Reasons that the worker has.
    pub unready: Vec<Unready>,
    /// Open connections of its bus.
    pub peers: usize,
    /// Those of them whose peer is a service.
    pub services: usize,
    /// What it dials in vain, on all of its buses.
    pub failing: Vec<FailingDial>,
}

impl Health {
    /// The part that the buses of a worker tell.
    #[must_use]
    pub fn of(bus: &Bus, upstream: Option<&Bus>) -> Self {
        let peers = bus.peers();
        let services = peers.iter().filter(|peer| peer.hello.is_some()).count();
        let now = Instant::now();
        let dials = bus.unconnected().into_iter().chain(upstream.map(Bus::unconnected).unwrap_or_default());
        let failing = dials.filter(|dial| dial.failures > 0).map(|dial| FailingDial {
            endpoint: dial.endpoint.to_string(),
            seconds: now.saturating_duration_since(dial.since).as_secs(),
            failures: dial.failures,
            error: dial.error.unwrap_or_default(),
        });
        Self { unready: Vec::new(), peers: peers.len(), services, failing: failing.collect() }
    }
}

/// All workers together.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Empty when the role is ready.
    pub unready: Vec<Unready>,
    /// Services that are connected, as the worker with most of them sees it.
    pub services: usize,
    /// What is dialled in vain. While other connections are open this keeps nothing from being
    /// served, so it is told and is no reason.
    pub failing: Vec<FailingDial>,
}

impl Readiness {
    /// What the workers' parts add up to. `workers` is the number of threads that were started;
    /// `needs_peer` is true for a role that gets its requests from the bus.
    #[must_use]
    pub fn of(parts: Vec<Health>, workers: usize, draining: bool, needs_peer: bool) -> Self {
        let mut all = Self::default();
        if draining {
            all.add("draining", "draining".to_owned(), "send requests to another instance");
        }
        if parts.len() < workers {
            let detail = format!("{} of {workers} workers run", parts.len());
            all.add("worker", detail, "look into the log for the panic; restart");
        }
        let peers: usize = parts.iter().map(|part| part.peers).sum();
        for part in parts {
            all.services = all.services.max(part.services);
            part.unready.into_iter().for_each(|one| all.push(one));
            for dial in part.failing {
                match all.failing.iter_mut().find(|known| known.endpoint == dial.endpoint) {
                    Some(known) if known.failures < dial.failures => *known = dial,
                    Some(_) => {}
                    None => all.failing.push(dial),
                }
            }
        }
        if peers == 0 && (needs_peer || !all.failing.is_empty()) {
            let failing: Vec<String> = all.failing.iter().map(ToString::to_string).collect();
            let detail = match failing.is_empty() {
                true => "no peer is connected to the bus".to_owned(),
                false => format!("no peer is connected to the bus: {}", failing.join(", ")),
            };
            all.add("bus", detail, "start a peer, or correct --bus-dial or --bus-listen");
        }
        all
    }

    /// The answer when a worker did not give its part within `time`.
    #[must_use]
    pub fn unanswered(time: Duration, draining: bool) -> Self {
        let mut all = Self::of(Vec::new(), 0, draining, false);
        let detail = format!("a worker did not answer within {}", humantime::format_duration(time));
        all.add("worker", detail, "look at its CPU; restart if it stays");
        all
    }

    fn add(&mut self, reason: &'static str, detail: String, remedy: &'static str) {
        self.push(Unready { reason, detail, remedy });
    }

    fn push(&mut self, unready: Unready) {
        if !self.unready.contains(&unready) {
            self.unready.push(unready);
        }
    }
}

impl std::fmt::Display for FailingDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, seconds, failures, error } = self;
        write!(f, "{endpoint} failed {failures} times in {seconds} s ({error})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(readiness: &Readiness) -> Vec<&'static str> {
        readiness.unready.iter().map(|unready| unready.reason).collect()
    }

    fn failing() -> FailingDial {
        let endpoint = "tcp://a:1".to_owned();
        FailingDial { endpoint, seconds: 4, failures: 3, error: "refused".to_owned() }
    }

    #[test]
    fn every_reason_is_listed_once() {
        let missing = || Unready { reason: "expected", detail: "web".to_owned(), remedy: "start it" };
        let part = || Health { unready: vec![missing()], peers: 1, ..Health::default() };
        let all = Readiness::of(vec![part(), part()], 3, true, false);
        assert_eq!(reasons(&all), ["draining", "worker", "expected"]);
    }

    #[test]
    fn a_failing_dial_is_a_reason_only_while_nothing_else_is_connected() {
        let part = |peers| Health { peers, failing: vec![failing()], ..Health::default() };
        let alone = Readiness::of(vec![part(0)], 1, false, false);
        assert_eq!(reasons(&alone), ["bus"]);
        assert!(alone.unready[0].detail.contains("tcp://a:1 failed 3 times"), "{alone:?}");
        let beside = Readiness::of(vec![part(1)], 1, false, true);
        assert!(beside.unready.is_empty() && beside.failing == [failing()]);
    }

    #[test]
    fn a_role_that_gets_requests_from_the_bus_needs_a_peer() {
        assert_eq!(reasons(&Readiness::of(vec![Health::default()], 1, false, true)), ["bus"]);
        assert!(Readiness::of(vec![Health::default()], 1, false, false).unready.is_empty());
    }
}
