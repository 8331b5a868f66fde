//! What callers hold of a replica.

use super::change;
use super::replica::Replica;
use super::state::Draft;
use chronik_core::consensus::{
    ConsensusError, ConsensusGroup, GroupStatus, Maintenance, Matched, MembershipChange, Progress,
};
use chronik_core::proposal::ProposeError;
use chronik_core::{BoxFuture, LogId, LogIndex, Proposal, ProposalHandle, ReplicaId, Ticket, Watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A replica with the queue of its proposals.
#[derive(Debug)]
pub(super) struct AsyncRaftGroup {
    pub(super) replica: Arc<Replica>,
    pub(super) queue: async_channel::Sender<Draft>,
}

impl ConsensusGroup for AsyncRaftGroup {
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError> {
        self.replica.propose(&self.queue, proposal)
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        Box::pin(Arc::clone(&self.replica).read_barrier())
    }

    fn watch(&self) -> Watch<Progress> {
        self.replica.progress.clone()
    }

    fn status(&self) -> GroupStatus {
        let durable = self.replica.reader.state().durable;
        let now = self.replica.now();
        let state = self.replica.state();
        let mut matched = BTreeMap::new();
        if state.is_leader() {
            let own = Matched {
                index: durable,
                silent_for: Duration::ZERO,
            };
            matched.insert(state.me.replica, own);
            let newest = state.newest();
            let members = newest
                .voters
                .iter()
                .chain(&newest.outgoing_voters)
                .chain(&newest.learners);
            for member in members {
                if let Some(peer) = state.peers.get(&member.replica) {
                    let known = Matched {
                        index: peer.confirmed,
                        silent_for: now.saturating_sub(peer.answered),
                    };
                    matched.insert(member.replica, known);
                }
            }
        }
        GroupStatus {
            group: self.replica.group,
            replica: state.me,
            progress: state.progress(),
            membership: state.newest().clone(),
            matched,
        }
    }

    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'static, Result<LogId, ConsensusError>> {
        Box::pin(change::run(Arc::clone(&self.replica), self.queue.clone(), change))
    }

    fn transfer_leadership(&self, to: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>> {
        let answer = if self.replica.state().is_leader() && to == self.replica.me.replica {
            Ok(())
        } else {
            Err(change::unsupported("a leadership transfer"))
        };
        Box::pin(std::future::ready(answer))
    }

    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        self.replica.maintain(maintenance)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.queue.close();
        Box::pin(Arc::clone(&self.replica).close())
    }
}
