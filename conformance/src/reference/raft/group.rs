//! The handle of a group: puts requests in the replica's queue.

use super::replica::{Input, Replica, Shown};
use crate::world::locked;
use chronik_core::consensus::{
    ConsensusError, ConsensusGroup, GroupStatus, Maintenance, Member, MembershipChange, Progress, Role,
};
use chronik_core::proposal::ProposeError;
use chronik_core::{BoxFuture, GroupId, LogId, LogIndex, Proposal, ProposalHandle, ReplicaId, Ticket, Watch};
use event_listener::Event;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

/// How much may wait.
const MAX_WAITING: usize = 1000;

/// Where an answer arrives.
pub(super) type Slot<T> = Watch<Option<Result<T, ConsensusError>>>;

#[derive(Default)]
pub(super) struct Queue {
    /// `None` once the replica ended.
    inputs: Mutex<Inputs>,
    pub(super) arrived: Event,
}

#[derive(Default)]
struct Inputs {
    waiting: VecDeque<Input>,
    has_ended: bool,
}

impl Queue {
    /// Queues an input; false, dropping it, once the replica ended.
    pub(super) fn push(&self, input: Input) -> bool {
        {
            let mut inputs = locked(&self.inputs);
            if inputs.has_ended {
                return false;
            }
            inputs.waiting.push_back(input);
        }
        self.arrived.notify(usize::MAX);
        true
    }

    pub(super) fn pop(&self) -> Option<Input> {
        locked(&self.inputs).waiting.pop_front()
    }

    /// The proposals at the front.
    pub(super) fn pop_proposal(&self) -> Option<Input> {
        let mut inputs = locked(&self.inputs);
        match inputs.waiting.front() {
            Some(Input::Propose(..)) => inputs.waiting.pop_front(),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        locked(&self.inputs).waiting.len()
    }

    /// Takes nothing any more; what waits is dropped.
    pub(super) fn end(&self) {
        let left = {
            let mut inputs = locked(&self.inputs);
            inputs.has_ended = true;
            std::mem::take(&mut inputs.waiting)
        };
        drop(left);
    }

    /// Ends the replica and waits for it.
    pub(super) async fn close(&self) {
        let done: Slot<()> = Watch::new(None);
        if self.push(Input::Close(Answer(done.clone()))) {
            done.wait_for(Option::is_some).await;
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.len()).finish()
    }
}

/// Gives an answer; dropped without one, it says that the group is closed.
pub(super) struct Answer<T: Clone>(pub(super) Slot<T>);

impl<T: Clone> Answer<T> {
    pub(super) fn give(self, answer: Result<T, ConsensusError>) {
        put(&self.0, answer);
    }
}

impl<T: Clone> Drop for Answer<T> {
    fn drop(&mut self) {
        put(&self.0, Err(ConsensusError::Closed));
    }
}

fn put<T: Clone>(slot: &Slot<T>, answer: Result<T, ConsensusError>) {
    slot.update(|now| {
        let first = now.is_none();
        if first {
            *now = Some(answer);
        }
        first
    });
}

pub(super) struct Group {
    id: GroupId,
    replica: Member,
    progress: Watch<Progress>,
    shown: Arc<Mutex<Shown>>,
    queue: Arc<Queue>,
}

impl Group {
    pub(super) fn new(replica: &Replica, queue: Arc<Queue>) -> Self {
        Self {
            id: replica.group,
            replica: replica.me,
            progress: replica.progress.clone(),
            shown: Arc::clone(&replica.shown),
            queue,
        }
    }

    fn ask<T: Clone + Send + Sync + 'static>(
        &self,
        input: impl FnOnce(Answer<T>) -> Input,
    ) -> BoxFuture<'static, Result<T, ConsensusError>> {
        let slot: Slot<T> = Watch::new(None);
        self.queue.push(input(Answer(slot.clone())));
        Box::pin(async move {
            let answer = slot.wait_for(Option::is_some).await;
            answer.unwrap_or(Err(ConsensusError::Closed))
        })
    }
}

impl ConsensusGroup for Group {
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError> {
        let progress = self.progress.get();
        match progress.role {
            Role::Leader => {}
            Role::Stopped => return Err(ProposeError::Closed),
            _ => {
                let leader = progress.leader;
                return Err(ProposeError::NotLeader { leader });
            }
        }
        if self.queue.len() >= MAX_WAITING {
            return Err(ProposeError::Overloaded);
        }
        let (sender, handle) = ProposalHandle::pair();
        if self.queue.push(Input::Propose(proposal, sender)) {
            Ok(handle)
        } else {
            Err(ProposeError::Closed)
        }
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        self.ask(Input::Barrier)
    }

    fn watch(&self) -> Watch<Progress> {
        self.progress.clone()
    }

    fn status(&self) -> GroupStatus {
        let shown = locked(&self.shown).clone();
        GroupStatus {
            group: self.id,
            replica: self.replica,
            progress: self.progress.get(),
            membership: shown.membership,
            matched: shown.matched,
        }
    }

    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'static, Result<LogId, ConsensusError>> {
        self.ask(|answer| Input::Change(change, answer))
    }

    fn transfer_leadership(&self, to: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>> {
        self.ask(|answer| Input::Transfer(to, answer))
    }

    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        let (sender, ticket) = Ticket::pair();
        if self.queue.push(Input::Maintain(maintenance, sender)) {
            Ok(ticket)
        } else {
            Err(ConsensusError::Closed)
        }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let queue = Arc::clone(&self.queue);
        Box::pin(async move { queue.close().await })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
