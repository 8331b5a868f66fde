//! What the crate does without the guards, and that each guard is what prevents it.

use crate::cluster::{Cluster, value, value_of, voters, wait_for, wait_for_else};
use chronik_conformance::world::Seed;
use chronik_consensus::async_raft::Guards;
use chronik_core::consensus::{MembershipChange, Role};
use chronik_core::{NodeId, Outcome, ReplicaId};
use futures_lite::future::block_on;
use std::sync::Arc;
use std::time::Duration;

/// As published, but for two defects that would only make these tests wait: 30 seconds after a start (L1), and for ever
/// where two logs cannot elect (L4).
const VANILLA: Guards = Guards {
    l1_restart: true,
    l4_vote_order: true,
    ..Guards::OFF
};

/// S3: one follower has a longer tail of entries that were never committed. Returns whether what the leader
/// acknowledged with that follower alone is in the log of the leader that the others elect afterwards.
fn write_against_a_diverged_tail(guards: Guards) -> Option<bool> {
    let mut cluster = Cluster::start(Seed(41), 3, guards);
    cluster.commit(1);
    let first = cluster.leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    cluster.net.isolate(NodeId(first));
    let tail: Vec<_> = (100..110)
        .map(|number| cluster.nodes[&first].group.propose(value(number)))
        .collect();
    let second = cluster.leader_among(others.clone());
    for number in 10..13 {
        let handle = cluster.nodes[&second].group.propose(value(number)).ok()?;
        cluster.outcome(&handle)?;
    }
    // The next leader's streams begin behind entries that the diverged one does not have.
    cluster.restart(second);
    let second = cluster.leader_among(others.clone());
    let third = others.into_iter().find(|id| *id != second).unwrap();
    let group = &cluster.nodes[&second].group;
    // The diverged one is back and follows; the third is gone: whatever is acknowledged now needs the diverged one.
    cluster.net.heal();
    wait_for("the diverged one to follow", || {
        cluster.progress(first).leader == Some(ReplicaId(second))
    });
    block_on(cluster.env.clock.sleep(Duration::from_millis(300)));
    cluster.net.isolate(NodeId(third));
    // The crate's stream waits for an answer while the writes queue up behind it.
    cluster.net.cut(NodeId(second), NodeId(first));
    block_on(cluster.env.clock.sleep(Duration::from_millis(60)));
    let mut handles = Vec::new();
    for number in 200..260 {
        handles.push((number, group.propose(value(number)).ok()?));
    }
    let reader = &cluster.nodes[&second].reader;
    let before = cluster.progress(second).own_term_start?.0;
    wait_for("the leader's log to have all", || {
        reader.state().last.index.0 >= before + 60
    });
    cluster.net.heal();
    cluster.net.isolate(NodeId(third));
    let acknowledged = |number: &u64| {
        let handle = handles.iter().find(|(known, _)| known == number);
        handle.is_some_and(|(_, handle)| matches!(handle.peek(), Some(Outcome::Committed(_))))
    };
    let all = || {
        let seen = |id: u64| {
            let last = cluster.nodes[&id].reader.state().last;
            (
                id,
                last,
                cluster.progress(id),
                cluster.counter(id, "crate_truncations"),
            )
        };
        (1..=3).map(seen).collect::<Vec<_>>()
    };
    wait_for_else("some write to be acknowledged", all, || {
        (200..260).any(|number| acknowledged(&number))
    });
    let last = (200..260).rev().find(|number| acknowledged(number))?;
    cluster.net.isolate(NodeId(second));
    drop(tail);
    if holds(&cluster, first, last) {
        return Some(true);
    }
    cluster.net.heal();
    cluster.net.isolate(NodeId(second));
    let next = cluster.leader_among([first, third]);
    Some(holds(&cluster, next, last))
}

fn holds(cluster: &Cluster, id: u64, number: u64) -> bool {
    let reader = &cluster.nodes[&id].reader;
    let log = crate::cluster::entries(reader.as_ref(), reader.state().last.index);
    log.iter().any(|entry| value_of(entry) == Some(number))
}

