//! L9: a leader that no quorum answers leads no longer.
//!
//! The crate stays leader for ever. The fence closes when the requests that a quorum answered were sent too long ago:
//! proposals and reads are refused, and the leader's messages are marked, so that followers do not let them hold back
//! an election. It opens again when a quorum answers in the same term.

use super::counters::count;
use super::replica::Replica;
use super::state::State;
use chronik_core::consensus::Member;
use std::sync::Arc;
use std::time::Duration;

impl Replica {
    /// Closes or opens the fence.
    pub(super) fn check_quorum(&self) {
        if !self.guards().l9_check_quorum {
            return;
        }
        let now = self.now();
        let mut state = self.state();
        if !state.leads || state.stopped {
            return;
        }
        let removed = !state.is_voter() && state.newest_at() <= state.commit;
        let fenced = removed || !self.quorum_answers(&state, now);
        if fenced == state.fenced {
            return;
        }
        state.fenced = fenced;
        if fenced {
            count(&self.counters().guard_fenced, 1);
        }
        log::info!(
            "event=leader_fence group={} replica={} term={} closed={fenced}",
            self.group,
            self.me.replica,
            state.hard.term
        );
        self.show(&state);
    }

    fn quorum_answers(&self, state: &State, now: Duration) -> bool {
        let limit = self.options().election_min;
        let answers = |voter: &&Member| {
            voter.replica == state.me.replica
                || state
                    .peers
                    .get(&voter.replica)
                    .is_some_and(|peer| now.saturating_sub(peer.answered) < limit)
        };
        let newest = state.newest();
        [&newest.voters, &newest.outgoing_voters]
            .into_iter()
            .filter(|voters| !voters.is_empty())
            .all(|voters| voters.iter().filter(answers).count() > voters.len() / 2)
    }

    /// Looks at the fence as time goes by, until the replica ends.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let pause = self.options().heartbeat / 2;
        loop {
            let ended = self.ended.listen();
            if self.state().stopped {
                return;
            }
            futures_lite::future::or(self.sleep(pause), ended).await;
            self.check_quorum();
        }
    }

    /// Advances as writes become durable, until the replica ends.
    pub(super) async fn follow_disk(self: Arc<Self>) {
        loop {
            let synced = self.synced.listen();
            if self.state().stopped {
                return;
            }
            self.advance();
            synced.await;
        }
    }
}
