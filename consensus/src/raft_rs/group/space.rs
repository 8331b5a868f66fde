//! A replica whose disk is full.
//!
//! What raft-rs has taken into its memory must be written, and there is no way to give it back. So nothing is taken that
//! would not fit: proposals are refused, appends are left to be sent again, and nobody asks for votes whose first entry as
//! a leader would not fit. Other groups write to the same disk, so that a round's entries may not fit all the same: it is
//! not begun then. The replica is silent, as if it were cut off, and goes on when there is space.

use super::proposals::Fresh;
use super::{Context, Group};
use crate::margin::needed_bytes;
use crate::raft_rs::entry::has_records;
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, LogError, Outcome};
use raft::eraftpb::Entry;

/// What a log writes beside the payload of an entry, at most.
const BESIDE_ENTRY_BYTES: u64 = 512;
/// How much more must be free for something new than for what was taken before.
const MARGIN_BYTES: u64 = 64 << 10;

fn bytes_of(entries: &[Entry]) -> u64 {
    let payload = |entry: &Entry| (entry.data.len() + entry.context.len()) as u64;
    entries
        .iter()
        .map(|entry| payload(entry) + BESIDE_ENTRY_BYTES)
        .sum()
}

/// What decides how much must fit, where records may be among others.
fn kind_of(has_records: bool) -> EntryKind {
    if has_records {
        EntryKind::Data
    } else {
        EntryKind::Command
    }
}

fn refuse(batch: Vec<Fresh>) {
    for fresh in batch {
        let error = ProposeError::Log(LogError::Full);
        fresh.sender.finish(Outcome::NotCommitted(error));
    }
}

impl Group {
    /// Whether these entries fit beside what is not written yet.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(super) fn has_room_for(&mut self, entries: &[Entry]) -> Result<bool, LogError> {
        let kind = kind_of(entries.iter().any(has_records));
        self.has_room(kind, needed_bytes(kind, bytes_of(entries)))
    }

    /// The proposals that fit beside what is not written yet. The others are told that the log is full: all, or those
    /// with records.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(super) fn with_room(&mut self, batch: Vec<Fresh>) -> Result<Vec<Fresh>, LogError> {
        if self.has_room_for_proposals(&batch)? {
            return Ok(batch);
        }
        let (records, commands): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|fresh| fresh.proposal.kind == EntryKind::Data);
        let only_commands = records.is_empty();
        refuse(records);
        if !only_commands && self.has_room_for_proposals(&commands)? {
            return Ok(commands);
        }
        refuse(commands);
        Ok(Vec::new())
    }

    fn has_room_for_proposals(&mut self, batch: &[Fresh]) -> Result<bool, LogError> {
        let payload = |fresh: &Fresh| fresh.proposal.payload.len() as u64;
        let bytes = batch
            .iter()
            .map(|fresh| payload(fresh) + BESIDE_ENTRY_BYTES)
            .sum();
        let kind = kind_of(batch.iter().any(|fresh| fresh.proposal.kind == EntryKind::Data));
        self.has_room(kind, needed_bytes(kind, bytes))
    }

    /// Whether the first entry of a leader would fit.
    pub(super) fn has_room_to_lead(&mut self) -> bool {
        // A log that failed otherwise ends the group at its next write.
        self.has_room(EntryKind::Blank, BESIDE_ENTRY_BYTES)
            .unwrap_or(true)
    }

    /// Whether a change of the membership fits. It may be the way out for a node whose disk is full, so that it gets
    /// what is kept free of proposals.
    pub(super) fn has_room_for_change(&mut self, bytes: u64) -> bool {
        let unwritten = bytes_of(&self.raw.raft.raft_log.unstable.entries);
        // A log that failed otherwise ends the group at its next write.
        self.reserves(EntryKind::Membership, unwritten + bytes + BESIDE_ENTRY_BYTES)
            .unwrap_or(true)
    }

    fn has_room(&mut self, kind: EntryKind, bytes: u64) -> Result<bool, LogError> {
        let unwritten = bytes_of(&self.raw.raft.raft_log.unstable.entries);
        self.reserves(kind, unwritten + bytes + MARGIN_BYTES)
    }

    fn reserves(&mut self, kind: EntryKind, bytes: u64) -> Result<bool, LogError> {
        match self.writer.reserve(kind, bytes) {
            Ok(()) => Ok(true),
            Err(LogError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One tick of a replica that is silent: what waits for it ends in time, and a leader makes way for another, which
    /// would not be elected by those that take it for the leader.
    pub(super) fn starve(&mut self, context: &Context) {
        let raft = &self.raw.raft;
        if self.is_leader() && !raft.prs().conf().voters().is_singleton() {
            let term = raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        self.observe(context);
        self.expire(context.now);
    }

    /// Whether what raft-rs wants to have written fits; where it does not, the replica is silent from now on.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(super) fn next_round_fits(&mut self) -> Result<bool, LogError> {
        let unstable = &self.raw.raft.raft_log.unstable;
        let snapshot = unstable.snapshot.as_ref();
        let of_snapshot = snapshot.map_or(0, |snapshot| {
            snapshot.get_data().len() as u64 + BESIDE_ENTRY_BYTES
        });
        let bytes = bytes_of(&unstable.entries) + of_snapshot;
        // It was taken, so that it matters more than what would be new.
        let fits = bytes == 0 || self.reserves(EntryKind::Blank, bytes)?;
        if fits == self.starved {
            self.starved = !fits;
            log::warn!(
                "event=replica_starved group={} replica={} starved={} reason=\"the disk is full\"",
                self.to.group,
                self.replica.replica,
                self.starved
            );
        }
        Ok(fits)
    }
}
