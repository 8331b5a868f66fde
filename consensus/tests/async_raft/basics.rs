//! The guarded engine does what an engine is for, and the crate does its part of it.

use crate::cluster::{Cluster, member, until_shown, value, voters, wait_for};
use chronik_conformance::world::Seed;
use chronik_consensus::async_raft::Guards;
use chronik_core::consensus::{Consensus, ConsensusError, MembershipChange, Role};
use chronik_core::proposal::ProposeError;
use chronik_core::{NodeId, Offset, Outcome, ReplicaId};
use futures_lite::future::block_on;

#[test]
fn three_nodes_elect_replicate_commit_and_survive_the_loss_of_their_leader() {
    let mut cluster = Cluster::start(Seed(1), 3, Guards::ON);
    for number in 0..20 {
        cluster.commit(number);
    }
    let first = cluster.leader();
    let term = cluster.progress(first).term;
    cluster.crash(first);
    let second = cluster.leader();
    assert!(
        cluster.progress(second).term > term,
        "a new leader has a new term"
    );
    let last = (20..30).map(|number| cluster.commit(number)).max().unwrap();
    cluster.open(first).unwrap();
    cluster.wait_commit(last);
    cluster.assert_agreement(0..30);
    let won: u64 = cluster
        .nodes
        .keys()
        .map(|id| cluster.counter(*id, "crate_elections_won"))
        .sum();
    assert!(won >= 1, "terms come from the crate's votes");
    let followed = cluster.counter(first, "crate_follower_appends");
    assert!(
        followed >= 10,
        "what a follower stores goes through the crate's append call: {followed}"
    );
}

#[test]
fn offsets_and_stamps_follow_the_order_of_the_calls() {
    let offsets = until_shown("50 writes under one leader", |attempt| {
        let cluster = Cluster::start(Seed(2).nth(attempt), 3, Guards::ON);
        let leader = cluster.leader();
        let group = &cluster.nodes[&leader].group;
        let handles: Result<Vec<_>, _> = (0..50).map(|number| group.propose(value(number))).collect();
        let offset = |handle| match cluster.outcome(handle) {
            Some(Outcome::Committed(appended)) => Some(appended.base_offset),
            _ => None,
        };
        handles.ok()?.iter().map(offset).collect::<Option<Vec<_>>>()
    });
    assert_eq!(offsets, (0..50).map(Offset).collect::<Vec<_>>());
}

#[test]
fn a_follower_refuses_proposals_and_reads_through_its_leader() {
    let (leader, refused, index, barrier) = until_shown("a follower of a leader that stays", |attempt| {
        let cluster = Cluster::start(Seed(3).nth(attempt), 3, Guards::ON);
        let index = cluster.commit(1);
        let leader = cluster.leader();
        let follower = (1..=3).find(|id| *id != leader).unwrap();
        let group = &cluster.nodes[&follower].group;
        wait_for("the follower to know its leader", || {
            group.watch().get().leader == Some(ReplicaId(leader))
        });
        let refused = group.propose(value(2)).err()?;
        let barrier = block_on(group.read_barrier()).ok()?;
        (cluster.leader() == leader).then_some((leader, refused, index, barrier))
    });
    let leader = Some(ReplicaId(leader));
    assert_eq!(refused, ProposeError::NotLeader { leader });
    assert!(barrier >= index);
}

#[test]
fn a_cluster_that_restarts_as_a_whole_elects_within_its_bound() {
    // The crate alone waits 30 seconds (L1).
    until_shown("a leader within 25 seconds of the restart", |attempt| {
        let mut cluster = Cluster::start(Seed(4).nth(attempt), 3, Guards::ON);
        cluster.commit(1);
        for id in 1..=3 {
            cluster.crash(id);
        }
        let start = std::time::Instant::now();
        for id in 1..=3 {
            cluster.open(id).unwrap();
        }
        let last = cluster.commit(2);
        let took = start.elapsed();
        cluster.wait_commit(last);
        cluster.assert_agreement(1..=2);
        (took.as_secs() < 25).then_some(())
    });
}

#[test]
fn a_leader_without_a_quorum_stops_leading_and_never_answers_a_read() {
    let cluster = Cluster::start(Seed(5), 3, Guards::ON);
    cluster.commit(1);
    let old = cluster.leader();
    cluster.net.isolate(NodeId(old));
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = cluster.leader_among(others);
    wait_for("the old leader to give way", || {
        cluster.progress(old).role != Role::Leader
    });
    let refused = cluster.nodes[&old].group.propose(value(9)).unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { .. }));
    assert!(block_on(cluster.nodes[&old].group.read_barrier()).is_err());
    assert_ne!(new, old);
    cluster.net.heal();
    let last = cluster.commit(2);
    cluster.wait_commit(last);
    cluster.assert_agreement(1..=2);
}

#[test]
fn a_single_voter_commits_alone_and_its_term_rises_with_every_start() {
    let mut cluster = Cluster::start(Seed(6), 1, Guards::ON);
    cluster.commit(1);
    let term = cluster.progress(1).term;
    cluster.restart(1);
    cluster.commit(2);
    assert!(cluster.progress(1).term > term);
    cluster.assert_agreement(1..=2);
}

#[test]
fn what_is_not_safe_is_refused_by_name() {
    let cluster = Cluster::start(Seed(7), 1, Guards::ON);
    cluster.commit(1);
    let group = &cluster.nodes[&1].group;
    let grow = MembershipChange::Become {
        voters: voters(1..=2).voters,
        learners: Vec::new(),
    };
    for change in [grow, MembershipChange::AddLearner(member(2))] {
        let refused = block_on(group.change_membership(change)).unwrap_err();
        let ConsensusError::Unsupported(text) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains("raft-rs"), "{text}");
    }
    let refused = block_on(group.transfer_leadership(ReplicaId(2))).unwrap_err();
    assert!(matches!(refused, ConsensusError::Unsupported(_)));
    assert!(!cluster.nodes[&1].engine.capabilities().leadership_transfer);
}

#[test]
fn a_closed_group_takes_nothing() {
    let cluster = Cluster::start(Seed(8), 3, Guards::ON);
    let leader = cluster.leader();
    let group = std::sync::Arc::clone(&cluster.nodes[&leader].group);
    block_on(group.close());
    assert_eq!(group.propose(value(1)).unwrap_err(), ProposeError::Closed);
    assert_eq!(group.watch().get().role, Role::Stopped);
    assert_eq!(block_on(group.read_barrier()), Err(ConsensusError::Closed));
}
