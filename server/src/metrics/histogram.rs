//! How often something took how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds; one more bucket takes what is longer.
pub const BOUNDS_SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// The same in nanoseconds.
const BOUNDS_NS: [u64; BOUNDS_SECONDS.len()] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Counts durations by size. Observing is a few atomic additions.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSnapshot {
    /// How many were at most as long as each bound, cumulative.
    pub buckets: [u64; BOUNDS_NS.len()],
    /// How many there were.
    pub count: u64,
    /// What they add up to.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What was counted so far. The count is the sum of the buckets, so that the two never disagree.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut buckets = [0; BOUNDS_NS.len()];
        let mut count = 0;
        for (total, here) in buckets.iter_mut().zip(&self.counts) {
            count += here.load(Ordering::Relaxed);
            *total = count;
        }
        let longer = self
            .counts
            .last()
            .map_or(0, |count| count.load(Ordering::Relaxed));
        HistogramSnapshot {
            buckets,
            count: count + longer,
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_of_bounds_agree_and_ascend() {
        for (seconds, ns) in BOUNDS_SECONDS.iter().zip(BOUNDS_NS) {
            assert_eq!((seconds * 1e9).round() as u64, ns);
        }
        assert!(BOUNDS_NS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_duration_counts_in_every_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for ns in [50_000, 50_001, 40_000_000_000] {
            histogram.observe(Duration::from_nanos(ns));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..2], [1, 2]);
        assert_eq!(snapshot.buckets.last(), Some(&2));
        assert_eq!(
            (snapshot.count, snapshot.sum),
            (3, Duration::from_nanos(40_000_100_001))
        );
    }
}
