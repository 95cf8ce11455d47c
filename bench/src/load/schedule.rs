//! When requests are due at a fixed rate.
//!
//! Owns the times. Invariant: they depend on the rate alone, never on the server.

use std::time::{Duration, Instant};

/// The due times of one thread.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Requests per second.
    rate: f64,
    /// Seconds after `start`.
    next: f64,
    drawn: f64,
    /// No request is due at or after this many seconds.
    end: f64,
    left: Option<u64>,
}

/// The state of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A request was due at this time.
    Since(Instant),
    /// No request is due before this time.
    At(Instant),
    /// No more requests.
    Over,
}

impl Schedule {
    /// `phase` in 0..1 shifts the times by a part of a gap, so that threads alternate.
    pub(super) fn new(
        start: Instant,
        rate: f64,
        phase: f64,
        end: Option<Duration>,
        left: Option<u64>,
    ) -> Self {
        let end = end.map_or(f64::INFINITY, |end| end.as_secs_f64());
        Self { start, rate, next: phase / rate, drawn: phase, end, left }
    }

    /// Takes the next request when it is due.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        if self.next >= self.end || self.left == Some(0) {
            return Due::Over;
        }
        let at = self.start + Duration::from_secs_f64(self.next);
        if at > now {
            return Due::At(at);
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        self.drawn += 1.0;
        // Divided instead of added up, which avoids drift over hours.
        self.next = self.drawn / self.rate;
        Due::Since(at)
    }

    /// Requests due before `now` that were not taken.
    pub(super) fn overdue(&mut self, now: Instant) -> u64 {
        let mut count = 0;
        while let Due::Since(_) = self.take(now) {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_even_and_end_with_the_run() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0, 0.0, Some(Duration::from_secs(10)), None);
        let late = start + Duration::from_secs(60);
        let times: Vec<Duration> = std::iter::from_fn(|| match schedule.take(late) {
            Due::Since(at) => Some(at - start),
            _ => None,
        })
        .collect();
        assert_eq!(times.len(), 10_000);
        assert_eq!(times[5000], Duration::from_secs(5));
    }

    #[test]
    fn nothing_is_due_before_its_time_and_what_is_late_keeps_its_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000.0, 0.0, None, Some(3));
        let ms = Duration::from_millis;
        assert_eq!(schedule.take(start), Due::Since(start));
        assert_eq!(schedule.take(start), Due::At(start + ms(1)));
        assert_eq!(schedule.take(start + ms(500)), Due::Since(start + ms(1)));
        assert_eq!(schedule.overdue(start + ms(500)), 1);
        assert_eq!(schedule.take(start + ms(500)), Due::Over);
    }
}
