//! Latency histograms of one worker.
//!
//! Owns: recording, merging and reading them. Invariant: the samples that were taken and those that
//! were not add up to the totals; a sample is counted once, and exactly in `count`, `under_target`
//! and `max`.
//!
//! Two significant digits, not three: a quantile is at most 1 % above the sample it stands for, and
//! the cells from 0.1 to 25 ms, which every request touches, are 8 kB instead of 64 and stay in the
//! first-level cache.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Which samples the histograms of a picture have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latencies {
    /// All since the start, as a copy.
    SinceStart,
    /// Those since the last picture of this kind, which takes them: for statsd alone.
    SinceFlush,
    /// None: only the numbers of requests, which cost no copy of a histogram.
    Omitted,
}

/// The time that a request should take at most; `Latency` counts what stays under it.
pub const TARGET: Duration = Duration::from_millis(25);

const SIGNIFICANT_DIGITS: u8 = 2;
const LOWEST_US: u64 = 1;
/// An hour; whatever takes longer counts as an hour.
const HIGHEST_US: u64 = 3_600_000_000;

/// One worker's latency histogram of one thing: not shared, recorded in some nanoseconds.
/// Microseconds, from 1 µs to 1 h; memory grows with the largest sample, to 26 kB at most.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Samples already returned by `take`.
    taken: Samples,
    /// Recorded since the last `take`.
    recent: Samples,
}

