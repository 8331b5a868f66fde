//! S7, S12: reads. The crate's `client_read` asks nobody in a group of three, and takes a newer term for a yes.
//!
//! Here a leader that committed an entry of its own term notes its commit index and asks a quorum, after the read came,
//! whether its term is still the newest. Reads that wait together share a round.

use super::replica::Replica;
use super::wire::{self, Request};
use async_raft::error::ClientReadError;
use chronik_core::consensus::{ConsensusError, Member};
use chronik_core::transport::Lane;
use chronik_core::{LogIndex, ReplicaId, Term};
use event_listener::Event;
use futures_lite::future::or;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
struct Round {
    running: bool,
    /// When the last successful round began, in calls, and what it found.
    began: u64,
    found: LogIndex,
}

/// Orders read rounds: one at a time.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    calls: AtomicU64,
    round: Mutex<Round>,
    ended: Event,
}

impl Rounds {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the round when its caller goes away, too.
struct Running<'a>(&'a Rounds);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
        self.0.ended.notify(usize::MAX);
    }
}

impl Replica {
    /// The index that a linearizable read must wait for, here or at the leader.
    pub(super) async fn read_barrier(self: Arc<Self>) -> Result<LogIndex, ConsensusError> {
        let limit = self.options().answer_timeout;
        let late = async {
            self.sleep(limit).await;
            Err(ConsensusError::Unknown(
                "no quorum answered the read in time".into(),
            ))
        };
        or(self.read(), late).await
    }

    async fn read(self: &Arc<Self>) -> Result<LogIndex, ConsensusError> {
        let (stopped, leads, leader) = {
            let state = self.state();
            (state.stopped, state.is_leader(), state.other_leader())
        };
        if stopped {
            return Err(ConsensusError::Closed);
        }
        if leads {
            return self.read_as_leader().await;
        }
        let leader = leader.ok_or_else(|| self.not_leader())?;
        let deadline = self.options().answer_timeout;
        let answer = self
            .call(leader, Lane::Control, Request::ReadIndex, deadline)
            .await;
        match answer.and_then(wire::read_answer) {
            Some(Some(index)) => Ok(index),
            Some(None) => Err(self.not_leader()),
            None => Err(ConsensusError::Unknown(
                "the leader did not answer the read".into(),
            )),
        }
    }

    /// The read of a leader; an error elsewhere.
    pub(super) async fn read_as_leader(self: &Arc<Self>) -> Result<LogIndex, ConsensusError> {
        if !self.guards().s7_s12_own_reads {
            return self.read_as_published().await;
        }
        let arrived = self.reads.calls.fetch_add(1, Ordering::SeqCst);
        loop {
            let ended = self.reads.ended.listen();
            {
                let mut round = self.reads.lock();
                if round.began > arrived {
                    return Ok(round.found);
                }
                if !round.running {
                    round.running = true;
                    break;
                }
            }
            ended.await;
        }
        let running = Running(&self.reads);
        let began = self.reads.calls.fetch_add(1, Ordering::SeqCst);
        let found = self.round().await;
        if let Ok(found) = found {
            let mut round = self.reads.lock();
            (round.began, round.found) = (began, found);
        }
        drop(running);
        found
    }

    async fn round(self: &Arc<Self>) -> Result<LogIndex, ConsensusError> {
        let mut progress = self.progress.versioned();
        // Only a commit in its own term tells a leader what is committed.
        let (term, index) = loop {
            {
                let state = self.state();
                match state.own_term_start {
                    Some(start) if state.is_leader() && state.commit >= start => {
                        break (state.hard.term, state.commit);
                    }
                    Some(_) if state.is_leader() => {}
                    _ => {
                        return Err(ConsensusError::NotLeader {
                            leader: state.other_leader(),
                        });
                    }
                }
            }
            progress = self.progress.changed(progress.1).await;
        };
        self.ask_quorum(term).await?;
        Ok(index)
    }

    async fn ask_quorum(self: &Arc<Self>, term: Term) -> Result<(), ConsensusError> {
        let (sets, others) = {
            let state = self.state();
            let newest = state.newest();
            let sets = [newest.voters.clone(), newest.outgoing_voters.clone()];
            let others: BTreeSet<ReplicaId> = sets.iter().flatten().map(|voter| voter.replica).collect();
            (sets, others)
        };
        let (sender, receiver) = async_channel::unbounded();
        let deadline = self.options().election_min;
        for to in others.into_iter().filter(|to| *to != self.me.replica) {
            let (replica, sender) = (Arc::clone(self), sender.clone());
            self.shared.island.spawn(async move {
                let _ = sender.try_send((to, replica.probe(to, term, deadline).await));
            });
        }
        drop(sender);
        let mut yes = BTreeSet::from([self.me.replica]);
        loop {
            if sets.iter().all(|set| is_majority(set, &yes)) {
                let state = self.state();
                return if state.leads_term(term) {
                    Ok(())
                } else {
                    Err(ConsensusError::NotLeader {
                        leader: state.other_leader(),
                    })
                };
            }
            match receiver.recv().await {
                Ok((to, true)) => drop(yes.insert(to)),
                Ok((_, false)) => {}
                Err(_) => return Err(ConsensusError::Unknown("no quorum answered the read".into())),
            }
        }
    }

    async fn probe(&self, to: ReplicaId, term: Term, deadline: Duration) -> bool {
        let sent = self.now();
        let answer = self.call(to, Lane::Control, Request::Probe(term), deadline).await;
        let confirmed = answer
            .and_then(wire::number_answer)
            .is_some_and(|newest| newest <= term.0);
        if confirmed {
            let mut state = self.state();
            if state.leads_term(term)
                && let Some(peer) = state.peers.get_mut(&to)
            {
                peer.answered = peer.answered.max(sent);
            }
        }
        confirmed
    }

    async fn read_as_published(&self) -> Result<LogIndex, ConsensusError> {
        let raft = self.raft().ok_or(ConsensusError::Closed)?;
        match raft.client_read().await {
            Ok(()) => Ok(self.state().commit),
            Err(ClientReadError::ForwardToLeader(_)) => Err(self.not_leader()),
            Err(error) => Err(ConsensusError::Unknown(error.to_string())),
        }
    }
}

fn is_majority(voters: &[Member], yes: &BTreeSet<ReplicaId>) -> bool {
    voters.is_empty() || voters.iter().filter(|voter| yes.contains(&voter.replica)).count() > voters.len() / 2
}