#[test]
fn s3_vanilla_loses_an_acknowledged_write_and_the_guards_keep_it() {
    assert_eq!(
        write_against_a_diverged_tail(VANILLA),
        Some(false),
        "vanilla acknowledges what it loses"
    );
    let guarded = write_against_a_diverged_tail(Guards::ON);
    assert_ne!(
        guarded,
        Some(false),
        "the guards acknowledge nothing that is lost"
    );
}

/// S1: from one voter to three. Returns whether the old voter commits alone afterwards.
fn commit_alone_after_growth(guards: Guards) -> bool {
    let mut cluster = Cluster::prepare(Seed(42), 1, guards);
    for id in 1..=3 {
        cluster.open(id).unwrap();
    }
    cluster.commit(1);
    let group = Arc::clone(&cluster.nodes[&1].group);
    let grow = MembershipChange::Become {
        voters: voters(1..=3).voters,
        learners: Vec::new(),
    };
    let change = group.change_membership(grow);
    let _ = cluster.within(Duration::from_secs(30), change);
    let grown = |id: u64| cluster.nodes[&id].group.status().membership == voters(1..=3);
    if guards.s8_l5_one_voter_at_a_time {
        assert!(!grown(1), "the guard refuses to grow from one voter");
        return false;
    }
    wait_for("the new voters to know that they are", || (1..=3).all(grown));
    cluster.net.isolate(NodeId(1));
    let Ok(handle) = group.propose(value(2)) else {
        return false;
    };
    matches!(
        cluster.within(Duration::from_secs(1), handle.outcome()),
        Some(Outcome::Committed(_))
    )
}

#[test]
fn s1_vanilla_commits_alone_after_growing_and_the_guards_do_not_grow_so() {
    assert!(commit_alone_after_growth(VANILLA));
    assert!(!commit_alone_after_growth(Guards::ON));
    // Growth allowed by hand, our own count alone keeps the new voters in it.
    let counted = Guards {
        s8_l5_one_voter_at_a_time: false,
        ..Guards::ON
    };
    assert!(!commit_alone_after_growth(counted));
}

#[test]
fn s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not() {
    for on in [false, true] {
        let guards = Guards {
            s7_s12_own_reads: on,
            l9_check_quorum: false,
            ..Guards::ON
        };
        let cluster = Cluster::start(Seed(43), 3, guards);
        cluster.commit(1);
        let old = cluster.leader();
        cluster.net.isolate(NodeId(old));
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        let new = cluster.leader_among(others);
        let handle = cluster.nodes[&new].group.propose(value(2)).unwrap();
        let Some(Outcome::Committed(appended)) = cluster.outcome(&handle) else {
            panic!("the new leader commits");
        };
        let read = cluster.nodes[&old].group.read_barrier();
        let stale = match cluster.within(Duration::from_secs(3), read) {
            Some(Ok(index)) => index < appended.id.index,
            Some(Err(_)) | None => false,
        };
        assert_eq!(stale, !on, "with the guard {on}");
    }
}

#[test]
fn l9_vanilla_leads_for_ever_without_a_quorum_and_the_guard_gives_way() {
    for on in [false, true] {
        let guards = Guards {
            l9_check_quorum: on,
            ..Guards::ON
        };
        let cluster = Cluster::start(Seed(44), 3, guards);
        cluster.commit(1);
        let old = cluster.leader();
        cluster.net.isolate(NodeId(old));
        let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
        cluster.leader_among(others);
        if on {
            wait_for("the leader to give way", || {
                cluster.progress(old).role != Role::Leader
            });
        } else {
            assert_eq!(cluster.progress(old).role, Role::Leader);
        }
    }
}

#[test]
fn l1_vanilla_waits_half_a_minute_after_a_restart_and_the_guard_does_not() {
    for on in [false, true] {
        let guards = Guards {
            l1_restart: on,
            ..Guards::ON
        };
        let cluster = Cluster::start(Seed(45), 3, guards);
        let start = std::time::Instant::now();
        let elected = || (1..=3).any(|id| cluster.progress(id).role == Role::Leader);
        if on {
            wait_for("a leader", elected);
        } else {
            while start.elapsed() < Duration::from_secs(5) {
                assert!(!elected(), "elected after {:?}", start.elapsed());
                block_on(cluster.env.clock.sleep(Duration::from_millis(50)));
            }
        }
    }
}