impl Latency {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { taken: Samples::new(), recent: Samples::new() }
    }

    /// Counts one sample; values over the range count as its end.
    pub fn record(&mut self, elapsed: Duration) {
        self.recent.record(elapsed);
    }

    /// Adds another worker's samples.
    pub fn merge(&mut self, other: &Self) {
        self.taken.add(&other.taken);
        self.recent.add(&other.recent);
    }

    /// The samples since the last `take`; they stay in the totals.
    #[must_use]
    pub fn take(&mut self) -> Self {
        if self.recent.cells.is_empty() {
            return Self::new();
        }
        let recent = self.recent.clone();
        self.taken.add(&recent);
        self.recent.clear();
        Self { taken: Samples::new(), recent }
    }

    /// The samples that a picture wants.
    #[must_use]
    pub fn of(&mut self, latencies: Latencies) -> Self {
        match latencies {
            Latencies::SinceStart => self.clone(),
            Latencies::SinceFlush => self.take(),
            Latencies::Omitted => Self::new(),
        }
    }

    /// Samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.taken.cells.len() + self.recent.cells.len()
    }

    /// Samples under 25 ms: what a dashboard may add up over hosts and time.
    #[must_use]
    pub fn under_target(&self) -> u64 {
        self.taken.under_target + self.recent.under_target
    }

    /// The value at `quantile` in 0..=1; zero when there are no samples. Sums the two parts up: for
    /// readers, not for the hot path.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        if self.taken.cells.is_empty() {
            return self.recent.quantile(quantile);
        }
        let mut all = self.taken.clone();
        all.add(&self.recent);
        all.quantile(quantile)
    }

    /// For each of `bounds`, ascending, the samples up to it, within 1 % of the bound; and the sum
    /// of all samples, within 1 %. For readers, not for the hot path.
    #[must_use]
    pub fn cumulative(&self, bounds: &[Duration]) -> (Vec<u64>, Duration) {
        let (mut counts, mut sum_us) = (vec![0; bounds.len()], 0);
        let cells = self.taken.cells.iter_recorded().chain(self.recent.cells.iter_recorded());
        for cell in cells {
            let (us, count) = (cell.value_iterated_to(), cell.count_since_last_iteration());
            sum_us += us * count;
            let first = bounds.partition_point(|bound| bound.as_micros() < u128::from(us));
            counts[first..].iter_mut().for_each(|total| *total += count);
        }
        (counts, Duration::from_micros(sum_us))
    }

    /// The largest value, exactly (but for the hour).
    #[must_use]
    pub fn max(&self) -> Duration {
        self.taken.max.max(self.recent.max)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
struct Samples {
    cells: Histogram<u64>,
    under_target: u64,
    max: Duration,
}

impl Samples {
    fn new() -> Self {
        let cells = Histogram::new(SIGNIFICANT_DIGITS).expect("two digits are in 0..=5");
        Self { cells, under_target: 0, max: Duration::ZERO }
    }

    fn record(&mut self, elapsed: Duration) {
        let elapsed = elapsed.min(Duration::from_micros(HIGHEST_US));
        let us = elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros());
        self.cells
            .record(us.max(LOWEST_US))
            .expect("an auto-resizing histogram takes what is under its highest value");
        self.under_target += u64::from(elapsed < TARGET);
        self.max = self.max.max(elapsed);
    }

    fn add(&mut self, other: &Self) {
        self.cells.add(&other.cells).expect("an auto-resizing histogram takes another's range");
        self.under_target += other.under_target;
        self.max = self.max.max(other.max);
    }

    fn clear(&mut self) {
        self.cells.reset();
        self.under_target = 0;
        self.max = Duration::ZERO;
    }

    /// The highest value of its cell, which may be above every sample; the largest sample bounds
    /// it.
    fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.cells.value_at_quantile(quantile)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HIGHEST_US, Latency, SIGNIFICANT_DIGITS, TARGET};

    fn of(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        micros.into_iter().for_each(|us| latency.record(Duration::from_micros(us)));
        latency
    }

    #[test]
    fn quantiles_are_within_one_per_cent() {
        let latency = of(1..=100_000);
        for (quantile, us) in [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0)] {
            let read = latency.quantile(quantile).as_secs_f64() * 1e6;
            assert!((read / us - 1.0).abs() < 0.01, "{quantile}: {read} for {us}");
        }
        assert_eq!(latency.max(), Duration::from_millis(100));
        assert_eq!(latency.quantile(1.0), Duration::from_millis(100));
        assert_eq!(latency.count(), 100_000);
    }

    #[test]
    fn target_is_counted_exactly() {
        let mut latency = of([24_999, 25_000, 25_001]);
        latency.record(TARGET - Duration::from_nanos(1));
        assert_eq!(latency.under_target(), 2);
    }

    #[test]
    fn values_out_of_range_count_as_its_ends() {
        let mut latency = Latency::new();
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        assert_eq!((latency.count(), latency.under_target()), (2, 1));
        assert_eq!(latency.max(), Duration::from_secs(3600));
        assert!(latency.quantile(0.01) <= Duration::from_micros(1));
    }

    #[test]
    fn take_gives_what_is_new_and_leaves_the_totals() {
        let mut latency = of([10, 20]);
        assert_eq!(latency.take().count(), 2);
        latency.record(Duration::from_secs(1));
        let taken = latency.take();
        assert_eq!((taken.count(), taken.under_target(), taken.max()), (1, 0, Duration::from_secs(1)));
        assert_eq!(latency.take().count(), 0);
        assert_eq!((latency.count(), latency.under_target(), latency.max()), (3, 2, Duration::from_secs(1)));
        assert_eq!(latency.quantile(1.0), Duration::from_secs(1));
    }

    #[test]
    fn merge_adds_workers_up() {
        let mut sum = of([10]);
        let mut other = of([20, 30_000]);
        let _taken = other.take();
        other.record(Duration::from_micros(40));
        sum.merge(&other);
        assert_eq!((sum.count(), sum.under_target(), sum.max()), (4, 3, Duration::from_millis(30)));
        assert_eq!(sum.take().count(), 2, "what the other had taken is not sent twice");
    }

    #[test]
    fn empty_one_reads_as_zero() {
        let latency = Latency::default();
        assert_eq!(
            (latency.quantile(0.99), latency.max(), latency.count()),
            (Duration::ZERO, Duration::ZERO, 0)
        );
    }

    #[test]
    fn memory_stays_bounded() {
        let latency = of([1, HIGHEST_US]);
        let cells = latency.recent.cells.distinct_values();
        assert!(cells * size_of::<u64>() <= 28 * 1024, "{cells} cells at {SIGNIFICANT_DIGITS} digits");
    }
}
