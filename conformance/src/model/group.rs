//! The state of one group and the calls that change it.

use chronik_core::log_store::{Checkpoint, HardState, LogState, Purge, SegmentPolicy, check_follows};
use chronik_core::{Entry, LogError, LogId, LogIndex, Offset};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One group's log as the contract describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupModel {
    pub(super) policy: SegmentPolicy,
    /// Entries that can be read by index or by offset, oldest first, without a hole.
    pub(super) entries: VecDeque<Entry>,
    pub(super) purged: LogId,
    pub(super) last: LogId,
    pub(super) durable: LogIndex,
    pub(super) offset_start: Offset,
    pub(super) offset_end: Offset,
    pub(super) hard_state: HardState,
    pub(super) commit_hint: LogIndex,
    pub(super) checkpoints: BTreeMap<LogIndex, Checkpoint>,
    /// The last entries of sealed segments.
    pub(super) cuts: BTreeSet<LogIndex>,
    /// Bytes in the segment that takes entries.
    active_bytes: u64,
    /// Counts truncations, so that a late acknowledgement of removed entries is recognised.
    generation: u64,
}

impl GroupModel {
    /// A new group.
    #[must_use]
    pub fn new(policy: SegmentPolicy) -> Self {
        Self {
            policy,
            entries: VecDeque::new(),
            purged: LogId::default(),
            last: LogId::default(),
            durable: LogIndex(0),
            offset_start: Offset(0),
            offset_end: Offset(0),
            hard_state: HardState::default(),
            commit_hint: LogIndex(0),
            checkpoints: BTreeMap::new(),
            cuts: BTreeSet::new(),
            active_bytes: 0,
            generation: 0,
        }
    }

    /// Where the log stands.
    #[must_use]
    pub fn state(&self) -> LogState {
        LogState {
            purged: self.purged,
            last: self.last,
            durable: self.durable,
            offset_start: self.offset_start,
            offset_end: self.offset_end,
            hard_state: self.hard_state,
            commit_hint: self.commit_hint,
            size_bytes: self.entries.iter().map(|entry| entry.payload.len() as u64).sum(),
        }
    }

    /// Counts truncations.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything up to the last entry is durable.
    pub const fn all_durable(&mut self) {
        self.durable = self.last.index;
    }

    /// Entries up to `index`, written in `generation`, became durable.
    pub fn became_durable(&mut self, index: LogIndex, generation: u64) {
        if generation == self.generation {
            self.durable = self.durable.max(index).min(self.last.index);
        }
    }

    /// Whether `entries` may be appended.
    ///
    /// # Errors
    /// As [`LogWriter::append`](chronik_core::LogWriter::append).
    pub fn check_append(&self, entries: &[Entry], limit_bytes: u64) -> Result<(), LogError> {
        let (mut last, mut offset_end) = (self.last, self.offset_end);
        for entry in entries {
            check_follows(last, offset_end, entry)?;
            let got_bytes = entry.payload.len() as u64;
            if got_bytes > limit_bytes {
                return Err(LogError::TooLarge {
                    limit_bytes,
                    got_bytes,
                });
            }
            last = entry.id;
            offset_end = entry.end_offset();
        }
        Ok(())
    }

    /// Appends one entry that was checked.
    pub fn append(&mut self, entry: Entry) {
        if self.active_bytes >= self.policy.segment_bytes {
            self.cut();
        }
        self.active_bytes += entry.payload.len() as u64;
        self.last = entry.id;
        self.offset_end = entry.end_offset();
        self.entries.push_back(entry);
    }

    fn count_active_bytes(&self) -> u64 {
        let sealed = self.cuts.last().copied().unwrap_or_default();
        self.entries
            .iter()
            .rev()
            .take_while(|entry| entry.id.index > sealed)
            .map(|entry| entry.payload.len() as u64)
            .sum()
    }

    fn cut(&mut self) {
        if self.entries.back().is_some_and(|entry| entry.id == self.last) {
            self.cuts.insert(self.last.index);
            self.active_bytes = 0;
        }
    }

    /// Whether the entries from `from` on may be removed; `Ok(false)` where there is nothing to remove.
    ///
    /// # Errors
    /// As [`LogWriter::truncate_from`](chronik_core::LogWriter::truncate_from).
    pub fn check_truncate(&self, from: LogIndex) -> Result<bool, LogError> {
        if from <= self.purged.index {
            return Err(LogError::Compacted {
                first: self.purged.index.next(),
            });
        }
        if from > self.last.index.next() {
            return Err(LogError::OutOfOrder {
                expected: self.last.index.next(),
                got: from,
            });
        }
        Ok(from <= self.last.index)
    }

    /// Removes the entries from `from` on.
    pub fn truncate(&mut self, from: LogIndex) {
        while let Some(entry) = self.entries.back() {
            if entry.id.index < from {
                break;
            }
            self.offset_end = entry.base_offset;
            self.entries.pop_back();
        }
        self.last = match self.entries.back() {
            Some(entry) if entry.id.index > self.purged.index => entry.id,
            _ => self.purged,
        };
        self.cuts.retain(|cut| *cut < from);
        self.active_bytes = self.count_active_bytes();
        self.durable = self.durable.min(self.last.index);
        self.commit_hint = self.commit_hint.min(self.last.index);
        self.generation += 1;
    }

