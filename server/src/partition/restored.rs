//! What a partition begins with that is built from the tier.

use bytes::BytesMut;
use chronik_core::consensus::Stamper;
use chronik_core::log_store::Checkpoint;
use chronik_core::{LogId, Offset, Term};
use chronik_storage_object::TierError;
use chronik_storage_object::TierState;
use chronik_storage_object::offline::LastState;

use super::producer_state::ProducerTable;
use super::stamp::BatchStamper;
use super::state::PartitionState;

/// The state of a log that begins after `at`, with everything before it in the tier, written by `producers`. One that is not
/// among them may begin with any batch.
#[must_use]
pub fn restored(at: LogId, tier: &TierState, producers: ProducerTable) -> Checkpoint {
    let mut state = PartitionState::new(tier.end().offset);
    state.producers = producers;
    state.applied = at;
    state.log_start = tier.offsets().start;
    state.tier = tier.clone();
    state.checkpoint()
}

/// The producers at the end of a tier: as of the newest checkpoint that was uploaded, and what they wrote after it.
///
/// # Errors
/// [`TierError::Damaged`] where one or the other cannot be read; those of reading the tier.
pub async fn producers_at_end(mut last: LastState) -> Result<ProducerTable, TierError> {
    let damaged = |reason: &str| TierError::Damaged {
        key: last.newest.clone(),
        reason: reason.into(),
    };
    let mut state = match &last.checkpoint {
        Some(checkpoint) => PartitionState::from_checkpoint(checkpoint)
            .ok_or_else(|| damaged("its checkpoint is of another version"))?,
        None => PartitionState::new(Offset(0)),
    };
    loop {
        let entries = last.rest.next().await?;
        if entries.is_empty() {
            return Ok(state.producers);
        }
        for entry in &entries {
            state.note_batches(entry).map_err(|reason| damaged(&reason))?;
        }
    }
}

/// Gives batches their place in a log that no engine writes yet.
pub fn stamp(payload: &mut BytesMut, base_offset: Offset, term: Term) {
    BatchStamper.stamp(payload, base_offset, term);
}
