//! Changes of membership, as far as the crate can make them.

use crate::cluster::{Cluster, member, until_shown, value, voters};
use chronik_conformance::world::Seed;
use chronik_consensus::async_raft::{AsyncRaftOptions, Guards};
use chronik_core::consensus::{ConsensusError, Member, Membership, MembershipChange, Role};
use chronik_core::{LogError, LogId, LogIndex, Outcome};
use futures_lite::future::block_on;
use std::sync::Arc;

fn become_voters(ids: impl IntoIterator<Item = u64>) -> MembershipChange {
    MembershipChange::Become {
        voters: ids.into_iter().map(member).collect(),
        learners: Vec::new(),
    }
}

fn patient(options: &mut AsyncRaftOptions) {
    options.answer_timeout = std::time::Duration::from_secs(40);
}

/// Three voters, and others that wait to be taken up.
fn three_and(others: impl IntoIterator<Item = u64>, seed: u64) -> Cluster {
    let mut cluster = Cluster::prepare(Seed(seed), 3, Guards::ON);
    cluster.tune = patient;
    for id in (1..=3).chain(others) {
        cluster.open(id).unwrap();
    }
    cluster
}

/// Makes a change on whoever leads, until it is made.
fn change(cluster: &Cluster, change: &MembershipChange) -> LogId {
    for _ in 0..20 {
        let leader = cluster.leader();
        let group = Arc::clone(&cluster.nodes[&leader].group);
        match block_on(group.change_membership(change.clone())) {
            Ok(id) => return id,
            Err(ConsensusError::NotLeader { .. } | ConsensusError::Unknown(_) | ConsensusError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the change was not made: {change:?}");
}

fn sorted(mut membership: Membership) -> Membership {
    membership.voters.sort();
    membership.learners.sort();
    membership
}

fn with_learner(ids: impl IntoIterator<Item = u64>, learner: Member) -> Membership {
    Membership {
        learners: vec![learner],
        ..voters(ids)
    }
}

#[test]
fn a_learner_catches_up_stays_one_across_elections_and_becomes_a_voter() {
    let mut cluster = three_and([4], 51);
    for number in 0..20 {
        cluster.commit(number);
    }
    change(&cluster, &MembershipChange::AddLearner(member(4)));
    let last = cluster.commit(20);
    cluster.wait_commit(last);
    assert_eq!(cluster.progress(4).role, Role::Learner);
    let leader = cluster.leader();
    cluster.restart(leader);
    let last = cluster.commit(21);
    cluster.wait_commit(last);
    let seen = sorted(cluster.nodes[&4].group.status().membership);
    assert_eq!(seen, with_learner(1..=3, member(4)));
    let id = change(&cluster, &become_voters(1..=4));
    cluster.wait_commit(id.index);
    let last = cluster.commit(22);
    cluster.wait_commit(last);
    assert_eq!(sorted(cluster.nodes[&4].group.status().membership), voters(1..=4));
    assert_ne!(cluster.progress(4).role, Role::Learner);
    cluster.assert_agreement(0..=22);
}

#[test]
fn a_voter_is_replaced_in_one_call_and_the_old_one_deposes_nobody() {
    let cluster = three_and([4], 52);
    cluster.commit(1);
    let leader = cluster.leader();
    let gone = (1..=3).find(|id| *id != leader).unwrap();
    let stay: Vec<u64> = (1..=4).filter(|id| *id != gone).collect();
    let id = change(&cluster, &become_voters(stay.clone()));
    let last = cluster.commit(2);
    assert!(last > id.index);
    let leader = cluster.leader_among(stay.clone());
    assert_eq!(
        sorted(cluster.nodes[&leader].group.status().membership),
        voters(stay.clone())
    );
    for node in &stay {
        crate::cluster::wait_for("those that stay to commit", || {
            cluster.progress(*node).commit >= last
        });
    }
}

#[test]
fn a_leader_that_is_removed_commits_that_and_leads_no_longer() {
    until_shown("a leader that removes itself", |attempt| {
        let cluster = three_and([4], 53 + 100 * attempt);
        cluster.commit(1);
        change(&cluster, &become_voters(1..=4));
        let old = cluster.leader();
        let stay: Vec<u64> = (1..=4).filter(|id| *id != old).collect();
        let group = Arc::clone(&cluster.nodes[&old].group);
        match block_on(group.change_membership(become_voters(stay.clone()))) {
            Ok(_) | Err(ConsensusError::Unknown(_)) => {}
            // It leads no longer for another reason.
            Err(_) => return None,
        }
        crate::cluster::wait_for("the removed leader to lead no longer", || {
            cluster.progress(old).role != Role::Leader
        });
        let leader = cluster.leader_among(stay.clone());
        let handle = cluster.nodes[&leader].group.propose(value(2)).ok()?;
        let committed = matches!(cluster.outcome(&handle), Some(Outcome::Committed(_)));
        let membership = sorted(cluster.nodes[&leader].group.status().membership);
        (committed && membership == voters(stay)).then_some(())
    });
}

#[test]
fn changes_that_are_not_safe_are_refused_by_name() {
    let (answers, membership) = until_shown("a leader that is asked and stays", |attempt| {
        let cluster = three_and([4, 5], 54 + 100 * attempt);
        cluster.commit(1);
        let leader = cluster.leader();
        let group = &cluster.nodes[&leader].group;
        let unsafe_ones = [become_voters(1..=2), become_voters(1..=5), become_voters([1])];
        let answers = unsafe_ones.map(|change| block_on(group.change_membership(change)));
        let disturbed = |answer: &Result<_, _>| {
            matches!(
                answer,
                Err(ConsensusError::NotLeader { .. } | ConsensusError::Unknown(_))
            )
        };
        let membership = sorted(group.status().membership);
        (!answers.iter().any(disturbed)).then_some((answers, membership))
    });
    for answer in answers {
        let Err(ConsensusError::Unsupported(text)) = answer else {
            panic!("{answer:?}");
        };
        assert!(text.contains("raft-rs"), "{text}");
    }
    assert_eq!(membership, voters(1..=3));
}

#[test]
fn a_replica_that_needs_purged_entries_starts_from_a_checkpoint() {
    let cluster = three_and([4], 55);
    let last = (0..30).map(|number| cluster.commit(number)).max().unwrap();
    crate::cluster::wait_for("the voters to commit", || {
        (1..=3).all(|id| cluster.progress(id).commit >= last)
    });
    for id in 1..=3 {
        cluster.checkpoint_and_purge(id, last, b"state");
    }
    change(&cluster, &MembershipChange::AddLearner(member(4)));
    let last = cluster.commit(100);
    cluster.wait_commit(last);
    assert_eq!(
        cluster.nodes[&4].reader.state().purged.index,
        cluster.nodes[&1].reader.state().purged.index
    );
    let sent: u64 = (1..=3).map(|id| cluster.counter(id, "checkpoints_sent")).sum();
    assert!(sent >= 1);
    let found = cluster.nodes[&4].reader.checkpoint(last).unwrap().unwrap();
    assert_eq!(found.data, b"state".as_slice());
}

#[test]
fn a_checkpoint_has_the_membership_as_of_its_entry_also_after_a_restart() {
    let mut cluster = three_and([4], 56);
    let first = cluster.commit(0);
    crate::cluster::wait_for("the voters to commit", || {
        (1..=3).all(|id| cluster.progress(id).commit >= first)
    });
    cluster.checkpoint_and_purge(2, first, b"first");
    let before = cluster.commit(1);
    change(&cluster, &MembershipChange::AddLearner(member(4)));
    let after = cluster.commit(2);
    let last = cluster.commit(3);
    cluster.wait_commit(last);
    let stored = |cluster: &Cluster, id: u64, index: LogIndex| {
        let found = cluster.nodes[&id].reader.checkpoint(index).unwrap();
        found.filter(|found| found.at.index == index).unwrap().consensus
    };
    let right = [before, after].map(|index| {
        cluster.checkpoint(3, index, b"right").unwrap();
        (index, stored(&cluster, 3, index))
    });
    assert_ne!(right[0].1, right[1].1);
    for id in 1..=2 {
        cluster.checkpoint(id, last, b"newest").unwrap();
        cluster.restart(id);
        for (index, right) in &right {
            match cluster.checkpoint(id, *index, b"late") {
                Ok(_) => assert_eq!(stored(&cluster, id, *index), right, "replica {id}, at {index}"),
                // It does not know.
                Err(error) => assert!(matches!(error, LogError::Compacted { .. }), "{error}"),
            }
        }
        let next = cluster.commit(3 + id);
        cluster.wait_commit(next);
        cluster.checkpoint(id, next, b"next").unwrap();
        cluster.checkpoint(3, next, b"next").unwrap();
        assert_eq!(
            stored(&cluster, id, next),
            stored(&cluster, 3, next),
            "replica {id}"
        );
    }
}

#[test]
fn a_log_is_purged_to_any_stored_checkpoint_after_a_restart() {
    let mut cluster = Cluster::start(Seed(57), 3, Guards::ON);
    let mut stored = Vec::new();
    for number in 0..3 {
        let last = cluster.commit(number);
        cluster.wait_commit(last);
        stored.push(cluster.checkpoint(1, last, b"state").unwrap());
    }
    cluster.restart(1);
    let last = cluster.commit(3);
    cluster.wait_commit(last);
    for at in stored {
        cluster.purge(1, at);
    }
}
