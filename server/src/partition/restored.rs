//! What a partition begins with that is built from the tier.

use bytes::BytesMut;
use chronik_core::consensus::Stamper;
use chronik_core::log_store::Checkpoint;
use chronik_core::{LogId, Offset, Term};
use chronik_storage_object::TierState;

use super::stamp::BatchStamper;
use super::state::PartitionState;

/// The state of a log that begins after `at`, with everything before it in the tier. Which producers wrote there last is
/// not known: the first batch of each is taken as it comes.
#[must_use]
pub fn restored(at: LogId, tier: &TierState) -> Checkpoint {
    let mut state = PartitionState::new(tier.end().offset);
    state.applied = at;
    state.log_start = tier.offsets().start;
    state.tier = tier.clone();
    state.checkpoint()
}

/// Gives batches their place in a log that no engine writes yet.
pub fn stamp(payload: &mut BytesMut, base_offset: Offset, term: Term) {
    BatchStamper.stamp(payload, base_offset, term);
}
