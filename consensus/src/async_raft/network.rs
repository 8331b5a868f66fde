//! The crate's network. Its append call is the signal to replicate; what travels is ours (`exchange.rs`).

use super::counters::count;
use super::descriptor::Descriptor;
use super::replica::Replica;
use super::storage::NotUsed;
use super::wire::{self, Append, Request, Vote};
use anyhow::{Result, anyhow};
use async_raft::RaftNetwork;
use async_raft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ConflictOpt, InstallSnapshotRequest,
    InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use async_trait::async_trait;
use chronik_core::transport::Lane;
use chronik_core::{LogId, LogIndex, ReplicaId, Term};
use futures_lite::future::or;
use std::sync::Arc;
use std::time::Duration;

/// L2: how long the crate waits for a peer that cannot be reached.
const UNREACHABLE: Duration = Duration::from_millis(20);

/// The crate's view of the other replicas.
pub(super) struct CrateNetwork(pub(super) Arc<Replica>);

/// What the crate's stream sees of a peer.
enum Seen {
    /// The stream is of an earlier term, or of an instance that ended: this ends it.
    Over(Term),
    /// The replica is no member: nothing is sent, and the stream is kept quiet.
    Muted,
    /// The append hook has not been called in this term yet.
    Early,
    /// The peer holds what was asked for, or an exchange ended well.
    Done,
    /// An exchange failed.
    Failed,
    /// Wait.
    Wait(event_listener::EventListener),
}

fn success(term: Term) -> AppendEntriesResponse {
    AppendEntriesResponse {
        term: term.0,
        success: true,
        conflict_opt: None,
    }
}

/// The answer that ends a stream of the crate.
fn over(term: Term) -> AppendEntriesResponse {
    AppendEntriesResponse {
        term: term.0,
        success: false,
        conflict_opt: None,
    }
}

impl CrateNetwork {
    /// Looks at the peer, and starts an exchange where `start` says so.
    fn look(&self, to: ReplicaId, term: Term, upto: LogIndex, rounds: &mut Option<u64>) -> Seen {
        let mut state = self.0.state();
        if state.stopped {
            return Seen::Over(Term(u64::MAX));
        }
        if state.hard.term > term {
            return Seen::Over(state.hard.term);
        }
        if !state.leads_term(term) {
            return Seen::Early;
        }
        let newest = state.newest();
        let is_member = [&newest.voters, &newest.outgoing_voters, &newest.learners]
            .into_iter()
            .flatten()
            .any(|member| member.replica == to);
        let Some(peer) = state.peers.get_mut(&to).filter(|_| is_member) else {
            return Seen::Muted;
        };
        if let Some(higher) = peer.higher {
            return Seen::Over(higher);
        }
        let Some(started) = *rounds else {
            *rounds = Some(peer.rounds);
            let moved = peer.moved.listen();
            if !peer.running {
                peer.running = true;
                self.0.start_exchange(to, term);
            }
            return Seen::Wait(moved);
        };
        if upto > LogIndex(0) && peer.confirmed >= upto {
            return Seen::Done;
        }
        if peer.rounds > started {
            return if peer.failed { Seen::Failed } else { Seen::Done };
        }
        Seen::Wait(peer.moved.listen())
    }

    /// Replicates what the crate asks for, and whatever else the peer lacks.
    async fn replicate(
        &self,
        to: ReplicaId,
        rpc: AppendEntriesRequest<Descriptor>,
    ) -> Result<AppendEntriesResponse> {
        let term = Term(rpc.term);
        let upto = LogIndex(rpc.entries.last().map_or(0, |entry| entry.index));
        let mut rounds = None;
        loop {
            match self.look(to, term, upto, &mut rounds) {
                Seen::Over(higher) => return Ok(over(higher)),
                Seen::Muted | Seen::Early | Seen::Done => return Ok(success(term)),
                Seen::Failed => return self.unreachable(term).await,
                Seen::Wait(moved) => moved.await,
            }
        }
    }

    /// L2: a failure at once would spin the crate's stream; no answer would let its queue grow, and would leave a change
    /// of membership without an end. Its count means nothing, and what the peer lacks is sent later.
    async fn unreachable(&self, term: Term) -> Result<AppendEntriesResponse> {
        if !self.0.guards().l2_unreachable_peers {
            return Err(anyhow!("the peer does not answer"));
        }
        if self.0.state().fenced {
            self.0.sleep(self.0.options().heartbeat).await;
            return Err(anyhow!("no quorum answers"));
        }
        self.0.sleep(UNREACHABLE).await;
        Ok(success(term))
    }

    /// The crate's own message as it is, for tests that show what it does.
    async fn as_published(
        &self,
        to: ReplicaId,
        rpc: AppendEntriesRequest<Descriptor>,
    ) -> Result<AppendEntriesResponse> {
        if self.0.state().stopped {
            return Ok(over(Term(u64::MAX)));
        }
        let mut entries = Vec::with_capacity(rpc.entries.len());
        for entry in &rpc.entries {
            let index = LogIndex(entry.index);
            let read = self
                .0
                .reader
                .entries(index..index.next(), u64::MAX)?
                .get()
                .await?;
            entries.extend(read.into_iter().filter(|read| read.id.term.0 == entry.term));
        }
        let append = Append {
            term: Term(rpc.term),
            previous: LogId::new(rpc.prev_log_term, rpc.prev_log_index),
            commit: LogIndex(rpc.leader_commit),
            floor: LogIndex(0),
            fenced: false,
            entries,
        };
        let deadline = self.0.options().heartbeat;
        let answer = self
            .0
            .call(to, Lane::Replication, Request::Append(append), deadline)
            .await;
        let Some(answer) = answer.and_then(wire::append_answer) else {
            return self.unreachable(Term(rpc.term)).await;
        };
        Ok(AppendEntriesResponse {
            term: answer.term.0,
            success: answer.success,
            conflict_opt: answer.conflict.map(|id| ConflictOpt {
                term: id.term.0,
                index: id.index.0,
            }),
        })
    }
}

#[async_trait]
impl RaftNetwork<Descriptor> for CrateNetwork {
    async fn append_entries(
        &self,
        target: u64,
        rpc: AppendEntriesRequest<Descriptor>,
    ) -> Result<AppendEntriesResponse> {
        count(&self.0.counters().crate_replication_calls, 1);
        let to = ReplicaId(target);
        if self.0.guards().s3_l3_l7_own_messages {
            self.replicate(to, rpc).await
        } else {
            self.as_published(to, rpc).await
        }
    }

    async fn install_snapshot(&self, _: u64, _: InstallSnapshotRequest) -> Result<InstallSnapshotResponse> {
        self.0.sleep(UNREACHABLE).await;
        Err(NotUsed.into())
    }

    /// L16: the crate sets no limit to a vote.
    async fn vote(&self, target: u64, rpc: VoteRequest) -> Result<VoteResponse> {
        let last = self.0.last();
        let vote = Vote {
            term: Term(rpc.term),
            last,
        };
        let deadline = self.0.options().election_min;
        let ended = self.0.ended.listen();
        let call = self
            .0
            .call(ReplicaId(target), Lane::Control, Request::Vote(vote), deadline);
        let ended = async {
            ended.await;
            None
        };
        let answer = or(call, ended).await.and_then(wire::vote_answer);
        let answer = answer.ok_or_else(|| anyhow!("no answer to a vote"))?;
        Ok(VoteResponse {
            term: answer.term.0,
            vote_granted: answer.granted,
        })
    }
}
