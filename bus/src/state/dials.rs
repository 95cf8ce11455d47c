//! Which of the dialled endpoints are connected, and since when the others are not.
//!
//! Plain data: `dialer` reports events, [`crate::Bus::unconnected`] reads the result. An endpoint
//! is one entry of the configuration; a host name with several addresses is connected while one of
//! them is.

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
    dials: Vec<Dial>,
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
    pub(crate) fn new(endpoints: &[Endpoint], now: Instant) -> Self {
        let dial = |endpoint: &Endpoint| Dial {
            endpoint: endpoint.clone(),
            open: 0,
            since: now,
            failures: 0,
            error: None,
            warn_at: now,
            gap: FIRST_GAP,
        };
        Self { dials: endpoints.iter().map(dial).collect() }
    }

    /// Records that a pipe to the endpoint at index `at` is open.
    pub(crate) fn opened(&mut self, at: usize) {
        self.dials[at].open += 1;
    }

    /// Records that an open pipe has ended.
    pub(crate) fn closed(&mut self, at: usize, now: Instant) {
        let dial = &mut self.dials[at];
        dial.open -= 1;
        if dial.open == 0 {
            (dial.since, dial.failures, dial.error) = (now, 0, None);
            (dial.warn_at, dial.gap) = (now, FIRST_GAP);
        }
    }

    /// Records an attempt that failed before a pipe was open.
    pub(crate) fn failed(&mut self, at: usize, now: Instant, error: String) -> Worth {
        let dial = &mut self.dials[at];
        if dial.open > 0 {
            return Worth::Debug;
        }
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
        self.dials[at].open > 0
    }

    pub(crate) fn unconnected(&self) -> Vec<Unconnected> {
        let missing = self.dials.iter().filter(|dial| dial.open == 0);
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
        Dials::new(&["tcp://a:1".parse().unwrap(), "ipc:///b".parse().unwrap()], now)
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
