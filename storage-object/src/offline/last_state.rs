//! What the newest objects of a partition say of its state, beside its records.

use super::Entries;
use crate::cold::{ColdReader, Object};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::TierState;
use chronik_core::Offset;
use chronik_core::log_store::Checkpoint;
use std::sync::Arc;

/// How many segments from the end on are asked for a checkpoint. A leader writes one where each segment ends, so that the
/// last one has it, or the one before.
const SEGMENTS_ASKED: usize = 4;

/// The state of a partition at the end of its tier.
#[derive(Debug)]
pub struct LastState {
    /// The object that was uploaded last.
    pub newest: Arc<str>,
    /// The newest checkpoint that was uploaded; none where none of the newest segments has one.
    pub checkpoint: Option<Checkpoint>,
    /// The data entries after it.
    pub rest: Entries,
}

impl LastState {
    /// Reads the newest checkpoint of a partition.
    ///
    /// # Errors
    /// [`TierError::Damaged`], [`TierError::Missing`], [`TierError::Store`].
    pub async fn read(
        cold: &Arc<ColdReader>,
        partition: PartitionKey,
        state: &TierState,
    ) -> Result<Self, TierError> {
        let (mut newest, mut checkpoint) = (None, None);
        let mut from = state.end().offset;
        for segment in state.segments().iter().rev().take(SEGMENTS_ASKED) {
            let object = Object::new(partition, Arc::clone(segment));
            let footer = cold.footer(&object).await?;
            newest.get_or_insert(object.key);
            from = segment.offsets.start;
            if let Some(found) = &footer.checkpoint {
                from = found.next_offset;
                checkpoint = Some(found.clone());
                break;
            }
        }
        let cold = Arc::clone(cold);
        Ok(Self {
            newest: newest.unwrap_or_default(),
            checkpoint,
            rest: Entries::new(cold, partition, state.clone(), from..Offset(i64::MAX)),
        })
    }
}
