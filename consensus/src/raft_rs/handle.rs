//! A group as its users see it.

use super::Shared;
use super::inbox::{Answer, Input, Instance};
use super::limits::Limits;
use super::shown::Shown;
use chronik_core::consensus::{
    ConsensusError, ConsensusGroup, GroupStatus, Maintenance, MembershipChange, Progress, Role,
};
use chronik_core::proposal::ProposeError;
use chronik_core::{
    BoxFuture, EntryKind, LogError, LogId, LogIndex, LogReader, Proposal, ProposalHandle, ReplicaId, Ticket,
    Watch,
};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct RaftGroup {
    pub(super) shared: Arc<Shared>,
    pub(super) to: Instance,
    pub(super) shown: Arc<Shown>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) limits: Arc<Limits>,
}

impl RaftGroup {
    fn check(&self, proposal: &Proposal) -> Result<(), ProposeError> {
        assert!(
            matches!(proposal.kind, EntryKind::Data | EntryKind::Command),
            "only data and commands are proposed, not {:?}",
            proposal.kind
        );
        let progress = self.shown.progress.get();
        let own = self.shown.replica.replica;
        match progress.role {
            Role::Leader => {}
            Role::Stopped => return Err(ProposeError::Closed),
            _ => {
                let leader = progress.leader.filter(|leader| *leader != own);
                return Err(ProposeError::NotLeader { leader });
            }
        }
        let (got_bytes, limit_bytes) = (proposal.payload.len() as u64, self.shared.options.max_entry_bytes);
        if got_bytes > limit_bytes {
            return Err(ProposeError::Log(LogError::TooLarge {
                limit_bytes,
                got_bytes,
            }));
        }
        if (proposal.kind == EntryKind::Data) != (proposal.record_count > 0) {
            // Data occupies offsets, and nothing else does.
            return Err(ProposeError::Log(LogError::OffsetMismatch {
                expected: 0,
                got: 0,
            }));
        }
        Ok(())
    }

    fn ask<T: Send + 'static>(
        &self,
        input: impl FnOnce(Answer<T>) -> Input,
    ) -> BoxFuture<'static, Result<T, ConsensusError>> {
        let (answer, wait) = Answer::pair();
        self.shared.inbox.push(input(answer));
        wait
    }
}

impl ConsensusGroup for RaftGroup {
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError> {
        self.check(&proposal)?;
        let permit = self
            .limits
            .admit(proposal.payload.len() as u64)
            .ok_or(ProposeError::Overloaded)?;
        let (sender, handle) = ProposalHandle::pair();
        self.shared.inbox.push(Input::Propose {
            to: self.to,
            proposal,
            sender,
            permit,
        });
        Ok(handle)
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        self.ask(|answer| Input::ReadBarrier { to: self.to, answer })
    }

    fn watch(&self) -> Watch<Progress> {
        self.shown.progress.clone()
    }

    fn status(&self) -> GroupStatus {
        GroupStatus {
            group: self.shown.group,
            replica: self.shown.replica,
            progress: self.shown.progress.get(),
            membership: self.shown.membership(),
            matched: self
                .shown
                .matched(self.shared.env.clock.now(), &self.shared.heard),
        }
    }

    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'static, Result<LogId, ConsensusError>> {
        self.ask(|answer| Input::Change {
            to: self.to,
            change,
            answer,
        })
    }

    fn transfer_leadership(&self, to: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>> {
        self.ask(|answer| Input::Transfer {
            to: self.to,
            replica: to,
            answer,
        })
    }

    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        if self
            .shown
            .progress
            .with(|progress| progress.role == Role::Stopped)
        {
            return Err(ConsensusError::Closed);
        }
        // Of those that were stored before the group was opened, the engine knows the newest alone, and may not read here.
        let stored = match &maintenance {
            Maintenance::Purge(purge) => self.reader.checkpoint(purge.through.index)?,
            Maintenance::Checkpoint(_) | Maintenance::Roll { .. } => None,
        };
        let (done, ticket) = Ticket::pair();
        self.shared.inbox.push(Input::Maintain {
            to: self.to,
            maintenance: Box::new(maintenance),
            stored: stored.map(|checkpoint| checkpoint.at),
            done,
        });
        Ok(ticket)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let closed = self.ask(|answer| Input::Close { to: self.to, answer });
        Box::pin(async move {
            // An engine that has ended has closed its groups.
            drop(closed.await);
        })
    }
}
