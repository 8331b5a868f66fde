//! What is committed, when, and what happens to the rest.

use crate::cluster::{Cluster, records};
use chronik_conformance::world::net::End;
use chronik_core::consensus::{ConsensusError, Role};
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, NodeId, Offset, Outcome};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn entries_reach_all_replicas_with_their_offsets_and_stamps() {
    let cluster = Cluster::of(10, 3);
    let leader = cluster.elect();
    let handles: Vec<_> = (1..=20)
        .map(|count| cluster.propose(leader, count, count as u8))
        .collect();
    let mut base = 0;
    for (count, handle) in (1..=20).zip(&handles) {
        let Outcome::Committed(appended) = cluster.wait("commit", handle.outcome()) else {
            panic!("not committed");
        };
        assert_eq!(appended.base_offset, Offset(base));
        base += count;
    }
    cluster.agree();
    let term = cluster.progress(leader).term;
    for node in 1..=3 {
        assert_eq!(cluster.reader(node).state().offset_end, Offset(base));
        let last = cluster.reader(node).state().last.index.0;
        for entry in cluster.entries(node, 1, last) {
            if entry.kind == EntryKind::Data {
                assert_eq!(entry.payload[..8], entry.base_offset.0.to_be_bytes());
                assert_eq!(entry.payload[8..16], term.0.to_be_bytes());
            }
        }
    }
}

#[test]
fn an_entry_is_committed_when_it_is_durable_on_a_quorum_and_not_before() {
    for held in [1, 2] {
        let cluster = Cluster::of(11, 3);
        let leader = cluster.elect();
        cluster.agree();
        // The disks of `held` followers take an hour, so does the leader's where it is held too.
        for node in cluster.others(leader).into_iter().take(held) {
            cluster.nodes[&node].process.queue().set_job_time(LONG, LONG);
        }
        let handle = cluster.propose(leader, 1, 1);
        cluster.sim.advance(Duration::from_millis(900));
        match held {
            1 => assert!(matches!(handle.peek(), Some(Outcome::Committed(_)))),
            _ => assert_eq!(handle.peek(), None),
        }
    }
}

#[test]
fn a_leader_whose_own_disk_is_slow_commits_by_the_others() {
    let cluster = Cluster::of(12, 3);
    let leader = cluster.elect();
    cluster.agree();
    cluster.nodes[&leader].process.queue().set_job_time(LONG, LONG);
    let handle = cluster.propose(leader, 1, 1);
    cluster.sim.advance(Duration::from_millis(500));
    let Some(Outcome::Committed(appended)) = handle.peek() else {
        panic!("{:?}", handle.peek());
    };
    assert!(cluster.reader(leader).state().durable < appended.id.index);
}

#[test]
fn what_an_isolated_leader_took_is_replaced_and_known_not_to_be_committed() {
    let cluster = Cluster::of(13, 3);
    let old = cluster.elect();
    cluster.commit(old, 1, 1);
    cluster.agree();
    cluster.isolate(old);
    let lost: Vec<_> = (0..5).map(|mark| cluster.propose(old, 1, mark)).collect();
    cluster.until("another leader", |cluster| {
        cluster.leader().is_some_and(|leader| leader != old)
    });
    let new = cluster.elect();
    let kept: Vec<_> = (0..9).map(|mark| cluster.commit(new, 2, 100 + mark)).collect();
    assert!(
        lost.iter().all(|handle| handle.peek().is_none()),
        "nobody can know yet"
    );
    cluster.until("the old leader steps down", |cluster| {
        cluster.progress(old).role != Role::Leader
    });
    assert!(matches!(
        cluster.group(old).propose(records(1, 1)),
        Err(ProposeError::NotLeader { .. })
    ));
    cluster.net.heal_all();
    for handle in &lost {
        let outcome = cluster.wait("an outcome", handle.outcome());
        assert!(
            matches!(outcome, Outcome::NotCommitted(ProposeError::NotLeader { .. })),
            "{outcome:?}"
        );
    }
    cluster.agree();
    for id in kept {
        assert_eq!(cluster.reader(old).term_at(id.index), Ok(id.term));
    }
}