    /// Whether the start may move so.
    ///
    /// # Errors
    /// As [`LogWriter::purge`](chronik_core::LogWriter::purge).
    pub fn check_purge(&self, purge: &Purge) -> Result<(), LogError> {
        let known = self
            .checkpoints
            .get(&purge.through.index)
            .is_some_and(|checkpoint| checkpoint.at == purge.through);
        if purge.through.index > self.last.index && !known {
            return Err(LogError::OutOfOrder {
                expected: self.last.index.next(),
                got: purge.through.index,
            });
        }
        Ok(())
    }

    /// Moves the start.
    pub fn purge(&mut self, purge: &Purge) {
        if purge.through.index > self.last.index {
            let next_offset = self
                .checkpoints
                .get(&purge.through.index)
                .map_or(self.offset_end, |checkpoint| checkpoint.next_offset);
            self.entries.clear();
            self.cuts.clear();
            self.active_bytes = 0;
            self.purged = purge.through;
            self.last = purge.through;
            self.durable = purge.through.index;
            self.offset_end = next_offset;
            self.generation += 1;
        } else if purge.through.index > self.purged.index {
            self.purged = purge.through;
        }
        self.offset_start = self.offset_start.max(purge.offset_start).min(self.offset_end);
        while let Some(entry) = self.entries.front() {
            if entry.id.index > self.purged.index || entry.end_offset() > self.offset_start {
                break;
            }
            self.entries.pop_front();
        }
        self.active_bytes = self.count_active_bytes();
        let newest_covered = self.checkpoints.range(..=self.purged.index).next_back();
        if let Some(keep_from) = newest_covered.map(|(index, _)| *index) {
            self.checkpoints = self.checkpoints.split_off(&keep_from);
        }
    }

    /// Whether term and vote may be stored.
    ///
    /// # Errors
    /// [`LogError::TermRegression`].
    pub fn check_hard_state(&self, state: &HardState) -> Result<(), LogError> {
        if state.term < self.hard_state.term {
            return Err(LogError::TermRegression {
                current: self.hard_state.term,
                got: state.term,
            });
        }
        Ok(())
    }

    /// Stores term and vote.
    pub const fn set_hard_state(&mut self, state: HardState) {
        self.hard_state = state;
    }

    /// Stores a checkpoint.
    pub fn set_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.insert(checkpoint.at.index, checkpoint);
    }

    /// Notes how far the log is committed.
    pub fn set_commit_hint(&mut self, index: LogIndex) {
        self.commit_hint = self.commit_hint.max(index.min(self.last.index));
    }

    /// Ends the active segment where `now` is set, and sets the policy.
    pub fn roll(&mut self, policy: SegmentPolicy, now: bool) {
        self.policy = policy;
        if now {
            self.cut();
        }
    }
}

/// What a crash may leave: the parts of states of different moments.
impl GroupModel {
    /// This log with the start that `other` has; `other` is an earlier or a later state of the same group.
    #[must_use]
    pub fn with_start_of(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        let later = other.purged.index > self.purged.index || other.offset_start > self.offset_start;
        if later {
            let checkpoints = std::mem::take(&mut merged.checkpoints);
            merged.purge(&Purge {
                through: other.purged,
                offset_start: other.offset_start,
            });
            merged.checkpoints = checkpoints;
        } else {
            let first = self
                .entries
                .front()
                .map_or_else(|| self.last.index.next(), |entry| entry.id.index);
            let older = other.entries.iter().filter(|entry| entry.id.index < first);
            merged.entries = older.chain(&self.entries).cloned().collect();
            merged.purged = other.purged;
            merged.offset_start = other.offset_start;
        }
        merged
    }

    /// The checkpoints that are there, whatever was.
    pub fn replace_checkpoints(&mut self, checkpoints: Vec<Checkpoint>) {
        self.checkpoints = checkpoints
            .into_iter()
            .map(|checkpoint| (checkpoint.at.index, checkpoint))
            .collect();
    }

    /// The hint as it is, which may be lower than what was given.
    pub const fn reset_commit_hint(&mut self, index: LogIndex) {
        self.commit_hint = index;
    }
}

/// What only broken stores do.
impl GroupModel {
    pub(crate) const fn move_offset_end(&mut self, to: Offset) {
        self.offset_end = to;
    }

    pub(crate) fn drop_purged(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.id.index <= self.purged.index)
        {
            self.entries.pop_front();
        }
    }

    pub(crate) const fn move_purged_back(&mut self, to: LogId) {
        self.purged = to;
    }

    /// Empty after `last`, with `offset` the next.
    pub(crate) fn restart(&mut self, last: LogId, offset: Offset) {
        *self = Self {
            purged: last,
            last,
            offset_start: offset,
            offset_end: offset,
            ..Self::new(self.policy)
        };
    }

    /// Everything that is kept, also what can be read by offset alone.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) const fn policy(&self) -> SegmentPolicy {
        self.policy
    }

    /// Whether a segment ends after this entry.
    pub(crate) fn is_cut_after(&self, index: LogIndex) -> bool {
        self.cuts.contains(&index)
    }

    pub(crate) fn drop_checkpoints(&mut self, through: LogIndex) {
        self.checkpoints = self.checkpoints.split_off(&through.next());
    }
}
