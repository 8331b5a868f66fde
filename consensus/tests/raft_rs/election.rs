//! Who leads, and what a vote is worth.

use crate::cluster::Cluster;
use chronik_conformance::world::disk::DropAll;
use chronik_conformance::world::net::End;
use chronik_core::consensus::Role;
use std::time::Duration;

#[test]
fn three_nodes_elect_one_leader_and_all_know_it() {
    let cluster = Cluster::of(1, 3);
    let leader = cluster.elect();
    cluster.agree();
    for node in 1..=3 {
        let progress = cluster.progress(node);
        assert_eq!(progress.leader.map(|leader| leader.0), Some(leader));
        let expected = if node == leader {
            Role::Leader
        } else {
            Role::Follower
        };
        assert_eq!(progress.role, expected);
    }
    assert_eq!(cluster.total("dropped_malformed"), 0);
}

#[test]
fn a_group_of_one_voter_leads_at_once() {
    let cluster = Cluster::of(2, 1);
    cluster.until_within(Duration::from_millis(50), "a leader", |cluster| {
        cluster.leader().is_some()
    });
    cluster.commit(1, 3, 7);
}

#[test]
fn a_leader_that_dies_is_replaced_and_what_was_committed_stays() {
    let mut cluster = Cluster::of(3, 3);
    let leader = cluster.elect();
    let ids: Vec<_> = (0..10).map(|mark| cluster.commit(leader, 2, mark)).collect();
    cluster.kill(leader, End::Process);
    cluster.until_within(Duration::from_secs(1), "another leader", |cluster| {
        cluster.leader().is_some()
    });
    let next = cluster.elect();
    assert_ne!(next, leader);
    for id in &ids {
        assert_eq!(cluster.reader(next).term_at(id.index), Ok(id.term));
    }
    cluster.commit(next, 1, 99);
    cluster.restart(leader);
    cluster.agree();
}

#[test]
fn votes_that_were_shared_are_asked_for_again_before_silence_decides() {
    let silence = Duration::from_secs(1);
    for seed in 100..160 {
        let mut cluster = Cluster::of(seed, 3);
        let leader = cluster.elect();
        cluster.commit(leader, 1, 1);
        cluster.agree();
        cluster.kill(leader, End::Process);
        cluster.until_within(silence, "another leader", |cluster| cluster.leader().is_some());
    }
}

#[test]
fn term_and_vote_survive_a_power_cut() {
    let mut cluster = Cluster::of(4, 3);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    let before: Vec<_> = (1..=3)
        .map(|node| cluster.reader(node).state().hard_state)
        .collect();
    for node in 1..=3 {
        cluster.crash(node, &mut DropAll);
    }
    for node in 1..=3 {
        cluster.start(node);
    }
    for node in 1..=3 {
        cluster.open(node, crate::cluster::GROUP, Default::default());
        let now = cluster.reader(node).state().hard_state;
        let before = before[node as usize - 1];
        assert!(now.term > before.term || now == before, "{before:?} {now:?}");
    }
    let next = cluster.elect();
    assert!(cluster.progress(next).term > before.iter().map(|state| state.term).max().unwrap());
    cluster.agree();
}
