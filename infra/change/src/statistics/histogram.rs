//! Latencies in buckets of fixed bounds.
//!
//! Owns the bounds and the sparse form that terminators publish. Leaves quantiles with confidence
//! to [`super::proportion`]. Invariant: the bounds never change, so that histograms of any
//! terminators and any versions of this crate merge without loss.
//!
//! The layout is HdrHistogram's with one significant figure: exact up to 31 µs, then 16 buckets
//! for each power of two, each 3 to 6 % wide, up to 134 s.

use serde::{Deserialize, Serialize};

use super::real;

/// Latencies below this one, in microseconds, have a bucket each.
const EXACT_US: u32 = 32;
/// `log2(EXACT_US)`.
const EXACT_BITS: u32 = 5;
/// Buckets of one power of two.
const PER_OCTAVE: u32 = 16;
/// `log2(PER_OCTAVE)`.
const OCTAVE_BITS: u32 = 4;
/// Powers of two after the exact buckets: up to 2^27 µs.
const OCTAVES: u32 = 22;
/// All buckets.
const BUCKETS: usize = (EXACT_US + OCTAVES * PER_OCTAVE) as usize;

/// Counts of latencies. Its JSON is a list of `[bucket, count]` without empty buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u64)>", into = "Vec<(u32, u64)>")]
pub struct Histogram {
    /// One for each bucket; empty before the first sample.
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// A histogram without samples. It allocates with the first one.
    pub const fn new() -> Self {
        Self { counts: Vec::new(), total: 0 }
    }

    /// Counts a latency in microseconds. One above 134 s counts as 134 s.
    pub fn record(&mut self, latency_us: u64) {
        self.record_many(latency_us, 1);
    }

    /// Counts `count` requests of the same latency.
    pub fn record_many(&mut self, latency_us: u64, count: u64) {
        self.add(bucket(latency_us), count);
    }

    /// Adds the samples of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.add(bucket, *count);
        }
    }

    /// Number of samples.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The quantile of the samples in microseconds, as the middle of its bucket. `None` without
    /// samples.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let slower = real(self.total) * (1.0 - quantile);
        let mut tail = 0;
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            tail += count;
            if *count > 0 && real(tail) > slower {
                let (low, high) = (lower_us(bucket), upper_us(bucket));
                return Some((real(low) + real(high)) / 2.0);
            }
        }
        None
    }

    /// For each bucket, how many samples are in it or above it.
    pub(super) fn tails(&self) -> Vec<u64> {
        let mut tails = self.counts.clone();
        let mut tail = 0;
        for count in tails.iter_mut().rev() {
            tail += *count;
            *count = tail;
        }
        tails
    }

    fn add(&mut self, bucket: usize, count: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        // The sum of all counts stays in range, so no sum of some of them overflows.
        let count = count.min(u64::MAX - self.total);
        self.counts[bucket] += count;
        self.total += count;
    }
}

impl From<Histogram> for Vec<(u32, u64)> {
    fn from(histogram: Histogram) -> Self {
        (0..).zip(histogram.counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl TryFrom<Vec<(u32, u64)>> for Histogram {
    type Error = String;

    fn try_from(pairs: Vec<(u32, u64)>) -> Result<Self, String> {
        let mut histogram = Self::new();
        for (bucket, count) in pairs {
            let index = bucket as usize;
            if index >= BUCKETS {
                return Err(format!("bucket {bucket} of a latency histogram is above {}", BUCKETS - 1));
            }
            histogram.add(index, count);
        }
        Ok(histogram)
    }
}

/// The bucket of a latency.
fn bucket(latency_us: u64) -> usize {
    let latency = latency_us.min((1 << (EXACT_BITS + OCTAVES)) - 1);
    if latency < u64::from(EXACT_US) {
        return usize::try_from(latency).expect("below 32");
    }
    let octave = latency.ilog2();
    let within = (latency >> (octave - OCTAVE_BITS)) - u64::from(PER_OCTAVE);
    let before = EXACT_US + (octave - EXACT_BITS) * PER_OCTAVE;
    usize::try_from(u64::from(before) + within).expect("below BUCKETS")
}

/// Lowest latency of a bucket, in microseconds.
pub(super) fn lower_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let Some(above) = bucket.checked_sub(u64::from(EXACT_US)) else { return bucket };
    let (octave, within) = (above / u64::from(PER_OCTAVE), above % u64::from(PER_OCTAVE));
    (u64::from(PER_OCTAVE) + within) << (octave + u64::from(EXACT_BITS - OCTAVE_BITS))
}

/// Lowest latency above a bucket, in microseconds.
pub(super) fn upper_us(bucket: usize) -> u64 {
    lower_us(bucket + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_within_its_bucket() {
        for latency in (0..5_000).chain((0..120).map(|step| 1_000_000 * step + step)) {
            let bucket = bucket(latency);
            assert!(lower_us(bucket) <= latency && latency < upper_us(bucket), "{latency} in {bucket}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_us(BUCKETS - 1), 1 << 27);
    }

    #[test]
    fn buckets_are_at_most_a_sixteenth_wide() {
        for bucket in 32..BUCKETS {
            let (low, high) = (lower_us(bucket), upper_us(bucket));
            assert!((high - low) * 16 <= low, "{bucket}: {low}..{high}");
        }
    }

    #[test]
    fn the_sparse_form_round_trips_and_merges() {
        let mut histogram = Histogram::new();
        assert_eq!(serde_json::to_string(&histogram).unwrap(), "[]");
        for latency in [3, 700, 700, 90_000_000] {
            histogram.record(latency);
        }
        let json = serde_json::to_string(&histogram).unwrap();
        let mut read: Histogram = serde_json::from_str(&json).unwrap();
        assert_eq!(read, histogram);
        read.merge(&histogram);
        assert_eq!(read.total(), 8);
        assert_eq!(read.tails()[0], 8);
    }

    #[test]
    fn hostile_counts_neither_panic_nor_overflow() {
        assert!(serde_json::from_str::<Histogram>("[[384,1]]").is_err());
        let huge: Histogram = serde_json::from_str(&format!("[[1,{0}],[2,{0}]]", u64::MAX)).unwrap();
        assert_eq!(huge.total(), u64::MAX);
        assert!(huge.quantile_us(0.99).is_some());
    }

    #[test]
    fn a_quantile_is_within_a_bucket_of_the_exact_one() {
        let mut histogram = Histogram::new();
        for latency in 1..=10_000 {
            histogram.record(latency);
        }
        let p99 = histogram.quantile_us(0.99).unwrap();
        assert!((9_300.0..10_300.0).contains(&p99), "{p99}");
        assert_eq!(Histogram::new().quantile_us(0.99), None);
    }
}
