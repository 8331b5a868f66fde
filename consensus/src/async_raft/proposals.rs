//! Proposals on their way into the crate.

use super::counters::count;
use super::descriptor::Descriptor;
use super::replica::Replica;
use super::state::Draft;
use crate::margin::needed_bytes;
use async_raft::ClientWriteError;
use async_raft::raft::ClientWriteRequest;
use chronik_core::consensus::Membership;
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, LogError, LogIndex, Proposal, ProposalHandle, Term};
use futures_lite::future::poll_once;
use std::sync::Arc;

impl Replica {
    /// Takes a proposal, if this replica leads and has room.
    pub(super) fn propose(
        &self,
        queue: &async_channel::Sender<Draft>,
        proposal: Proposal,
    ) -> Result<ProposalHandle, ProposeError> {
        assert!(
            matches!(proposal.kind, EntryKind::Data | EntryKind::Command),
            "only data and commands are proposed, not {:?}",
            proposal.kind
        );
        let bytes = proposal.payload.len() as u64;
        let limit_bytes = self.options().max_entry_bytes;
        if bytes > limit_bytes {
            let got_bytes = bytes;
            return Err(ProposeError::Log(LogError::TooLarge {
                limit_bytes,
                got_bytes,
            }));
        }
        let term = self.check_leads()?;
        let permit = self.limits.admit(bytes).ok_or(ProposeError::Overloaded)?;
        let kind = proposal.kind;
        self.write(|writer| writer.reserve(kind, needed_bytes(kind, bytes)))
            .map_err(|error| match error {
                LogError::Closed => ProposeError::Closed,
                error => ProposeError::Log(error),
            })?;
        let (sender, handle) = ProposalHandle::pair();
        let draft = Draft {
            proposal,
            term,
            membership: None,
            sender,
            permit: Some(permit),
        };
        queue.try_send(draft).map_err(|_| ProposeError::Closed)?;
        count(&self.counters().proposals, 1);
        Ok(handle)
    }

    /// The term in which this replica leads.
    fn check_leads(&self) -> Result<Term, ProposeError> {
        let state = self.state();
        if state.stopped {
            Err(ProposeError::Closed)
        } else if state.is_leader() {
            Ok(state.hard.term)
        } else {
            let leader = state.other_leader();
            Err(ProposeError::NotLeader { leader })
        }
    }

    /// A membership of our own making: learners, which the crate keeps in memory only (L13).
    pub(super) fn propose_membership(
        &self,
        queue: &async_channel::Sender<Draft>,
        membership: Membership,
    ) -> Result<ProposalHandle, ProposeError> {
        let payload = crate::membership::encode_membership(&membership);
        let term = self.state().hard.term;
        let (sender, handle) = ProposalHandle::pair();
        let draft = Draft {
            term,
            proposal: Proposal {
                kind: EntryKind::Membership,
                payload: payload.as_slice().into(),
                record_count: 0,
                max_timestamp_ms: -1,
            },
            membership: Some(membership),
            sender,
            permit: None,
        };
        queue.try_send(draft).map_err(|_| ProposeError::Closed)?;
        Ok(handle)
    }

    /// Hands proposals to the crate in the order of the calls (CS-LIN-05), until the replica ends.
    pub(super) async fn hand_in(self: Arc<Self>, queue: async_channel::Receiver<Draft>) {
        while let Ok(draft) = queue.recv().await {
            let Some(raft) = self.raft() else {
                continue;
            };
            let number = {
                let mut state = self.state();
                if state.stopped {
                    continue;
                }
                if !state.is_leader() {
                    let number = state.next_draft;
                    state.drafts.insert(number, draft);
                    state.refuse_draft(number);
                    continue;
                }
                state.next_draft += 1;
                let number = state.next_draft;
                state.drafts.insert(number, draft);
                number
            };
            let replica = Arc::clone(&self);
            let mut write = Box::pin(async move {
                let request = ClientWriteRequest::new(Descriptor { draft: number });
                let result = raft.client_write(request).await;
                replica.crate_answered(number, result.map(|written| LogIndex(written.index)));
            });
            // The first poll puts the request into the crate's queue.
            if poll_once(&mut write).await.is_none() {
                self.shared.island.spawn(write);
            }
        }
    }

    /// The crate's answer to a write. Before the entry is in the log it is certain; afterwards only our own count is.
    fn crate_answered(self: &Arc<Self>, number: u64, result: Result<LogIndex, ClientWriteError<Descriptor>>) {
        let mut state = self.state();
        match result {
            Ok(index) if !self.guards().s1_s2_s3_own_commit => self.commit_to(&mut state, index),
            Ok(_) => {}
            Err(_) => state.refuse_draft(number),
        }
    }
}
