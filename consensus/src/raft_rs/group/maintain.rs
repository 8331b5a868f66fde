//! Upkeep of the log for the state machine.

use super::{Context, Group};
use crate::membership::encode_membership;
use bytes::Bytes;
use chronik_core::consensus::{Maintenance, Membership};
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::ticket::TicketSender;
use chronik_core::{LogError, LogId, LogIndex, Ticket};

impl Group {
    /// Does upkeep; a refusal is the caller's to hear, a poisoned log shows with the next write.
    pub(in crate::raft_rs) fn maintain(
        &mut self,
        context: &Context,
        maintenance: Maintenance,
        stored: Option<LogId>,
        done: TicketSender,
    ) {
        let result = match maintenance {
            Maintenance::Purge(purge) => self.purge(context, purge, stored),
            Maintenance::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Maintenance::Roll { policy, now } => {
                let rolled = self.writer.roll(policy, now);
                rolled.map(|()| Ticket::resolved(Ok(())))
            }
        };
        match result {
            Ok(ticket) => ticket.on_resolve(move |result| done.resolve(result.clone())),
            Err(error) => done.resolve(Err(error)),
        }
    }

    /// Stores the state machine's checkpoint with the membership as of its entry. One from before what is known of
    /// memberships is refused: who begins with another one may count the wrong votes.
    fn checkpoint(&mut self, mut checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        let at = checkpoint.at;
        let membership = self.membership_at(at.index);
        let Some(membership) = membership else {
            let first = self.history.first().map_or(LogIndex(0), |(from, _)| *from);
            return Err(LogError::Compacted { first });
        };
        checkpoint.consensus = Bytes::from(encode_membership(membership));
        let ticket = self.writer.save_checkpoint(checkpoint)?;
        self.checkpoints.insert(at.index, at);
        Ok(ticket)
    }

    /// The membership as of a committed entry. Those in the log up to there are committed too, also where they are not
    /// durable here and raft-rs has not applied them.
    fn membership_at(&self, index: LogIndex) -> Option<&Membership> {
        let before = self.history.partition_point(|(from, _)| *from <= index);
        let applied = before.checked_sub(1).and_then(|place| self.history.get(place));
        let applied = applied.map(|(_, membership)| membership);
        let in_log = self.pending.range(..=index).next_back();
        let newest = in_log.map(|(_, membership)| membership).or(applied);
        // A replica that waits to be taken up knows none.
        newest.filter(|membership| !membership.voters.is_empty())
    }

    /// Purges to a stored checkpoint at most, so that a replica that needs purged entries can be brought up, and
    /// leaves what a replica that is heard from still needs, within a bound.
    fn purge(&mut self, context: &Context, purge: Purge, stored: Option<LogId>) -> Result<Ticket, LogError> {
        // raft-rs applies what is committed and durable here; a state machine can be ahead of that.
        let applied = LogIndex(self.raw.raft.raft_log.applied);
        let mut through = purge.through.index.min(applied);
        let keep_from = self.last_index().0.saturating_sub(context.options.keep_entries);
        if self.is_leader() {
            for (_, progress) in self.raw.raft.prs().iter() {
                if progress.recent_active {
                    through = through.min(LogIndex(progress.matched.max(keep_from)));
                }
            }
        }
        let purged = self.raw.store().purged();
        self.checkpoints.extend(stored.map(|at| (at.index, at)));
        let to = self.checkpoints.range(..=through).next_back().map(|(_, id)| *id);
        let to: LogId = to.filter(|to| to.index > purged.index).unwrap_or(purged);
        let ticket = self.writer.purge(Purge {
            through: to,
            offset_start: purge.offset_start,
        })?;
        self.raw.mut_store().purged_through(to);
        self.checkpoints = self.checkpoints.split_off(&to.index);
        let covered = self.history.partition_point(|(from, _)| *from <= to.index);
        self.history.drain(..covered.saturating_sub(1));
        Ok(ticket)
    }
}
