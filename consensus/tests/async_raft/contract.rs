//! Clauses of the contract that no guard stands for: the engine keeps them all the same.

use crate::cluster::{Cluster, GROUP, entries, member, until_shown, value, value_of, voters, wait_for};
use chronik_conformance::world::Seed;
use chronik_conformance::world::disk::{Fault, Op};
use chronik_consensus::async_raft::Guards;
use chronik_core::consensus::{
    Consensus, ConsensusError, ConsensusGroup, GroupSpec, Member, Membership, MembershipChange, Role,
};
use chronik_core::fs::FsErrorKind;
use chronik_core::{Entry, EntryKind, GroupId, LogIndex, NodeId, Outcome, ReplicaId};
use futures_lite::future::block_on;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn others(leader: u64) -> Vec<u64> {
    (1..=3).filter(|id| *id != leader).collect()
}

#[test]
fn through_losses_of_leaders_a_term_has_one_leader_and_nothing_goes_back() {
    until_shown("leaders that are lost, and one whose end is removed", |attempt| {
        let mut cluster = Cluster::start(Seed(61).nth(attempt), 3, Guards::ON);
        cluster.commit(1);
        for round in 0..2 {
            let old = cluster.leader();
            cluster.crash(old);
            cluster.commit(10 + round);
            cluster.open(old).unwrap();
        }
        let old = cluster.leader();
        cluster.net.isolate(NodeId(old));
        for number in 20..24 {
            drop(cluster.nodes[&old].group.propose(value(number)));
        }
        cluster.leader_among(others(old));
        cluster.net.heal();
        let last = cluster.commit(30);
        cluster.wait_commit(last);
        cluster.assert_agreement([1, 10, 11, 30]);
        let broken = cluster.witness.broken();
        assert_eq!(broken, Vec::<String>::new());
        let (terms, cuts) = cluster.witness.counts();
        (terms >= 4 && cuts >= 1).then_some(())
    });
}

#[test]
fn a_leader_that_was_just_cut_off_has_no_lease_to_answer_a_barrier_by() {
    let cluster = Cluster::start(Seed(62), 3, Guards::ON);
    cluster.commit(1);
    let leader = cluster.leader();
    cluster.net.isolate(NodeId(leader));
    // Far less than it takes to elect another: who had a lease would use it.
    let barrier = cluster.nodes[&leader].group.read_barrier();
    let answer = cluster.within(Duration::from_millis(250), barrier);
    assert!(!matches!(answer, Some(Ok(_))), "{answer:?}");
}

fn learner(id: u64) -> MembershipChange {
    MembershipChange::AddLearner(member(id))
}

#[test]
fn a_change_that_was_truncated_is_not_in_force_and_meanwhile_another_is_busy() {
    until_shown("a leader that is cut off with a change", |attempt| {
        let cluster = Cluster::start(Seed(63).nth(attempt), 3, Guards::ON);
        cluster.commit(1);
        let old = cluster.leader();
        cluster.net.isolate(NodeId(old));
        let group = Arc::clone(&cluster.nodes[&old].group);
        let first = group.change_membership(learner(4));
        let first = std::thread::spawn(move || block_on(first));
        let has_change =
            |cluster: &Cluster| cluster.nodes[&old].group.status().membership.learners == [member(4)];
        if !crate::cluster::comes_within(Duration::from_millis(400), || has_change(&cluster)) {
            cluster.net.heal();
            drop(first.join());
            return None;
        }
        let second = cluster.within(Duration::from_secs(5), group.change_membership(learner(5)));
        cluster.leader_among(others(old));
        cluster.net.heal();
        let last = cluster.commit(2);
        cluster.wait_commit(last);
        let first = first.join().unwrap();
        assert!(
            first.is_err(),
            "a leader that is alone committed a change: {first:?}"
        );
        wait_for("the old leader to count as before", || {
            let mut membership = cluster.nodes[&old].group.status().membership;
            membership.voters.sort();
            membership == voters(1..=3)
        });
        match second {
            Some(Err(ConsensusError::Busy)) => Some(()),
            // It led no longer when it was asked.
            Some(Err(ConsensusError::NotLeader { .. })) => None,
            answer => panic!("a second change beside the first: {answer:?}"),
        }
    });
}

/// A state machine that remembers in what order it applied what.
fn digest(mut state: u64, entries: &[Entry]) -> u64 {
    for entry in entries {
        for fact in [entry.id.term.0, entry.id.index.0, u64::from(crc(&entry.payload))] {
            state = (state ^ fact).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        }
    }
    state
}

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7, |sum: u32, byte| {
        sum.rotate_left(5).wrapping_add(u32::from(*byte))
    })
}

