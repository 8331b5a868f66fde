//! Memberships take effect when their entries are committed and durable here.

use super::{Context, Group};
use crate::raft_rs::conf;
use chronik_core::{LogError, LogIndex};
use raft::eraftpb::{Entry, EntryType};

impl Group {
    /// raft-rs hands out committed entries once; only memberships mean something to the engine.
    pub(super) fn apply_committed(&mut self, context: &Context, committed: &[Entry]) -> Result<(), LogError> {
        let Some(last) = committed.last() else {
            return Ok(());
        };
        for entry in committed {
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                self.apply_membership(context, LogIndex(entry.index));
            } else if self.pending.contains_key(&LogIndex(entry.index)) {
                // The founding membership, which raft-rs knows already.
                self.apply_membership(context, LogIndex(entry.index));
            }
        }
        self.raw.advance_apply_to(last.index);
        Ok(())
    }

    fn apply_membership(&mut self, context: &Context, index: LogIndex) {
        let Some(membership) = self.pending.remove(&index) else {
            return;
        };
        for step in conf::steps(&self.applied, &membership) {
            self.raw
                .apply_conf_change(&step)
                .expect("each step of a membership is valid after the one before");
        }
        let wanted = conf::conf_state(&membership);
        let mut voters: Vec<u64> = self.raw.raft.prs().conf().voters().ids().iter().collect();
        let mut expected: Vec<u64> = wanted.get_voters().to_vec();
        expected.extend(wanted.get_voters_outgoing());
        voters.sort_unstable();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(voters, expected, "raft-rs counts the voters that the log names");
        log::info!(
            "event=membership group={} replica={} index={index} voters={:?} outgoing={:?} learners={:?}",
            self.to.group,
            self.replica.replica,
            wanted.get_voters(),
            wanted.get_voters_outgoing(),
            wanted.get_learners()
        );
        self.applied = membership.clone();
        self.history.push((index, membership.clone()));
        if self.is_leader() {
            for (id, _) in self.raw.raft.prs().iter() {
                let replica = chronik_core::ReplicaId(*id);
                self.answered.entry(replica).or_insert(context.now);
            }
        }
        self.shown.set_membership(self.newest());
        self.change_applied(index, &membership);
    }
}
