//! The object tier: sealed, committed segments as immutable objects in a bucket.
//!
//! - [`format`](mod@format): the bytes of one segment object (`docs/format/tier-object.md`);
//! - [`bucket`]: the stores, and the one place that repeats requests.

pub mod bucket;
mod codec;
pub mod error;
pub mod format;
pub mod key;
pub mod manifest;
pub mod metrics;
pub mod state;

pub use bucket::{Bucket, StoreError, StoreErrorKind};
pub use error::TierError;
pub use key::{PartitionKey, SegmentKey};
pub use metrics::TierMetrics;
pub use state::{SegmentMeta, TierCommand, TierState};
