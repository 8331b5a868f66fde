//! The object tier: sealed, committed segments as immutable objects in a bucket, read back as if they were local.
//!
//! In the order of a segment's life:
//!
//! 1. [`upload`]: the leader writes a sealed, committed segment as one object ([`format`](mod@format));
//! 2. [`state`]: the partition's own log carries what is in the tier, so that every replica knows it;
//! 3. [`manifest`]: a copy of that state in the bucket, under a fence, for recovery and for readers outside;
//! 4. [`tiered`]: reads across the edge between the local log and the tier; [`cold`] fetches, checks and caches;
//! 5. [`collect`]: two-phase deletion;
//! 6. [`backup`]: copies of what no segment carries, for recovery;
//! 7. [`orphans`]: what nothing refers to goes;
//! 8. [`removal`]: a deleted topic's partitions go as a whole;
//! 9. [`offline`]: the bucket without a cluster: lists, reads, and a scrub.
//!
//! [`bucket`] is the seam to stores, and the one place that repeats requests.
//!
//! Architecture invariants: nothing is referenced before it is complete; the hot store is a trait object; an object's
//! name says its content; `bucket/s3` alone knows an asynchronous runtime.

pub mod backup;
pub mod bucket;
pub mod claim;
mod codec;
pub mod cold;
pub mod collect;
pub mod error;
pub mod format;
pub mod key;
pub mod manifest;
pub mod metrics;
pub mod offline;
pub mod orphans;
pub mod removal;
pub mod state;
pub mod tiered;
pub mod upload;

pub use backup::{Backup, BackupWriter, backup_aside_key, is_backup_set_aside, list_backups, read_backup};
pub use bucket::{Bucket, StoreError, StoreErrorKind};
pub use claim::Claim;
pub use cold::ColdReader;
pub use collect::Collector;
pub use error::TierError;
pub use key::{PartitionKey, SegmentKey};
pub use metrics::TierMetrics;
pub use state::{SegmentMeta, TierCommand, TierState};
pub use tiered::{TierView, TieredReader};
pub use upload::Uploader;
