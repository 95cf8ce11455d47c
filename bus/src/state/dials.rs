//! Which of the dialled endpoints are connected, and since when the others are not.
//!
//! Plain data: `dialer` reports events, [`crate::Bus::unconnected`] reads the result. A host name
//! with several addresses is connected while one of them is. Invariant: what is reported of an
//! endpoint that is no longer dialled changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::io::endpoint::Endpoint;

/// The pause between the first and the second warning about an endpoint that cannot be dialled.
const FIRST_GAP: Duration = Duration::from_secs(5);
/// Each pause is twice the one before, up to this.
const LONGEST_GAP: Duration = Duration::from_secs(320);

/// A dialled endpoint without an open pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconnected {
    /// As configured.
    pub endpoint: Endpoint,
    /// When its last pipe ended, or when the bus started.
    pub since: Instant,
    /// Number of failed attempts since then.
    pub failures: u64,
    /// The error of the last failed attempt; `None` before the first.
    pub error: Option<String>,
}

/// The endpoints that one worker dials, and their states.
#[derive(Debug)]
pub(crate) struct Dials {
    dials: BTreeMap<usize, Dial>,
    /// The number of the next endpoint.
    next: usize,
}

#[derive(Debug)]
struct Dial {
    endpoint: Endpoint,
    /// Number of pipes whose peer sent a valid opening.
    open: usize,
    /// Meaningful while `open` is 0.
    since: Instant,
    failures: u64,
    error: Option<String>,
    /// When the next failure is logged as a warning, and the pause after that.
    warn_at: Instant,
    gap: Duration,
}

/// The level at which a failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// No pipe is open, and there was no warning lately.
    Warning,
    /// There was a warning lately, or another address of the name is connected.
    Debug,
}

impl Dials {
    /// Nothing is dialled yet.
    pub(crate) const fn new() -> Self {
        Self { dials: BTreeMap::new(), next: 0 }
    }

    /// Adds an endpoint. Returns its number.
    pub(crate) fn add(&mut self, endpoint: &Endpoint, now: Instant) -> usize {
        let dial = Dial {
            endpoint: endpoint.clone(),
            open: 0,
            since: now,
            failures: 0,
            error: None,
            warn_at: now,
            gap: FIRST_GAP,
        };
        let at = self.next;
        self.dials.insert(at, dial);
        self.next += 1;
        at
    }

    /// Removes `endpoint` and returns its number; `None` when it is not dialled. If it was added
    /// more than once, the oldest entry is removed.
    pub(crate) fn remove(&mut self, endpoint: &Endpoint) -> Option<usize> {
        let at = self.dials.iter().find(|(_, dial)| dial.endpoint == *endpoint).map(|(at, _)| *at)?;
        self.dials.remove(&at);
        Some(at)
    }

    /// True while the endpoint is to be dialled.
    pub(crate) fn contains(&self, at: usize) -> bool {
        self.dials.contains_key(&at)
    }

    /// Records that a pipe to an endpoint is open.
    pub(crate) fn opened(&mut self, at: usize) {
        if let Some(dial) = self.dials.get_mut(&at) {
            dial.open += 1;
        }
    }

    /// Records that an open pipe has ended.
    pub(crate) fn closed(&mut self, at: usize, now: Instant) {
        let Some(dial) = self.dials.get_mut(&at) else { return };
        dial.open -= 1;
        if dial.open == 0 {
            (dial.since, dial.failures, dial.error) = (now, 0, None);
            (dial.warn_at, dial.gap) = (now, FIRST_GAP);
        }
    }

    /// Records an attempt that failed before a pipe was open.
    pub(crate) fn failed(&mut self, at: usize, now: Instant, error: String) -> Worth {
        let Some(dial) = self.dials.get_mut(&at).filter(|dial| dial.open == 0) else { return Worth::Debug };
        dial.failures += 1;
        dial.error = Some(error);
        if now < dial.warn_at {
            return Worth::Debug;
        }
        dial.warn_at = now + dial.gap;
        dial.gap = (dial.gap * 2).min(LONGEST_GAP);
        Worth::Warning
    }

    /// True when the endpoint has an open pipe.
    pub(crate) fn is_connected(&self, at: usize) -> bool {
        self.dials.get(&at).is_some_and(|dial| dial.open > 0)
    }

    pub(crate) fn unconnected(&self) -> Vec<Unconnected> {
        let missing = self.dials.values().filter(|dial| dial.open == 0);
        let row = |dial: &Dial| Unconnected {
            endpoint: dial.endpoint.clone(),
            since: dial.since,
            failures: dial.failures,
            error: dial.error.clone(),
        };
        missing.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dials(now: Instant) -> Dials {
        let mut dials = Dials::new();
        for endpoint in ["tcp://a:1", "ipc:///b"] {
            dials.add(&endpoint.parse().unwrap(), now);
        }
        dials
    }

    #[test]
    fn what_is_reported_of_a_removed_endpoint_changes_nothing() {
        let start = Instant::now();
        let mut dials = dials(start);
        let endpoint: Endpoint = "tcp://a:1".parse().unwrap();
        dials.opened(0);
        assert_eq!((dials.remove(&endpoint), dials.remove(&endpoint)), (Some(0), None));
        dials.closed(0, start);
        assert_eq!(dials.failed(0, start, "refused".to_owned()), Worth::Debug);
        assert!(!dials.contains(0) && dials.contains(1) && dials.unconnected().len() == 1);
        assert_eq!(dials.add(&endpoint, start), 2, "a number is not used again");
    }

    #[test]
    fn a_dial_that_keeps_failing_is_reported_with_growing_gaps() {
        let start = Instant::now();
        let mut dials = dials(start);
        let said: Vec<u64> = (0..1000)
            .filter(|s| {
                let now = start + Duration::from_secs(*s);
                dials.failed(0, now, "refused".to_owned()) == Worth::Warning
            })
            .collect();
        assert_eq!(said, [0, 5, 15, 35, 75, 155, 315, 635, 955]);
    }

    #[test]
    fn unconnected_endpoints_are_listed_with_error_and_time() {
        let start = Instant::now();
        let (mut dials, later) = (dials(start), start + Duration::from_secs(9));
        let [a, b] = &dials.unconnected()[..] else { panic!("neither is connected yet") };
        assert_eq!((a.since, a.failures, &a.error, b.since), (start, 0, &None, start));
        dials.opened(0);
        dials.failed(1, start, "refused".to_owned());
        dials.failed(1, later, "no such file".to_owned());
        let [b] = &dials.unconnected()[..] else { panic!("the first is connected") };
        assert_eq!((b.endpoint.to_string().as_str(), b.since, b.failures), ("ipc:///b", start, 2));
        assert_eq!(b.error.as_deref(), Some("no such file"));
        dials.closed(0, later);
        assert_eq!(dials.unconnected()[0].since, later);
        assert_eq!(dials.failed(0, later, "refused".to_owned()), Worth::Warning, "a new absence");
    }

    #[test]
    fn a_name_is_connected_while_one_of_its_addresses_is() {
        let start = Instant::now();
        let mut dials = dials(start);
        dials.opened(0);
        dials.opened(0);
        assert_eq!(dials.failed(0, start, "refused".to_owned()), Worth::Debug);
        dials.closed(0, start);
        assert!(dials.is_connected(0) && dials.unconnected().len() == 1);
    }
}