#[test]
fn a_checkpoint_and_the_rest_give_the_state_that_all_entries_give() {
    let mut cluster = Cluster::prepare(Seed(64), 3, Guards::ON);
    cluster.tune = |options| options.answer_timeout = Duration::from_secs(40);
    for id in 1..=4 {
        cluster.open(id).unwrap();
    }
    let last = (0..20).map(|number| cluster.commit(number)).max().unwrap();
    wait_for("the voters to commit", || {
        (1..=3).all(|id| cluster.progress(id).commit >= last)
    });
    let early = entries(cluster.nodes[&1].reader.as_ref(), last);
    let state = digest(0, &early);
    for id in 1..=3 {
        cluster.checkpoint_and_purge(id, last, &state.to_be_bytes());
    }
    wait_for("the learner to be taken up", || {
        let leader = cluster.leader();
        let known = cluster.nodes[&leader].group.status().membership.learners;
        known == [member(4)] || block_on(cluster.nodes[&leader].group.change_membership(learner(4))).is_ok()
    });
    let end = (20..30).map(|number| cluster.commit(number)).max().unwrap();
    cluster.wait_commit(end);
    let rest = |id: u64| -> Vec<Entry> {
        let found = entries(cluster.nodes[&id].reader.as_ref(), end);
        found.into_iter().filter(|entry| entry.id.index > last).collect()
    };
    let taken = cluster.nodes[&4].reader.checkpoint(last).unwrap().unwrap();
    let taken = u64::from_be_bytes(taken.data.as_ref().try_into().unwrap());
    let all: Vec<Entry> = early.into_iter().chain(rest(1)).collect();
    assert_eq!(digest(taken, &rest(4)), digest(0, &all));
    assert!(cluster.nodes[&4].reader.state().purged.index >= last);
}

#[test]
fn a_leader_whose_disk_fails_stops_leading_and_acknowledges_nothing_by_itself() {
    let cluster = Cluster::start(Seed(65), 3, Guards::ON);
    cluster.commit(1);
    let sick = cluster.leader();
    cluster.nodes[&sick].disk.inject(Fault {
        times: 1_000_000,
        ..Fault::nth(Op::Sync, 0, FsErrorKind::Io)
    });
    let handle = cluster.nodes[&sick].group.propose(value(2)).ok();
    wait_for("a leader whose disk failed to stop leading", || {
        cluster.progress(sick).role != Role::Leader
    });
    let leader = cluster.leader_among(others(sick));
    let handle_says = handle.and_then(|handle| handle.peek());
    if let Some(Outcome::Committed(_)) = handle_says {
        // By the other two, then.
        let log = cluster.committed(leader);
        assert!(log.iter().any(|entry| value_of(entry) == Some(2)));
    }
    let proposed = cluster.nodes[&leader].group.propose(value(3)).unwrap();
    let outcome = cluster.outcome(&proposed);
    assert!(matches!(outcome, Some(Outcome::Committed(_))), "{outcome:?}");
}

const OTHER: GroupId = GroupId(8);

/// Opens a second group on the engine of every node.
fn open_beside(cluster: &Cluster) -> BTreeMap<u64, Arc<dyn ConsensusGroup>> {
    let seat = |id: u64| Member {
        replica: ReplicaId(100 + id),
        node: NodeId(id),
    };
    let open = |id: &u64| {
        let spec = GroupSpec {
            group: OTHER,
            replica: seat(*id),
            founding: Membership {
                voters: (1..=3).map(seat).collect(),
                ..Membership::default()
            },
            log: cluster.log_of(*id, OTHER),
            stamper: crate::cluster::stamper(),
        };
        (*id, block_on(cluster.nodes[id].engine.open_group(spec)).unwrap())
    };
    cluster.nodes.keys().map(open).collect()
}

/// Proposes to the second group until something is committed.
fn commit_beside(
    cluster: &Cluster,
    groups: &BTreeMap<u64, Arc<dyn ConsensusGroup>>,
    number: u64,
) -> LogIndex {
    let mut found = None;
    wait_for("the other group to commit", || {
        let leads = |group: &&Arc<dyn ConsensusGroup>| group.watch().get().role == Role::Leader;
        let handle = groups
            .values()
            .find(leads)
            .and_then(|group| group.propose(value(number)).ok());
        let outcome = handle.and_then(|handle| cluster.outcome(&handle));
        if let Some(Outcome::Committed(appended)) = outcome {
            found = Some(appended.id.index);
        }
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn groups_of_one_engine_do_not_see_each_other_and_one_that_ends_stops_no_other() {
    let cluster = Cluster::start(Seed(66), 3, Guards::ON);
    let beside = open_beside(&cluster);
    for number in 0..5 {
        cluster.commit(number);
        commit_beside(&cluster, &beside, 100 + number);
    }
    let leader = cluster.leader();
    let mine = cluster.committed(leader);
    let data = mine.iter().filter(|entry| entry.kind == EntryKind::Data);
    assert!(data.filter_map(value_of).all(|number| number < 100), "{mine:?}");
    // The first group ends on the node that leads it.
    block_on(cluster.nodes[&leader].group.close());
    let after = commit_beside(&cluster, &beside, 200);
    for group in beside.values() {
        wait_for("the other group to go on everywhere", || {
            group.watch().get().commit >= after
        });
    }
    cluster.leader_among(others(leader));
    assert_ne!(GROUP, OTHER);
    for group in beside.values() {
        block_on(group.close());
    }
}
