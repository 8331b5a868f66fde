//! Moving the start of a group's log.

use crate::group::state::GroupState;
use crate::journal::group_image::{PurgeRecord, retain_checkpoints};
use crate::queue::Effect;
use crate::sync::locked;
use crate::writer::GroupWriter;
use chronik_core::log_store::Purge;
use chronik_core::{LogError, Offset, Ticket};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

impl GroupWriter {
    pub(crate) fn purge_to(&self, wanted: Purge) -> Result<Ticket, LogError> {
        self.inner.check_open()?;
        let mut state = locked(&self.group.state);
        let Some((purge, reset)) = effective(&state, wanted)? else {
            return Ok(self.barrier());
        };
        let uncopied = state.uncopied_bytes;
        let gone = state.purge(purge, reset);
        self.inner
            .uncopied_bytes
            .fetch_sub(uncopied.saturating_sub(state.uncopied_bytes), Ordering::Relaxed);
        let before: Vec<_> = state.checkpoints.iter().map(|kept| kept.at.index).collect();
        let purged = state.purged.index;
        retain_checkpoints(&mut state.checkpoints, purged, |kept| kept.at.index);
        let dropped = before.len() - state.checkpoints.len();
        let record = PurgeRecord {
            through: state.purged,
            offset_start: state.offset_start,
            start: state.start,
            reset,
        };
        let effect = Effect::Purged {
            gone,
            checkpoints: before.into_iter().take(dropped).collect(),
        };
        Ok(self.queue(VecDeque::from([record.encode(self.group.id)]), effect))
    }
}

/// What a purge comes to: it never goes back. `None` where it changes nothing; an offset where it empties the log.
fn effective(state: &GroupState, wanted: Purge) -> Result<Option<(Purge, Option<Offset>)>, LogError> {
    let mut reset = None;
    let mut through = state.purged;
    if wanted.through.index > state.last.index {
        let known = state.checkpoints.iter().find(|kept| kept.at == wanted.through);
        let Some(checkpoint) = known else {
            return Err(LogError::OutOfOrder {
                expected: state.last.index.next(),
                got: wanted.through.index,
            });
        };
        through = wanted.through;
        reset = Some(checkpoint.next_offset);
    } else if wanted.through.index > state.purged.index {
        through.index = wanted.through.index;
        through.term = state.term_of(wanted.through.index);
    }
    let offset_end = reset.unwrap_or(state.offset_end);
    if wanted.offset_start > offset_end {
        return Err(LogError::OffsetMismatch {
            expected: offset_end.0,
            got: wanted.offset_start.0,
        });
    }
    let mut offset_start = wanted.offset_start.max(state.offset_start);
    if reset.is_some() {
        // Everything before the checkpoint is gone.
        offset_start = offset_end;
    }
    if through == state.purged && offset_start == state.offset_start {
        return Ok(None);
    }
    let purge = Purge {
        through,
        offset_start,
    };
    Ok(Some((purge, reset)))
}
