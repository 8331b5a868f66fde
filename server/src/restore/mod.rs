//! A new cluster out of a bucket alone.
//!
//! 1. [`Source::read`] reads what there is: the metadata's backup, the manifest of each partition, the offsets of the
//!    consumer groups. It changes nothing.
//! 2. The bucket is claimed for the new cluster, and [`Source::fence`] writes every manifest and copy anew under that
//!    claim: from then on the old cluster publishes and deletes nothing any more.
//! 3. [`seed`] builds the data directory of one node: the metadata with new replicas, every partition's log with its start
//!    in the tier, and the offsets.
//!
//! Step 2 can be repeated; step 3 needs an empty store. Whoever calls it marks the directory as unfinished before, so that
//! an interrupted restore is not taken for a node, and is begun anew. The terms of the new logs are beyond every term of the old
//! ones, so that clients notice that the log was cut.

mod damage;
pub mod offsets;
mod seed;
mod source;

pub use damage::{Damage, DamagedCopy, DamagedPartition};
pub use seed::{Place, seed};
pub use source::{RecoveredPartition, Source};

use chronik_core::LogError;
use chronik_storage_object::TierError;
use std::fmt;

/// Why nothing, or not everything, was restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bucket cannot be read, or not be claimed.
    Tier(TierError),
    /// The data directory cannot be written.
    Store(LogError),
    /// There is nothing to restore from, or the place is taken; the text says what to do.
    Refused(String),
    /// This cannot be read, and nobody agreed to leave it out.
    Damaged(Damage),
}

impl From<TierError> for RestoreError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl From<LogError> for RestoreError {
    fn from(error: LogError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "the bucket: {error}"),
            Self::Store(error) => write!(f, "the data directory: {error}"),
            Self::Refused(what) => f.write_str(what),
            Self::Damaged(damage) => write!(
                f,
                "{damage}put these objects back from a copy of the bucket, or go on without them with --skip-damaged"
            ),
        }
    }
}

impl std::error::Error for RestoreError {}
