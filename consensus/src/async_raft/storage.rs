//! The crate's storage: our log, and the hooks through which we learn what the crate does.
//!
//! A hook answers once what it did is durable, but for the leader's own appends: those are counted when they are
//! (`commit.rs`). Any error ends the crate's instance, so that a hook only fails when the replica must stop.

use super::counters::count;
use super::descriptor::{Applied, CrateEntry, Descriptor, crate_config, crate_entry};
use super::replica::Replica;
use anyhow::{Result, anyhow, bail};
use async_raft::RaftStorage;
use async_raft::raft::MembershipConfig;
use async_raft::storage::{CurrentSnapshotData, HardState as CrateHardState, InitialState};
use async_trait::async_trait;
use chronik_core::log_store::HardState;
use chronik_core::{Entry, EntryKind, LogId, LogIndex, ReplicaId, Term};
use std::io::Cursor;
use std::sync::Arc;

/// The crate's view of a replica's log.
pub(super) struct CrateStorage(pub(super) Arc<Replica>);

/// The crate asks for what it must not need.
#[derive(Debug)]
pub(super) struct NotUsed;

impl std::fmt::Display for NotUsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the crate's snapshots are not used")
    }
}

impl std::error::Error for NotUsed {}

impl CrateStorage {
    fn membership(&self) -> MembershipConfig {
        let state = self.0.state();
        crate_config(state.newest())
    }

    /// A replica that is in no membership yet: the crate takes {self} with an empty log for one that waits, and would
    /// lead alone with any other log.
    fn initial_membership(&self, last: LogId) -> MembershipConfig {
        let known = self.membership();
        if !known.members.is_empty() {
            return known;
        }
        let only = if last.index == LogIndex(0) {
            self.0.me.replica.0
        } else {
            0
        };
        MembershipConfig::new_initial(only)
    }

    /// Refuses what an instance of the crate asks for after its replica has ended.
    fn check_open(&self) -> Result<()> {
        if self.0.state().stopped {
            bail!("the replica has ended");
        }
        Ok(())
    }

    /// Entries of the message that the crate is being given, by the numbers that the crate has of them.
    fn take_incoming(&self, entries: &[CrateEntry]) -> Result<Vec<Entry>> {
        let mut state = self.0.state();
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = LogId::new(entry.term, entry.index);
            match state.incoming.remove(&id.index) {
                Some(found) if found.id == id => taken.push(found),
                _ => bail!("the crate appends {id}, which no message brought"),
            }
        }
        Ok(taken)
    }

    async fn append_as_follower(&self, entries: Vec<Entry>) -> Result<()> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let replica = &self.0;
        // Entries that follow nothing are not compared by the crate: what they replace goes first.
        if first.id.index <= replica.last().index {
            self.truncate(first.id.index).await?;
        }
        let ticket = replica.write(|writer| {
            writer.commit_hint(replica.state().commit);
            writer.append(&entries)
        })?;
        {
            let mut state = replica.state();
            for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
                replica.note_membership(&mut state, entry.id.index, &entry.payload)?;
            }
            replica.show(&state);
        }
        count(&replica.counters().crate_follower_appends, entries.len() as u64);
        ticket.await?;
        Ok(())
    }

    async fn truncate(&self, from: LogIndex) -> Result<()> {
        let replica = &self.0;
        {
            let state = replica.state();
            if from <= state.commit && replica.guards().s6_keep_held_entries {
                count(&replica.counters().guard_committed_contradictions, 1);
                bail!(
                    "the crate would truncate from {from}, and {} is committed",
                    state.commit
                );
            }
        }
        let ticket = replica.write(|writer| writer.truncate_from(from))?;
        count(&replica.counters().crate_truncations, 1);
        {
            let mut state = replica.state();
            let mut kept = state.memberships.split_off(&from);
            if state.memberships.is_empty() {
                // What the log was founded with stays, whatever became of its entry.
                if let Some(first) = kept.pop_first() {
                    state.memberships.insert(LogIndex(0), first.1);
                }
            }
            state.unsynced.retain(|id| id.index < from);
            state.verified = (state.verified.0, state.verified.1.min(LogIndex(from.0 - 1)));
            replica.show(&state);
        }
        ticket.await?;
        Ok(())
    }

    async fn save(&self, hard: HardState) -> Result<()> {
        let replica = &self.0;
        let before = replica.state().hard;
        if hard == before {
            return Ok(());
        }
        if hard.term < before.term {
            bail!("the term would fall from {} to {}", before.term, hard.term);
        }
        replica.write(|writer| writer.save_hard_state(hard))?.await?;
        let own = hard.vote == Some(replica.me.replica);
        if own {
            count(&replica.counters().crate_campaigns, 1);
        } else if hard.vote.is_some() {
            count(&replica.counters().crate_votes, 1);
        }
        let mut state = replica.state();
        if hard.term > before.term {
            state.lead_no_more();
            state.leader = None;
        }
        state.hard = hard;
        replica.show(&state);
        Ok(())
    }
}

