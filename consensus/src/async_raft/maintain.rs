//! Upkeep of the log: checkpoints with the membership in them, and purges that leave what replicas need.

use super::replica::Replica;
use crate::membership::encode_membership;
use chronik_core::consensus::{ConsensusError, Maintenance};
use chronik_core::env::DiskLane;
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{LogError, LogIndex, Ticket};
use std::sync::Arc;

impl Replica {
    pub(super) fn maintain(self: &Arc<Self>, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        if self.state().stopped {
            return Err(ConsensusError::Closed);
        }
        match maintenance {
            Maintenance::Purge(purge) => self.purge(purge),
            Maintenance::Checkpoint(checkpoint) => self.save_checkpoint(checkpoint),
            Maintenance::Roll { policy, now } => {
                self.write(|writer| writer.roll(policy, now))?;
                Ok(Ticket::resolved(Ok(())))
            }
        }
    }

    /// Stores a checkpoint with the membership as of its entry. One from before what is known of memberships is refused: who
    /// begins with another one may count the wrong votes.
    fn save_checkpoint(&self, mut checkpoint: Checkpoint) -> Result<Ticket, ConsensusError> {
        let at = checkpoint.at;
        let (membership, first) = {
            let state = self.state();
            let first = state.memberships.keys().next().copied();
            (state.membership_at(at.index).map(encode_membership), first)
        };
        let Some(membership) = membership else {
            let first = first.unwrap_or_default();
            return Ok(Ticket::resolved(Err(LogError::Compacted { first })));
        };
        checkpoint.consensus = membership.into();
        let ticket = self.write(|writer| writer.save_checkpoint(checkpoint))?;
        self.state().checkpoints.insert(at.index, at);
        Ok(ticket)
    }

    /// Purges what all members hold, to a checkpoint, so that a restart has a state to begin with.
    fn purge(&self, purge: Purge) -> Result<Ticket, ConsensusError> {
        let log = self.reader.state();
        let purged = log.purged;
        let leads = self.state().leads;
        let floor = if leads { self.floor() } else { self.state().floor };
        // What a quorum of others has can be committed before it is durable here.
        let commit = self.state().commit;
        let upto = purge.through.index.min(floor).min(commit).min(log.durable);
        // Of those that were stored before the group was opened, the newest alone is known.
        let stored = self.reader.checkpoint(upto)?;
        let mut state = self.state();
        state
            .checkpoints
            .extend(stored.map(|checkpoint| (checkpoint.at.index, checkpoint.at)));
        let through = state.checkpoints.range(..=upto).next_back().map(|(_, at)| *at);
        let through = through.filter(|at| at.index > purged.index).unwrap_or(purged);
        state.checkpoints = state.checkpoints.split_off(&through.index);
        if let Some(base) = state.membership_at(through.index).cloned() {
            let mut kept = state.memberships.split_off(&through.index.next());
            kept.insert(through.index, base);
            state.memberships = kept;
        }
        drop(state);
        let purge = Purge {
            through,
            offset_start: purge.offset_start,
        };
        Ok(self.write(|writer| writer.purge(purge))?)
    }

    /// The newest checkpoint at or below `index`; it may lie on disk.
    pub(super) async fn read_checkpoint(&self, index: LogIndex) -> Option<Checkpoint> {
        let (sender, receiver) = async_channel::bounded(1);
        let reader = Arc::clone(&self.reader);
        let job = move || drop(sender.try_send(reader.checkpoint(index)));
        self.shared.env.disk.submit(DiskLane::Read, Box::new(job));
        receiver.recv().await.ok()?.ok()?
    }
}
