//! S9, S10: checkpoints of a leader, for a replica that needs entries which are gone.
//!
//! The crate's snapshots go back, and mix the streams of two leaders. Ours come whole, in one message, and one that is
//! not ahead of the log changes nothing. The crate starts anew on the log that results.

use super::counters::count;
use super::open;
use super::replica::Replica;
use super::wire::AppendAnswer;
use crate::membership::decode_membership;
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{LogError, LogIndex, ReplicaId, Term};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Replica {
    /// A leader's checkpoint.
    pub(super) async fn on_install(
        self: &Arc<Self>,
        from: ReplicaId,
        term: Term,
        checkpoint: Checkpoint,
    ) -> Option<AppendAnswer> {
        let mine = self.state().hard.term;
        let (at, commit) = (checkpoint.at, self.state().commit);
        let answer = |term, success, confirmed| AppendAnswer {
            term,
            success,
            confirmed,
            conflict: None,
        };
        if term < mine {
            return Some(answer(mine, false, LogIndex(0)));
        }
        if at.index <= commit {
            return Some(answer(term, true, at.index));
        }
        let membership = decode_membership(&checkpoint.consensus)?;
        if self.last().index >= at.index && self.term_at(at.index) == Some(at.term) {
            return Some(answer(term, true, at.index.min(self.reader.state().durable)));
        }
        self.stop_crate().await;
        let restarted = match self.replace_log(checkpoint).await {
            Ok(()) => {
                {
                    let mut state = self.state();
                    state.learn_members(&membership);
                    state.memberships = BTreeMap::from([(at.index, membership)]);
                    state.checkpoints = BTreeMap::from([(at.index, at)]);
                    state.leader = Some(from);
                    self.commit_to(&mut state, at.index);
                }
                count(&self.counters().checkpoints_installed, 1);
                open::start(self).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = restarted {
            self.stop_for(&error);
            return None;
        }
        // The next append of that leader brings the term to the crate.
        Some(answer(term, true, at.index))
    }

    /// The log becomes empty after the checkpoint.
    async fn replace_log(&self, checkpoint: Checkpoint) -> Result<(), LogError> {
        let log = self.reader.state();
        let purge = Purge {
            through: checkpoint.at,
            offset_start: checkpoint.next_offset,
        };
        if log.last.index > log.purged.index {
            let commit = self.state().commit;
            // What is not committed here contradicts the checkpoint, or is before it.
            self.write(|writer| writer.truncate_from(commit.next()))?.await?;
        }
        self.write(|writer| writer.save_checkpoint(checkpoint))?.await?;
        self.write(|writer| writer.purge(purge))?.await
    }
}
