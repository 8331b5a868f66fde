//! The writing side of a group; each verb has a file of its own.

use crate::frame::{FrameType, HEADER_BYTES, Record};
use crate::group::Group;
use crate::journal::group_image::{Roll, hard_state_record, roll_record};
use crate::queue::{Effect, Work};
use crate::space::Room;
use crate::store::Inner;
use crate::sync::locked;
use bytes::Bytes;
use chronik_core::log_store::{Checkpoint, HardState, LogWriter, Purge, SegmentPolicy};
use chronik_core::{Entry, EntryKind, LogError, LogIndex, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

/// The one writer of an open group. Dropping it closes the group.
#[derive(Debug)]
pub(crate) struct GroupWriter {
    pub(crate) inner: Arc<Inner>,
    pub(crate) group: Arc<Group>,
}

impl GroupWriter {
    pub(crate) const fn new(inner: Arc<Inner>, group: Arc<Group>) -> Self {
        Self { inner, group }
    }

    /// Queues a call whose records are `records`. The caller holds the state's lock, so that calls are queued in the
    /// order in which they changed the state.
    pub(crate) fn queue(&self, records: VecDeque<Record>, effect: Effect) -> Ticket {
        let (sender, ticket) = Ticket::pair();
        self.inner.push(Work {
            group: Arc::clone(&self.group),
            records,
            effect,
            ticket: Some(sender),
        });
        ticket
    }

    /// A ticket that resolves after those of all earlier calls, and promises nothing more.
    pub(crate) fn barrier(&self) -> Ticket {
        self.queue(VecDeque::new(), Effect::None)
    }

    /// Sets the policy of later segments where it is another.
    pub(crate) fn set_policy(&self, policy: SegmentPolicy) {
        let mut state = locked(&self.group.state);
        if state.segment_bytes == policy.segment_bytes {
            return;
        }
        state.segment_bytes = policy.segment_bytes;
        self.queue_roll(Roll {
            after: state.last.index,
            segment_bytes: policy.segment_bytes,
            now: false,
        });
    }

    /// Nobody waits for a roll: it is durable before any entry that obeys it.
    fn queue_roll(&self, roll: Roll) {
        self.inner.push(Work {
            group: Arc::clone(&self.group),
            records: VecDeque::from([roll_record(self.group.id, roll)]),
            effect: Effect::None,
            ticket: None,
        });
    }
}

impl LogWriter for GroupWriter {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        self.append_entries(entries)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        self.truncate(from)
    }

    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError> {
        self.purge_to(purge)
    }

    fn save_hard_state(&mut self, hard_state: HardState) -> Result<Ticket, LogError> {
        self.inner.check_open()?;
        let mut state = locked(&self.group.state);
        if hard_state.term < state.hard_state.term {
            return Err(LogError::TermRegression {
                current: state.hard_state.term,
                got: hard_state.term,
            });
        }
        state.hard_state = hard_state;
        let record = hard_state_record(self.group.id, hard_state);
        Ok(self.queue(VecDeque::from([record]), Effect::None))
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        self.add_checkpoint(checkpoint)
    }

    fn commit_hint(&mut self, index: LogIndex) {
        let mut state = locked(&self.group.state);
        state.commit_hint = state.commit_hint.max(index.min(state.last.index));
    }

    fn roll(&mut self, policy: SegmentPolicy, now: bool) -> Result<(), LogError> {
        self.inner.check_open()?;
        let mut state = locked(&self.group.state);
        state.segment_bytes = policy.segment_bytes;
        if now {
            state.close_active();
        }
        self.queue_roll(Roll {
            after: state.last.index,
            segment_bytes: policy.segment_bytes,
            now,
        });
        Ok(())
    }

    fn reserve(&mut self, kind: EntryKind, bytes: u64) -> Result<(), LogError> {
        self.inner.check_open()?;
        let room = Room::of(kind);
        self.inner
            .admit(room, bytes.saturating_add(HEADER_BYTES as u64))?;
        self.inner.reserve_journal(room, bytes)
    }

    fn expect_readers(&mut self, expected: bool) {
        locked(&self.group.state).readers.expected = expected;
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        locked(&self.group.state).open = false;
    }
}

/// A record of a group with nothing in it.
pub(crate) fn empty_record(frame_type: FrameType, group: &Group) -> Record {
    Record::new(frame_type, group.id, Bytes::new())
}
