//! Requests per second of each route, over the last minute.
//!
//! Owns: the numbers of some earlier looks, and the quotient. Invariant: at most [`LOOKS`] looks
//! are kept, none older than a minute.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::metrics::Picture;

/// Between two looks at the workers.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// A minute of them.
const LOOKS: usize = 6;

/// The timer of the looks.
pub(super) fn looks() -> Interval {
    let mut looks = interval_at(tokio::time::Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Requests by route.
type Counts = HashMap<String, u64>;

/// The looks of the last minute.
#[derive(Debug)]
pub(super) struct Rates {
    looks: VecDeque<(Instant, Counts)>,
}

impl Rates {
    /// A role that starts `now` has had no requests.
    pub(super) fn new(now: Instant) -> Self {
        Self { looks: VecDeque::from([(now, Counts::new())]) }
    }

    pub(super) fn look(&mut self, now: Instant, pictures: &[Picture]) {
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((now, counts(pictures)));
    }

    /// Requests per second since the earliest look; 0 for a route that it had not.
    pub(super) fn per_second(&self, now: Instant, pattern: &str, requests: u64) -> f64 {
        let Some((since, counts)) = self.looks.front() else { return 0.0 };
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        let before = counts.get(pattern).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "requests of a minute are far below 2^52")]
        let new = requests.saturating_sub(before) as f64;
        if seconds > 0.0 { (new / seconds * 100.0).round() / 100.0 } else { 0.0 }
    }
}

fn counts(pictures: &[Picture]) -> Counts {
    let mut counts = Counts::new();
    for route in pictures.iter().flat_map(|picture| &picture.routes) {
        *counts.entry(route.pattern.clone()).or_default() += route.requests;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Latency, RoutePicture};

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        assert_eq!(rates.per_second(start, "GET /a", 0), 0.0);
        let picture = |requests| Picture {
            routes: vec![RoutePicture {
                pattern: "GET /a".to_owned(),
                requests,
                errors: 0,
                latency: Latency::new(),
            }],
            ..Picture::default()
        };
        let second = Duration::from_secs(1);
        assert_eq!(rates.per_second(start + 4 * second, "GET /a", 10), 2.5);
        for look in 1..=12 {
            rates.look(start + look * 10 * second, &[picture(100), picture(200)]);
        }
        assert_eq!(rates.looks.len(), LOOKS);
        assert_eq!(rates.per_second(start + 120 * second, "GET /a", 800), 10.0, "500 in 50 s");
    }
}