#[test]
fn a_proposal_that_was_replicated_before_its_leader_was_lost_is_committed_by_the_next() {
    let cluster = Cluster::of(14, 3);
    let old = cluster.elect();
    cluster.agree();
    let others = cluster.others(old);
    // Its messages go out, and no answer comes back.
    for other in &others {
        cluster.net.cut(NodeId(*other), NodeId(old));
    }
    let handle = cluster.propose(old, 1, 1);
    let appended = cluster.wait("its place", handle.appended()).unwrap();
    cluster.sim.advance(Duration::from_millis(50));
    cluster.isolate(old);
    cluster.until("another leader", |cluster| {
        cluster.leader().is_some_and(|leader| leader != old)
    });
    assert_eq!(handle.peek(), None);
    cluster.net.heal_all();
    assert_eq!(
        cluster.wait("an outcome", handle.outcome()),
        Outcome::Committed(appended)
    );
    cluster.agree();
}

#[test]
fn an_isolated_leader_completes_no_read_barrier() {
    let cluster = Cluster::of(15, 3);
    let old = cluster.elect();
    let id = cluster.commit(old, 1, 1);
    let before = cluster
        .wait("a barrier", cluster.group(old).read_barrier())
        .unwrap();
    assert!(before >= id.index);
    cluster.isolate(old);
    let answer = cluster.wait("an answer", cluster.group(old).read_barrier());
    assert!(matches!(answer, Err(ConsensusError::Unknown(_))), "{answer:?}");
}

#[test]
fn a_follower_completes_a_read_barrier_at_or_above_all_that_was_acknowledged() {
    let cluster = Cluster::of(16, 3);
    let leader = cluster.elect();
    for mark in 0..5 {
        let id = cluster.commit(leader, 1, mark);
        for node in 1..=3 {
            let barrier = cluster
                .wait("a barrier", cluster.group(node).read_barrier())
                .unwrap();
            assert!(barrier >= id.index);
        }
    }
}

#[test]
fn what_exceeds_the_limits_in_flight_is_refused_and_has_no_effect() {
    let mut cluster = Cluster::new(17);
    cluster.tune = |options| options.group_inflight_bytes = 100;
    cluster.found(3);
    let leader = cluster.elect();
    let large = cluster.propose(leader, 500, 1);
    assert_eq!(
        cluster.group(leader).propose(records(1, 1)).unwrap_err(),
        ProposeError::Overloaded
    );
    assert!(matches!(
        cluster.wait("commit", large.outcome()),
        Outcome::Committed(_)
    ));
    let next = cluster.propose(leader, 1, 2);
    let appended = cluster.wait("its place", next.appended()).unwrap();
    assert_eq!(
        appended.base_offset,
        Offset(500),
        "the refused proposal took no place"
    );
}

#[test]
fn a_closed_engine_leaves_open_proposals_unknown_and_runs_nothing() {
    let mut cluster = Cluster::of(18, 3);
    let leader = cluster.elect();
    cluster.isolate(leader);
    let open = cluster.propose(leader, 1, 1);
    cluster.wait("its place", open.appended()).unwrap();
    let engine = std::sync::Arc::clone(&cluster.nodes[&leader].engine);
    cluster.wait("the end", chronik_core::Consensus::close(&*engine));
    assert!(
        matches!(open.peek(), Some(Outcome::Unknown(_))),
        "{:?}",
        open.peek()
    );
    assert_eq!(cluster.progress(leader).role, Role::Stopped);
    assert_eq!(
        cluster.group(leader).propose(records(1, 1)).unwrap_err(),
        ProposeError::Closed
    );
    let left = cluster.nodes[&leader].process.tasks();
    assert!(left.iter().all(|task| !task.starts_with("consensus")), "{left:?}");
    cluster.kill(leader, End::Process);
}

#[test]
fn a_failed_disk_stops_the_replica_and_acknowledges_nothing() {
    use chronik_conformance::world::disk::{Fault, Op};
    use chronik_core::fs::FsErrorKind;
    let cluster = Cluster::of(19, 3);
    let leader = cluster.elect();
    cluster.agree();
    let fault = Fault::nth(Op::Sync, 0, FsErrorKind::Io);
    cluster.disks[&leader].inject(fault);
    let handle = cluster.propose(leader, 1, 1);
    cluster.until("the stop", |cluster| {
        cluster.progress(leader).role == Role::Stopped
    });
    assert!(handle.peek().is_some());
    assert!(
        cluster.wait("its end", handle.durable()).is_err()
            || matches!(handle.peek(), Some(Outcome::Committed(_)))
    );
    cluster.until("another leader", |cluster| {
        cluster.leader().is_some_and(|next| next != leader)
    });
}
