//! Changes of membership, as far as the crate can make them safely.
//!
//! One voter joins or leaves at a time, with at least three voters before and after: then all majorities intersect, and
//! neither the crate's own vote in a group that it is not in (S8) nor its early final entry does harm. What needs several
//! such steps takes them one after another, each once the one before is committed.

use super::replica::Replica;
use super::state::Draft;
use crate::membership::why_invalid;
use async_raft::ChangeConfigError;
use chronik_core::consensus::{ConsensusError, Member, Membership, MembershipChange, Progress};
use chronik_core::{LogId, LogIndex, Outcome};
use futures_lite::future::or;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const VOTERS_MIN: usize = 3;
/// Between attempts to make the crate begin a change.
const RETRY: Duration = Duration::from_millis(50);

pub(super) fn unsupported(what: &str) -> ConsensusError {
    ConsensusError::Unsupported(format!(
        "{what}: consensus.backend = \"async-raft\" cannot do it safely; \"raft-rs\" can"
    ))
}

/// Lets the next change begin.
struct Changing(Arc<Replica>);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.changing.store(false, Ordering::SeqCst);
    }
}

/// Makes a change, or says why not.
pub(super) async fn run(
    replica: Arc<Replica>,
    queue: async_channel::Sender<Draft>,
    change: MembershipChange,
) -> Result<LogId, ConsensusError> {
    if replica.state().stopped {
        return Err(ConsensusError::Closed);
    }
    if !replica.state().is_leader() {
        return Err(replica.not_leader());
    }
    if replica.changing.swap(true, Ordering::SeqCst) {
        return Err(ConsensusError::Busy);
    }
    let _changing = Changing(Arc::clone(&replica));
    let limit = replica.options().answer_timeout;
    let late = async {
        replica.sleep(limit).await;
        Err(ConsensusError::Unknown(
            "the change was not committed in time".into(),
        ))
    };
    or(steps(&replica, &queue, change), late).await
}

async fn steps(
    replica: &Arc<Replica>,
    queue: &async_channel::Sender<Draft>,
    change: MembershipChange,
) -> Result<LogId, ConsensusError> {
    let before = settled(replica).await?;
    let goal = goal_of(&before, change)?;
    if let Some(why) = why_invalid(&goal) {
        return Err(ConsensusError::Invalid(why));
    }
    let joining: Vec<Member> = only_in(&goal.voters, &before.voters);
    let leaving: Vec<Member> = only_in(&before.voters, &goal.voters);
    if replica.guards().s8_l5_one_voter_at_a_time {
        check_voters(&before, &goal, &joining, &leaving)?;
    }
    replica.state().learn_members(&goal);
    let mut now = before;
    let mut done = LogId::default();
    let waiting = only_in(&joining, &now.learners);
    if !waiting.is_empty() {
        now.learners.extend(waiting);
        done = set_learners(replica, queue, &now).await?;
    }
    if !replica.guards().s8_l5_one_voter_at_a_time && goal.voters != now.voters {
        for member in joining {
            take_up(replica, member).await?;
        }
        return set_voters(replica, &goal).await;
    }
    for member in joining {
        take_up(replica, member).await?;
        now.voters.push(member);
        now.learners.retain(|learner| *learner != member);
        done = set_voters(replica, &now).await?;
    }
    for member in leaving {
        now.voters.retain(|voter| *voter != member);
        done = set_voters(replica, &now).await?;
    }
    let mut learners = goal.learners.clone();
    learners.sort();
    now.learners.sort();
    if learners != now.learners {
        now.learners = learners;
        done = set_learners(replica, queue, &now).await?;
    }
    if done == LogId::default() {
        done = LogId {
            term: replica.state().hard.term,
            index: replica.state().newest_at(),
        };
    }
    Ok(done)
}

/// The membership, once it and an entry of this term are committed.
async fn settled(replica: &Arc<Replica>) -> Result<Membership, ConsensusError> {
    wait(replica, |replica| {
        let state = replica.state();
        let start = state.own_term_start?;
        if !state.newest().outgoing_voters.is_empty() {
            return Some(Err(ConsensusError::Busy));
        }
        (state.commit >= start && state.commit >= state.newest_at()).then(|| Ok(state.newest().clone()))
    })
    .await?
}

fn goal_of(before: &Membership, change: MembershipChange) -> Result<Membership, ConsensusError> {
    match change {
        MembershipChange::AddLearner(member) => {
            if before.voters.contains(&member) {
                return Err(ConsensusError::Invalid(format!(
                    "replica {} votes already",
                    member.replica
                )));
            }
            let mut goal = before.clone();
            if !goal.learners.contains(&member) {
                goal.learners.push(member);
            }
            Ok(goal)
        }
        MembershipChange::Become { voters, learners } => Ok(Membership {
            voters,
            outgoing_voters: Vec::new(),
            learners,
        }),
    }
}

fn only_in(these: &[Member], those: &[Member]) -> Vec<Member> {
    these
        .iter()
        .copied()
        .filter(|member| !those.contains(member))
        .collect()
}

