//! The writing side of a group of the reference store.

use super::Mutant;
use super::journal::Journal;
use super::record::{Change, Record};
use super::store::{Inner, Pending, Shared, SharedModel};
use crate::model::GroupModel;
use crate::world::locked;
use chronik_core::log_store::{Checkpoint, HardState, Purge, SegmentPolicy, StoreHealth};
use chronik_core::{Entry, EntryKind, GroupId, LogError, LogIndex, LogWriter, Ticket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct MemWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) group: GroupId,
    pub(super) model: SharedModel,
    pub(super) is_open: Arc<AtomicBool>,
}

impl Drop for MemWriter {
    fn drop(&mut self) {
        self.is_open.store(false, Ordering::SeqCst);
    }
}

/// Which space a call may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// What is left beside the reserve.
    Common,
    /// The reserve too: hard state, and calls that give space back.
    Reserve,
}

impl MemWriter {
    fn record(&self, change: Change) -> Record {
        Record {
            group: self.group,
            change,
        }
    }

    fn check_alive(&self) -> Result<(), LogError> {
        match &locked(&self.shared.inner).ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn reserve_in(&self, inner: &mut Inner, bytes: u64, space: Space) -> Result<(), LogError> {
        let Inner { journal, buffer, .. } = inner;
        match journal.reserve(buffer.len() as u64, bytes, space == Space::Common) {
            Ok(()) => {
                if space == Space::Common {
                    self.shared.set_health(StoreHealth::Working);
                }
                Ok(())
            }
            Err(LogError::Full) if self.shared.has(Mutant::FullIsFatal) => {
                let error = LogError::Poisoned("no space left".into());
                inner.ended = Some(error.clone());
                Err(error)
            }
            Err(LogError::Full) => {
                self.shared.set_health(StoreHealth::Full);
                Err(LogError::Full)
            }
            Err(error) => {
                inner.ended = Some(error.clone());
                self.shared
                    .set_health(StoreHealth::Poisoned(error.to_string().into()));
                Err(error)
            }
        }
    }

    /// Puts changes in the journal and in memory; the ticket resolves with the next sync.
    fn commit(&self, changes: Vec<Change>, payload_bytes: u64, space: Space) -> Result<Ticket, LogError> {
        let mut inner = locked(&self.shared.inner);
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        let mut needed = changes.len() as u64 * Journal::frame_bytes(0) + payload_bytes;
        if self.shared.has(Mutant::InstallsInSteps) {
            needed += 50 * Journal::frame_bytes(0);
        }
        self.reserve_in(&mut inner, needed, space)?;
        let mut model = locked(&self.model);
        for change in changes {
            let record = self.record(change);
            let Inner {
                journal,
                buffer,
                late,
                ..
            } = &mut *inner;
            match &record.change {
                Change::Truncate(_) if self.shared.has(Mutant::TruncatesInMemory) => {}
                Change::HardState(_) if self.shared.has(Mutant::HardStateLast) => late.push(record.clone()),
                Change::Purge(purge) => {
                    for record in self.broken_purge(*purge, &model) {
                        journal.encode(buffer, &record);
                    }
                }
                _ => journal.encode(buffer, &record),
            }
            let offset_end = model.state().offset_end;
            let truncates = matches!(record.change, Change::Truncate(_));
            record.change.apply(&mut model);
            if truncates && self.shared.has(Mutant::TruncationKeepsOffset) {
                model.move_offset_end(offset_end);
            }
            if self.shared.has(Mutant::PurgeIgnoresOffset) {
                model.drop_purged();
            }
        }
        let reached = (
            Arc::clone(&self.model),
            model.state().last.index,
            model.generation(),
        );
        drop(model);
        let (sender, ticket) = Ticket::pair();
        inner.pending.push(Pending {
            ticket: sender,
            reached: Some(reached),
        });
        self.shared.schedule(&mut inner);
        Ok(ticket)
    }

    /// What the contract asks before an append, less what a mutant leaves out.
    fn check_append(&self, entries: &[Entry]) -> Result<(), LogError> {
        let checked = locked(&self.model).check_append(entries, self.shared.options.max_payload_bytes);
        let tolerated = match &checked {
            Err(LogError::OutOfOrder { expected, got }) => {
                got > expected && self.shared.has(Mutant::AcceptsGap)
            }
            Err(LogError::TermRegression { .. }) => self.shared.has(Mutant::AcceptsTermRegression),
            Err(LogError::OffsetMismatch { .. }) => self.shared.has(Mutant::AcceptsOffsetGap),
            _ => false,
        };
        if tolerated { Ok(()) } else { checked }
    }

    /// What the journal gets of a purge: the purge, where the store is sound.
    fn broken_purge(&self, mut purge: Purge, model: &GroupModel) -> Vec<Record> {
        let state = model.state();
        let mut changes = Vec::new();
        if self.shared.has(Mutant::PurgeLosesOffset) {
            purge.offset_start = state.offset_start;
        }
        if self.shared.has(Mutant::InstallsInSteps) && purge.through.index > state.last.index {
            changes.push(Change::Truncate(state.index_start()));
            // So much that a crash can come between the two.
            changes.extend((0..40).map(|_| Change::CommitHint(LogIndex(0))));
        }
        changes.push(Change::Purge(purge));
        changes.into_iter().map(|change| self.record(change)).collect()
    }

    /// A ticket that resolves after those before it: an empty write.
    fn empty(&self) -> Result<Ticket, LogError> {
        self.commit(Vec::new(), 0, Space::Reserve)
    }
}

impl LogWriter for MemWriter {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        self.check_alive()?;
        if let Err(error) = self.check_append(entries) {
            if self.shared.has(Mutant::AppendsHalf) && entries.len() > 1 {
                let _ = self.append(&entries[..1]);
            }
            return Err(error);
        }
        if entries.is_empty() && self.shared.has(Mutant::EmptyAppendAtOnce) {
            return Ok(Ticket::resolved(Ok(())));
        }
        if entries.is_empty() {
            return self.empty();
        }
        let payload_bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        let changes = entries
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                if self.shared.has(Mutant::ForgetsKind) && entry.kind != EntryKind::Data {
                    entry.kind = EntryKind::Command;
                }
                if self.shared.has(Mutant::CutsPayloads) {
                    entry.payload.truncate(65_535);
                }
                Change::Append(entry)
            })
            .collect();
        self.commit(changes, payload_bytes, Space::Common)
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        self.check_alive()?;
        let removes = match locked(&self.model).check_truncate(from) {
            Err(LogError::Compacted { .. }) if self.shared.has(Mutant::TruncatesBelowPurge) => false,
            checked => checked?,
        };
        if removes {
            self.commit(vec![Change::Truncate(from)], 0, Space::Reserve)
        } else {
            self.empty()
        }
    }

    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError> {
        self.check_alive()?;
        let checked = locked(&self.model).check_purge(&purge);
        if !self.shared.has(Mutant::PurgesBeyondEnd) {
            checked?;
        }
        if self.shared.has(Mutant::PurgeGoesBack) {
            let mut model = locked(&self.model);
            let state = model.state();
            if purge.through.index < state.purged.index {
                model.move_purged_back(purge.through);
            }
        }
        if self.shared.has(Mutant::DropsNewestCheckpoint) {
            locked(&self.model).drop_checkpoints(purge.through.index);
        }
        let ticket = self.commit(vec![Change::Purge(purge)], 0, Space::Reserve)?;
        Ok(ticket)
    }

    fn save_hard_state(&mut self, state: HardState) -> Result<Ticket, LogError> {
        self.check_alive()?;
        locked(&self.model).check_hard_state(&state)?;
        let ticket = self.commit(vec![Change::HardState(state)], 0, Space::Reserve)?;
        if self.shared.has(Mutant::AcksHardStateAtOnce) {
            return Ok(Ticket::resolved(Ok(())));
        }
        Ok(ticket)
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        self.check_alive()?;
        let (got_bytes, limit_bytes) = (
            (checkpoint.data.len() + checkpoint.consensus.len()) as u64,
            self.shared.options.max_payload_bytes,
        );
        if got_bytes > limit_bytes && !self.shared.has(Mutant::StoresTooLarge) {
            return Err(LogError::TooLarge {
                limit_bytes,
                got_bytes,
            });
        }
        self.commit(vec![Change::Checkpoint(checkpoint)], got_bytes, Space::Common)
    }

    fn commit_hint(&mut self, index: LogIndex) {
        locked(&self.model).set_commit_hint(index);
        let mut inner = locked(&self.shared.inner);
        let Inner { journal, buffer, .. } = &mut *inner;
        // A hint is not worth an error: without space it is not persisted.
        if journal
            .reserve(buffer.len() as u64, Journal::frame_bytes(0), true)
            .is_ok()
        {
            journal.encode(buffer, &self.record(Change::CommitHint(index)));
        }
    }

    fn roll(&mut self, policy: SegmentPolicy, now: bool) -> Result<(), LogError> {
        self.check_alive()?;
        let mut inner = locked(&self.shared.inner);
        self.reserve_in(&mut inner, Journal::frame_bytes(0), Space::Reserve)?;
        let Inner { journal, buffer, .. } = &mut *inner;
        journal.encode(buffer, &self.record(Change::Roll(policy, now)));
        locked(&self.model).roll(policy, now);
        Ok(())
    }

    fn reserve(&mut self, _kind: EntryKind, bytes: u64) -> Result<(), LogError> {
        self.check_alive()?;
        let mut inner = locked(&self.shared.inner);
        self.reserve_in(&mut inner, Journal::frame_bytes(bytes), Space::Common)
    }
}
