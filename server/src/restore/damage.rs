//! What of a bucket cannot be read, and would be left out.

use crate::cluster::state::OFFSETS_TOPIC;
use chronik_storage_object::PartitionKey;
use std::fmt;
use std::sync::Arc;

/// A partition of which the manifest cannot be read, or is gone while objects are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub index: u32,
    /// The partition, as objects are named.
    pub key: PartitionKey,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for DamagedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}: {}", self.topic, self.index, self.reason)
    }
}

/// A copy of what the groups of a partition of `__consumer_offsets` had committed that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedCopy {
    /// The partition's number.
    pub index: u32,
    /// The copy, as backups are named.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for DamagedCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OFFSETS_TOPIC}-{}: {}", self.index, self.reason)
    }
}

/// All that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Partitions that nothing can be had of.
    pub partitions: Vec<DamagedPartition>,
    /// Copies of committed offsets that nothing can be had of.
    pub copies: Vec<DamagedCopy>,
}

impl Damage {
    /// Whether everything can be read.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.partitions.is_empty() && self.copies.is_empty()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.partitions.is_empty() {
            let count = self.partitions.len();
            writeln!(
                f,
                "{count} partitions cannot be had again, because of their manifests:"
            )?;
        }
        for partition in &self.partitions {
            writeln!(f, "  {partition}")?;
        }
        if !self.copies.is_empty() {
            let count = self.copies.len();
            writeln!(
                f,
                "{count} copies of what consumer groups had committed cannot be read:"
            )?;
        }
        for copy in &self.copies {
            writeln!(f, "  {copy}")?;
        }
        Ok(())
    }
}