fn check_voters(
    before: &Membership,
    goal: &Membership,
    joining: &[Member],
    leaving: &[Member],
) -> Result<(), ConsensusError> {
    if before.voters.len() == 1 && goal != before {
        return Err(unsupported("a change of a group with one voter"));
    }
    if joining.is_empty() && leaving.is_empty() {
        return Ok(());
    }
    if before.voters.len() < VOTERS_MIN || goal.voters.len() < VOTERS_MIN {
        return Err(unsupported("a change of voters from or to fewer than three"));
    }
    if joining.len() > 1 || leaving.len() > 1 {
        return Err(unsupported("a change of more than one voter"));
    }
    let demoted = leaving.iter().any(|member| goal.learners.contains(member));
    if demoted {
        return Err(unsupported("a voter that becomes a learner"));
    }
    Ok(())
}

/// L13: learners are in the log.
async fn set_learners(
    replica: &Arc<Replica>,
    queue: &async_channel::Sender<Draft>,
    membership: &Membership,
) -> Result<LogId, ConsensusError> {
    if !replica.guards().l13_learners_in_log {
        for learner in &membership.learners {
            let raft = replica.raft().ok_or(ConsensusError::Closed)?;
            let id = learner.replica.0;
            drop(raft.add_non_voter(id).await);
        }
        return Ok(replica.last());
    }
    let handle = replica
        .propose_membership(queue, membership.clone())
        .map_err(|_| ConsensusError::Closed)?;
    let appended = match handle.outcome().await {
        Outcome::Committed(appended) => appended,
        Outcome::NotCommitted(_) => return Err(replica.not_leader()),
        Outcome::Unknown(why) => return Err(ConsensusError::Unknown(why.to_string())),
    };
    replica.take_up_learners();
    Ok(appended.id)
}

/// L12: waits until a learner confirmed that it caught up.
async fn take_up(replica: &Arc<Replica>, member: Member) -> Result<(), ConsensusError> {
    replica.take_up_learners();
    if !replica.guards().l12_verified_lag {
        return Ok(());
    }
    loop {
        let last = replica.last().index;
        let moved = {
            let state = replica.state();
            if !state.is_leader() {
                drop(state);
                return Err(replica.not_leader());
            }
            let Some(peer) = state.peers.get(&member.replica) else {
                return Err(ConsensusError::Invalid(format!(
                    "replica {} is no learner",
                    member.replica
                )));
            };
            let lag = last.0.saturating_sub(peer.confirmed.0);
            if peer.confirmed > LogIndex(0) && lag <= replica.options().learner_lag_entries {
                return Ok(());
            }
            peer.moved.listen()
        };
        moved.await;
    }
}

/// The crate's own change, by one voter; committed by our count.
async fn set_voters(replica: &Arc<Replica>, goal: &Membership) -> Result<LogId, ConsensusError> {
    let raft = replica.raft().ok_or(ConsensusError::Closed)?;
    let members: HashSet<u64> = goal.voters.iter().map(|voter| voter.replica.0).collect();
    let change = async {
        loop {
            match raft.change_membership(members.clone()).await {
                Ok(()) | Err(ChangeConfigError::RaftError(_)) => std::future::pending().await,
                // By its own count, the crate may still be at the step before.
                Err(ChangeConfigError::ConfigChangeInProgress) => replica.sleep(RETRY).await,
                Err(ChangeConfigError::NodeNotLeader(_)) => return Err(replica.not_leader()),
                Err(error) => return Err(ConsensusError::Invalid(error.to_string())),
            }
        }
    };
    let mut voters = goal.voters.clone();
    voters.sort();
    let committed = wait(replica, |replica| {
        let state = replica.state();
        let (newest, at) = (state.newest(), state.newest_at());
        let mut now = newest.voters.clone();
        now.sort();
        let there = newest.outgoing_voters.is_empty() && now == voters && state.commit >= at;
        there.then(|| LogId {
            term: replica.term_at(at).unwrap_or(state.hard.term),
            index: at,
        })
    });
    or(change, committed).await
}

/// Waits until `ready` has an answer, while this replica leads. One that was removed has its answer first.
async fn wait<T>(
    replica: &Arc<Replica>,
    mut ready: impl FnMut(&Replica) -> Option<T>,
) -> Result<T, ConsensusError> {
    let term = replica.state().hard.term;
    let mut progress: Option<(Progress, u64)> = None;
    loop {
        progress = Some(match progress {
            None => replica.progress.versioned(),
            Some((_, seen)) => replica.progress.changed(seen).await,
        });
        if let Some(answer) = ready(replica) {
            return Ok(answer);
        }
        let state = replica.state();
        if !state.leads_term(term) {
            let why = "leadership was lost; the change may still happen";
            return Err(ConsensusError::Unknown(why.into()));
        }
    }
}

impl Replica {
    /// L13: a leader streams to every learner in the log; the crate forgets them at every election.
    pub(super) fn take_up_learners(self: &Arc<Self>) {
        let Some(raft) = self.raft() else {
            return;
        };
        let learners = {
            let state = self.state();
            if !state.leads {
                Vec::new()
            } else {
                state.newest().learners.clone()
            }
        };
        for learner in learners {
            let raft = raft.clone();
            self.shared.island.spawn(async move {
                // One that has a stream is refused as nothing new.
                drop(raft.add_non_voter(learner.replica.0).await);
            });
        }
    }
}
