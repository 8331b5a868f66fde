//! What the crate does without the guards, and that each guard is what prevents it.

use crate::cluster::{Cluster, comes_within, until_shown, value, value_of, voters, wait_for};
use chronik_conformance::world::Seed;
use chronik_consensus::async_raft::Guards;
use chronik_core::consensus::{ConsensusError, MembershipChange, Role};
use chronik_core::{NodeId, Outcome, ReplicaId};
use futures_lite::future::block_on;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For what may never end: a change of membership, or a write.
const PATIENCE: Duration = Duration::from_secs(20);

/// As published, but for two defects that would only make these tests wait: 30 seconds after a start (L1), and for ever
/// where two logs cannot elect (L4).
const VANILLA: Guards = Guards {
    l1_restart: true,
    l4_vote_order: true,
    ..Guards::OFF
};

/// S3: one follower has a longer tail of entries that were never committed. Returns whether what the leader
/// acknowledged with that follower alone is in the log of the leader that the others elect afterwards.
fn write_against_a_diverged_tail(guards: Guards, attempt: u64) -> Option<bool> {
    let mut cluster = Cluster::start(Seed(41).nth(attempt), 3, guards);
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
    let follows = || cluster.progress(first).leader == Some(ReplicaId(second));
    if !comes_within(PATIENCE, follows) {
        return None;
    }
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
    if !comes_within(PATIENCE, || reader.state().last.index.0 >= before + 60) {
        return None;
    }
    cluster.net.heal();
    cluster.net.isolate(NodeId(third));
    let acknowledged = |number: &u64| {
        let handle = handles.iter().find(|(known, _)| known == number);
        handle.is_some_and(|(_, handle)| matches!(handle.peek(), Some(Outcome::Committed(_))))
    };
    // The crate can get stuck here in other ways.
    if !comes_within(PATIENCE, || (200..260).any(|number| acknowledged(&number))) {
        return None;
    }
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
    until_shown("vanilla acknowledges what it loses", |attempt| {
        let kept = write_against_a_diverged_tail(VANILLA, attempt)?;
        (!kept).then_some(())
    });
    let kept = until_shown("the guards acknowledge what they keep", |attempt| {
        write_against_a_diverged_tail(Guards::ON, attempt)
    });
    assert!(kept, "the guards acknowledge nothing that is lost");
}

/// S1: from one voter to three. Returns whether the old voter commits alone afterwards, within `limit`.
fn commit_alone_after_growth(guards: Guards, limit: Duration, attempt: u64) -> Option<bool> {
    let mut cluster = Cluster::prepare(Seed(42).nth(attempt), 1, guards);
    for id in 1..=3 {
        cluster.open(id).unwrap();
    }
    cluster.commit(1);
    let group = Arc::clone(&cluster.nodes[&1].group);
    let grow = MembershipChange::Become {
        voters: voters(1..=3).voters,
        learners: Vec::new(),
    };
    let changed = cluster.within(PATIENCE, group.change_membership(grow));
    if guards.s8_l5_one_voter_at_a_time {
        assert!(
            matches!(changed, Some(Err(ConsensusError::Unsupported(_)))),
            "{changed:?}"
        );
        return Some(false);
    }
    let grown = |id: u64| cluster.nodes[&id].group.status().membership == voters(1..=3);
    if !comes_within(PATIENCE, || (1..=3).all(grown)) {
        return None;
    }
    cluster.net.isolate(NodeId(1));
    let handle = group.propose(value(2)).ok()?;
    let outcome = cluster.within(limit, handle.outcome());
    Some(matches!(outcome, Some(Outcome::Committed(_))))
}

#[test]
fn s1_vanilla_commits_alone_after_growing_and_the_guards_do_not_grow_so() {
    until_shown("vanilla commits alone", |attempt| {
        let alone = commit_alone_after_growth(VANILLA, Duration::from_secs(20), attempt)?;
        alone.then_some(())
    });
    let short = Duration::from_secs(2);
    assert_eq!(commit_alone_after_growth(Guards::ON, short, 0), Some(false));
    // Growth allowed by hand, our own count alone keeps the new voters in it.
    let counted = Guards {
        s8_l5_one_voter_at_a_time: false,
        ..Guards::ON
    };
    let alone = until_shown("a write after growth", |attempt| {
        commit_alone_after_growth(counted, short, attempt)
    });
    assert!(!alone, "our own count asks the new voters");
}

/// S7: whether a leader that was cut off and deposed answers a read without the newest write.
fn read_of_a_deposed_leader(guards: Guards, attempt: u64) -> Option<bool> {
    let cluster = Cluster::start(Seed(43).nth(attempt), 3, guards);
    cluster.commit(1);
    let old = cluster.leader();
    cluster.net.isolate(NodeId(old));
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = cluster.leader_among(others);
    let handle = cluster.nodes[&new].group.propose(value(2)).ok()?;
    let Some(Outcome::Committed(appended)) = cluster.outcome(&handle) else {
        return None;
    };
    if cluster.progress(old).role != Role::Leader {
        return None;
    }
    let read = cluster.nodes[&old].group.read_barrier();
    match cluster.within(Duration::from_secs(3), read) {
        Some(Ok(index)) => Some(index < appended.id.index),
        Some(Err(_)) | None => Some(false),
    }
}

#[test]
fn s7_vanilla_answers_reads_of_a_deposed_leader_and_the_guard_does_not() {
    let guards = |on| Guards {
        s7_s12_own_reads: on,
        l9_check_quorum: false,
        ..Guards::ON
    };
    until_shown("a stale read", |attempt| {
        read_of_a_deposed_leader(guards(false), attempt)?.then_some(())
    });
    let stale = until_shown("a read", |attempt| {
        read_of_a_deposed_leader(guards(true), attempt)
    });
    assert!(!stale, "a quorum is asked");
}

#[test]
fn l9_vanilla_leads_for_ever_without_a_quorum_and_the_guard_gives_way() {
    for on in [false, true] {
        let guards = Guards {
            l9_check_quorum: on,
            ..Guards::ON
        };
        until_shown("a leader that is alone", |attempt| {
            let cluster = Cluster::start(Seed(44).nth(attempt), 3, guards);
            cluster.commit(1);
            let old = cluster.leader();
            cluster.net.isolate(NodeId(old));
            let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
            cluster.leader_among(others);
            let leads = || cluster.progress(old).role == Role::Leader;
            if on {
                wait_for("the leader to give way", || !leads());
                return Some(());
            }
            leads().then_some(())
        });
    }
}

/// How long a cluster has no leader after its start; at most the crate's 30 seconds are waited for.
fn time_to_a_leader(guards: Guards, attempt: u64, limit: Duration) -> Duration {
    let cluster = Cluster::start(Seed(45).nth(attempt), 3, guards);
    let start = Instant::now();
    let elected = || (1..=3).any(|id| cluster.progress(id).role == Role::Leader);
    while start.elapsed() < limit && !elected() {
        block_on(cluster.env.clock.sleep(Duration::from_millis(20)));
    }
    start.elapsed()
}

#[test]
fn l1_vanilla_waits_half_a_minute_after_a_restart_and_the_guard_does_not() {
    let (guarded, limit) = (Duration::from_secs(25), Duration::from_secs(5));
    let vanilla = Guards {
        l1_restart: false,
        ..Guards::ON
    };
    until_shown("vanilla without a leader", |attempt| {
        (time_to_a_leader(vanilla, attempt, limit) >= limit).then_some(())
    });
    until_shown("a leader before the crate's own 30 seconds", |attempt| {
        (time_to_a_leader(Guards::ON, attempt, guarded) < guarded).then_some(())
    });
}