#[async_trait]
impl RaftStorage<Descriptor, Applied> for CrateStorage {
    type Snapshot = Cursor<Vec<u8>>;
    type ShutdownError = NotUsed;

    async fn get_membership_config(&self) -> Result<MembershipConfig> {
        Ok(self.membership())
    }

    async fn get_initial_state(&self) -> Result<InitialState> {
        let last = self.0.last();
        let (hard, commit) = {
            let state = self.0.state();
            (state.hard, state.commit)
        };
        Ok(InitialState {
            last_log_index: last.index.0,
            last_log_term: last.term.0,
            last_applied_log: commit.0,
            hard_state: CrateHardState {
                current_term: hard.term.0,
                voted_for: hard.vote.map(|vote| vote.0),
            },
            membership: self.initial_membership(last),
        })
    }

    async fn save_hard_state(&self, hard: &CrateHardState) -> Result<()> {
        self.check_open()?;
        let saved = HardState {
            term: Term(hard.current_term),
            vote: hard.voted_for.map(ReplicaId),
        };
        self.save(saved)
            .await
            .inspect_err(|error| self.0.stop_for(&error.to_string()))
    }

    async fn get_log_entries(&self, start: u64, stop: u64) -> Result<Vec<CrateEntry>> {
        let log = self.0.reader.state();
        // The entry at the purge point is known by its id, and may come before entries of a message.
        let first = start.max(log.purged.index.0).max(1);
        let end = stop.min(log.last.index.0 + 1);
        let state = self.0.state();
        let entries = (first..end).map_while(|index| {
            let index = LogIndex(index);
            let term = self.0.term_at(index)?;
            Some(crate_entry(LogId { term, index }, state.memberships.get(&index)))
        });
        Ok(entries.collect())
    }

    async fn delete_logs_from(&self, start: u64, stop: Option<u64>) -> Result<()> {
        self.check_open()?;
        let done = match stop {
            Some(_) => Err(anyhow!("the crate deletes from the middle of the log")),
            None => self.truncate(LogIndex(start)).await,
        };
        done.inspect_err(|error| self.0.stop_for(&error.to_string()))
    }

    async fn append_entry_to_log(&self, entry: &CrateEntry) -> Result<()> {
        self.check_open()?;
        let done = self.0.append_as_leader(entry).await;
        done.inspect_err(|error| self.0.stop_for(&error.to_string()))
    }

    async fn replicate_to_log(&self, entries: &[CrateEntry]) -> Result<()> {
        self.check_open()?;
        let taken = self.take_incoming(entries);
        let done = match taken {
            Ok(taken) => self.append_as_follower(taken).await,
            Err(error) => Err(error),
        };
        done.inspect_err(|error| self.0.stop_for(&error.to_string()))
    }

    async fn apply_entry_to_state_machine(&self, index: &u64, _: &Descriptor) -> Result<Applied> {
        self.0.crate_applies(std::iter::once(LogIndex(*index)));
        Ok(Applied)
    }

    async fn replicate_to_state_machine(&self, entries: &[(&u64, &Descriptor)]) -> Result<()> {
        self.0
            .crate_applies(entries.iter().map(|(index, _)| LogIndex(**index)));
        Ok(())
    }

    async fn do_log_compaction(&self) -> Result<CurrentSnapshotData<Self::Snapshot>> {
        Err(NotUsed.into())
    }

    async fn create_snapshot(&self) -> Result<(String, Box<Self::Snapshot>)> {
        Err(NotUsed.into())
    }

    async fn finalize_snapshot_installation(
        &self,
        _: u64,
        _: u64,
        _: Option<u64>,
        _: String,
        _: Box<Self::Snapshot>,
    ) -> Result<()> {
        Err(NotUsed.into())
    }

    async fn get_current_snapshot(&self) -> Result<Option<CurrentSnapshotData<Self::Snapshot>>> {
        Ok(None)
    }
}
