//! What is to be uploaded next.

use crate::state::TierState;
use chronik_core::log_store::SegmentInfo;
use chronik_core::{LogId, LogIndex, Offset};
use std::ops::Range;

/// Entries that make the next object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The first entry.
    pub first: LogIndex,
    /// The last entry.
    pub last: LogId,
    /// The offsets.
    pub offsets: Range<Offset>,
    /// Bytes of entries, as the store counts them: an upper bound where the front of the segment is in the tier.
    pub size_bytes: u64,
}

/// The oldest sealed segment that is committed, has records that are served, and is not in the tier in whole. Where
/// the tier ends within a segment (another replica cut elsewhere, once), the rest of that segment is the work.
#[must_use]
pub fn next_work(
    segments: &[SegmentInfo],
    state: &TierState,
    committed: LogIndex,
    log_start: Offset,
) -> Option<Work> {
    let end = state.end();
    let candidate = segments.iter().find(|segment| {
        let offsets = &segment.offsets;
        offsets.end > end.offset && offsets.end > log_start && offsets.end > offsets.start
    })?;
    if !candidate.sealed || candidate.last.index > committed {
        return None;
    }
    Some(Work {
        first: candidate.first.index.max(end.last.index.next()),
        last: candidate.last,
        offsets: candidate.offsets.start.max(end.offset)..candidate.offsets.end,
        size_bytes: candidate.size_bytes,
    })
}

/// Bytes of sealed segments that wait for their upload.
#[must_use]
pub fn lag_bytes(segments: &[SegmentInfo], state: &TierState, log_start: Offset) -> u64 {
    let waits = |segment: &&SegmentInfo| {
        segment.sealed && segment.offsets.end > state.end().offset && segment.offsets.end > log_start
    };
    segments
        .iter()
        .filter(waits)
        .map(|segment| segment.size_bytes)
        .sum()
}
