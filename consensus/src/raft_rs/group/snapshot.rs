//! Replicas that need purged entries: the leader sends the checkpoint at its purge point, the other starts its log
//! there.

use super::{Context, Group};
use crate::membership::decode_membership;
use crate::raft_rs::counters::count;
use crate::raft_rs::inbox::{Input, run_fetch};
use crate::raft_rs::{conf, wire};
use chronik_core::env::DiskLane;
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{Entry, LogError, LogIndex, ReplicaId, Ticket};
use raft::ProgressState;
use raft::eraftpb::{self, MessageType};
use std::sync::Arc;

impl Group {
    /// A leader's checkpoint takes the place of the log. Nothing that may be committed is removed before it is
    /// durable: entries go first only where they contradict it (LS-TRN-07, CS-LOG-07).
    pub(super) fn install(
        &mut self,
        context: &Context,
        snapshot: &eraftpb::Snapshot,
    ) -> Result<Ticket, LogError> {
        let checkpoint = wire::checkpoint_of(snapshot).expect("a snapshot is checked when it arrives");
        let at = checkpoint.at;
        let membership =
            decode_membership(&checkpoint.consensus).expect("a snapshot is checked when it arrives");
        if self.raw.store().last() >= at.index {
            self.truncate(at.index)?;
        }
        let next_offset = checkpoint.next_offset;
        drop(self.writer.save_checkpoint(checkpoint)?);
        let ticket = self.writer.purge(Purge {
            through: at,
            offset_start: next_offset,
        })?;
        let mut known = conf::conf_state(&membership);
        self.raw.mut_store().purged_through(at);
        self.log_end = next_offset;
        self.learn_nodes(&membership);
        self.pending.clear();
        self.history = vec![(at.index, membership.clone())];
        self.checkpoints = [(at.index, at)].into();
        self.applied = membership;
        let own = self.replica;
        let everybody = [
            known.take_voters(),
            known.take_voters_outgoing(),
            known.take_learners(),
            known.take_learners_next(),
        ];
        if !everybody.iter().any(|ids| ids.contains(&own.replica.0)) {
            // As raft-rs was told when the snapshot arrived.
            self.applied.learners.push(own);
        }
        self.changes.founded = true;
        self.shown.set_membership(self.newest());
        count(&context.counters.checkpoints_installed, 1);
        log::info!(
            "event=checkpoint_installed group={} replica={} at={at}",
            self.to.group,
            own.replica
        );
        Ok(ticket)
    }

    /// Starts the reads that raft-rs waits for, within the engine's bound.
    pub(super) fn start_reads(&mut self, context: &mut Context) -> Result<(), LogError> {
        if let Some(error) = self.raw.mut_store().take_failure() {
            return Err(error);
        }
        while context.reads_left > 0 {
            let Some(wanted) = self.raw.mut_store().next_wanted() else {
                break;
            };
            context.reads_left -= 1;
            let task = run_fetch(context.inbox.clone(), self.to, wanted);
            context.env.spawn.spawn("consensus-read", Box::pin(task));
        }
        let wanted = self.raw.mut_store().take_checkpoint_wanted();
        if !wanted.is_empty() && !self.reading_checkpoint {
            self.reading_checkpoint = true;
            self.read_checkpoint(context);
        }
        self.checkpoint_for.extend(wanted);
        Ok(())
    }

    /// Whether reads wait for others to end.
    pub(in crate::raft_rs) fn waits_to_read(&self) -> bool {
        self.raw.store().has_wanted()
    }

    fn read_checkpoint(&self, context: &Context) {
        let reader = Arc::clone(self.raw.store().reader());
        let (inbox, to) = (context.inbox.clone(), self.to);
        let job = move || {
            let result = reader.checkpoint(reader.state().purged.index);
            inbox.push(Input::CheckpointRead { to, result });
        };
        context.env.disk.submit(DiskLane::Read, Box::new(job));
    }

    /// Entries for a replica that lags behind were read.
    pub(in crate::raft_rs) fn fetched(
        &mut self,
        low: LogIndex,
        generation: u64,
        result: Result<Vec<Entry>, LogError>,
    ) {
        for context in self.raw.mut_store().fetched(low, generation, result) {
            self.raw.on_entries_fetched(context);
        }
    }

    /// The checkpoint at the purge point was read.
    pub(in crate::raft_rs) fn checkpoint_read(&mut self, result: Result<Option<Checkpoint>, LogError>) {
        self.reading_checkpoint = false;
        let purged = self.raw.store().purged();
        let waiting = std::mem::take(&mut self.checkpoint_for);
        let usable = match &result {
            Ok(Some(checkpoint)) => {
                checkpoint.at == purged && decode_membership(&checkpoint.consensus).is_some()
            }
            _ => false,
        };
        let Ok(Some(checkpoint)) = result else {
            log::error!("event=checkpoint_missing group={} purged={purged}", self.to.group);
            return;
        };
        if !usable {
            log::error!(
                "event=checkpoint_unusable group={} purged={purged} at={}",
                self.to.group,
                checkpoint.at
            );
            return;
        }
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.mut_metadata().index = checkpoint.at.index.0;
        snapshot.mut_metadata().term = checkpoint.at.term.0;
        snapshot.data = wire::checkpoint_data(&checkpoint);
        self.raw.mut_store().offer_snapshot(Some(snapshot));
        if self.is_leader() {
            for replica in waiting {
                if self.raw.raft.prs().get(replica.0).is_some() {
                    self.raw.raft.send_append(replica.0);
                }
            }
        }
        self.raw.mut_store().offer_snapshot(None);
    }

    /// A checkpoint that was not answered in time is sent again when the replica is heard. An answer to what was sent
    /// before the checkpoint says nothing of it: raft-rs waits for it until it is told of its end.
    pub(super) fn expire_snapshots(&mut self, context: &Context) {
        let prs = self.raw.raft.prs();
        self.snapshots_sent.retain(|replica, _| {
            let progress = prs.get(replica.0);
            progress.is_some_and(|progress| progress.state == ProgressState::Snapshot)
        });
        let patience = context.options.answer_timeout;
        let late: Vec<ReplicaId> = self
            .snapshots_sent
            .iter()
            .filter(|(_, sent_at)| **sent_at + patience <= context.now)
            .map(|(replica, _)| *replica)
            .collect();
        for replica in late {
            self.lost(replica, MessageType::MsgSnapshot);
        }
    }
}
