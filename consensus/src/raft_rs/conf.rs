//! Memberships as raft-rs counts them, and the steps that lead from one to another.

use chronik_core::ReplicaId;
use chronik_core::consensus::{Member, Membership};
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

fn ids(members: &[Member]) -> Vec<u64> {
    members.iter().map(|member| member.replica.0).collect()
}

/// The membership in the terms of raft-rs. A learner that is still an outgoing voter becomes one when the joint
/// membership is left.
pub(super) fn conf_state(membership: &Membership) -> ConfState {
    let outgoing = ids(&membership.outgoing_voters);
    let (next, learners): (Vec<u64>, Vec<u64>) = ids(&membership.learners)
        .into_iter()
        .partition(|id| outgoing.contains(id));
    let mut state = ConfState::default();
    state.set_voters(ids(&membership.voters));
    state.set_learners(learners);
    state.set_learners_next(next);
    state.set_voters_outgoing(outgoing);
    state
}

/// The change that leads from `from`, which is not joint, to `to`: directly where one replica changes its part, else
/// through a joint membership. Empty where nothing changes.
pub(super) fn change_between(from: &Membership, to: &Membership) -> ConfChangeV2 {
    let mut changes = Vec::new();
    for member in &to.voters {
        if !from.voters.contains(member) {
            changes.push(single(ConfChangeType::AddNode, member.replica));
        }
    }
    for member in &to.learners {
        if !from.learners.contains(member) {
            changes.push(single(ConfChangeType::AddLearnerNode, member.replica));
        }
    }
    for member in from.voters.iter().chain(&from.learners) {
        let stays = |other: &Member| other.replica == member.replica;
        if !to.voters.iter().any(stays) && !to.learners.iter().any(stays) {
            changes.push(single(ConfChangeType::RemoveNode, member.replica));
        }
    }
    let mut change = ConfChangeV2::default();
    if changes.len() > 1 {
        change.set_transition(ConfChangeTransition::Explicit);
    }
    change.set_changes(changes.into());
    change
}

fn single(kind: ConfChangeType, replica: ReplicaId) -> ConfChangeSingle {
    let mut change = ConfChangeSingle::default();
    change.set_change_type(kind);
    change.node_id = replica.0;
    change
}

/// What the log says once the change has begun: joint where raft-rs goes through a joint membership.
pub(super) fn begun(from: &Membership, to: &Membership, change: &ConfChangeV2) -> Membership {
    if change.enter_joint().is_none() {
        return to.clone();
    }
    Membership {
        voters: to.voters.clone(),
        outgoing_voters: from.voters.clone(),
        learners: to.learners.clone(),
    }
}

/// The membership after a joint one is left.
pub(super) fn left(joint: &Membership) -> Membership {
    Membership {
        voters: joint.voters.clone(),
        outgoing_voters: Vec::new(),
        learners: joint.learners.clone(),
    }
}

/// The changes that take raft-rs from `from` to `to`, each valid after the one before. In the ordinary course that is
/// one: a membership directly before its successor. A replica that starts empty takes several.
pub(super) fn steps(from: &Membership, to: &Membership) -> Vec<ConfChangeV2> {
    let mut steps = Vec::new();
    let mut at = from.clone();
    if !at.outgoing_voters.is_empty() {
        if at == *to {
            return steps;
        }
        steps.push(ConfChangeV2::default());
        at = left(&at);
    }
    if !to.outgoing_voters.is_empty() {
        // The voters that go out are those that were before; learners of then that stay are the same now.
        let before = Membership {
            voters: to.outgoing_voters.clone(),
            outgoing_voters: Vec::new(),
            learners: at.learners.clone(),
        };
        single_steps(&mut steps, &mut at, &before);
        let mut enter = change_between(&at, &left(to));
        enter.set_transition(ConfChangeTransition::Explicit);
        steps.push(enter);
        return steps;
    }
    single_steps(&mut steps, &mut at, to);
    steps
}

/// One vote at a time, additions first: raft-rs accepts no other order from an empty membership.
fn single_steps(steps: &mut Vec<ConfChangeV2>, at: &mut Membership, to: &Membership) {
    let whole = change_between(at, to);
    if whole.enter_joint().is_none() && !at.voters.is_empty() {
        if !whole.get_changes().is_empty() {
            steps.push(whole);
        }
    } else {
        for change in whole.get_changes() {
            let mut one = ConfChangeV2::default();
            one.set_changes(vec![change.clone()].into());
            steps.push(one);
        }
    }
    *at = to.clone();
}
