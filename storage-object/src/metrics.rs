//! Counters of the tier; the server shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `number`.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the tier did since the process started. Requests are those that left, repeats included: what a bill counts.
#[derive(Debug, Default)]
pub struct TierMetrics {
    /// PUT requests, parts of uploads included.
    pub puts: Counter,
    /// GET and HEAD requests.
    pub gets: Counter,
    /// LIST requests.
    pub lists: Counter,
    /// DELETE requests.
    pub deletes: Counter,
    /// Requests that were made again.
    pub retries: Counter,
    /// Requests that failed for good.
    pub failures: Counter,
    /// Conditional writes whose lost answer was settled by reading back.
    pub settled: Counter,
    /// Bytes written.
    pub bytes_up: Counter,
    /// Bytes read.
    pub bytes_down: Counter,
    /// Second requests for slow first ones.
    pub hedges: Counter,
    /// Blocks that were found in memory or on disk.
    pub cache_hits: Counter,
    /// Blocks that the store had to be asked for.
    pub cache_misses: Counter,
    /// Blocks whose bytes did not match their checksum.
    pub damaged_blocks: Counter,
    /// Segments uploaded.
    pub segments_up: Counter,
    /// Segments deleted.
    pub segments_deleted: Counter,
}
