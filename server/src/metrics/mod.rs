//! What the server counts about itself: plain atomics that are constructor arguments of whoever counts, and the text
//! form in which Prometheus reads them.
//!
//! Everything that already has a place where it can be looked up (terms, commit indexes, connections) is not counted
//! here again: `admin/exposition.rs` asks for it when somebody reads `/metrics`. `families.rs` is the table of all names.

pub mod families;
mod files;
mod histogram;
mod kafka;
pub mod process;
pub mod text;

pub use files::{FileCall, FileMetrics, MeasuredFs};
pub use histogram::{BOUNDS_SECONDS, Histogram, HistogramSnapshot};
pub use kafka::{AckLevel, KafkaMetrics, Latency};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that one server process counts.
#[derive(Debug)]
pub struct Metrics {
    /// Kafka clients: connections, requests, answers.
    pub kafka: Arc<KafkaMetrics>,
    /// The files of the data directory.
    pub files: Arc<FileMetrics>,
}

impl Metrics {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            kafka: Arc::new(KafkaMetrics::new()),
            files: Arc::new(FileMetrics::new()),
        })
    }
}
