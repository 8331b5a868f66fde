//! The entries of a partition, out of the bucket alone.

use crate::cold::{ColdReader, SEGMENTS_AHEAD};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::TierState;
use chronik_core::{Entry, Offset};
use std::ops::Range;
use std::sync::Arc;

/// The most bytes that are read at a time.
const READ_BYTES: u64 = 4 << 20;

/// Reads a partition's data entries in order, as its manifest says.
#[derive(Debug)]
pub struct Entries {
    cold: Arc<ColdReader>,
    partition: PartitionKey,
    state: TierState,
    offsets: Range<Offset>,
}

impl Entries {
    /// The entries that overlap `offsets`, as far as the tier has them.
    #[must_use]
    pub fn new(
        cold: Arc<ColdReader>,
        partition: PartitionKey,
        state: TierState,
        offsets: Range<Offset>,
    ) -> Self {
        let there = state.offsets();
        let offsets = offsets.start.max(there.start)..offsets.end.min(there.end);
        Self {
            cold,
            partition,
            state,
            offsets,
        }
    }

    /// The next entries; none at the end.
    ///
    /// # Errors
    /// [`TierError::Damaged`], [`TierError::Missing`], [`TierError::Store`].
    pub async fn next(&mut self) -> Result<Vec<Entry>, TierError> {
        if self.offsets.is_empty() {
            return Ok(Vec::new());
        }
        let Some(at) = self.state.find(self.offsets.start) else {
            return Ok(Vec::new());
        };
        let all = self.state.segments();
        let segments = all
            .get(at..all.len().min(at + 1 + SEGMENTS_AHEAD))
            .unwrap_or_default();
        let entries = self
            .cold
            .read(self.partition, segments, self.offsets.clone(), READ_BYTES)
            .await?;
        if let Some(last) = entries.last() {
            self.offsets.start = last.end_offset();
        }
        Ok(entries)
    }
}
