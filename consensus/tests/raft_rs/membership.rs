//! Who takes part: learners, joint changes, removal, transfer.

use crate::cluster::{Cluster, GROUP, member, voters};
use chronik_conformance::world::net::End;
use chronik_core::consensus::{ConsensusError, Member, Membership, MembershipChange, Role};
use chronik_core::{LogId, NodeId, Outcome, ReplicaId};
use std::time::Duration;

fn become_voters(nodes: &[u64]) -> MembershipChange {
    MembershipChange::Become {
        voters: nodes.iter().map(|node| member(*node)).collect(),
        learners: Vec::new(),
    }
}

impl Cluster {
    /// Asks whoever leads until the change is committed.
    fn change(&self, change: &MembershipChange) -> LogId {
        for _ in 0..20 {
            let leader = self.elect();
            let answer = self.group(leader).change_membership(change.clone());
            match self.wait("an answer", answer) {
                Ok(id) => return id,
                Err(ConsensusError::Busy | ConsensusError::NotLeader { .. }) => {
                    self.sim.advance(Duration::from_millis(200));
                }
                Err(error) => panic!("{error}: {}", self.dump()),
            }
        }
        panic!("the change is never taken: {}", self.dump());
    }

    fn membership(&self, node: u64) -> Membership {
        self.group(node).status().membership
    }
}

/// A node that has an empty replica and waits for a leader.
fn fresh(cluster: &mut Cluster, node: u64) {
    cluster.start(node);
    cluster.open(node, GROUP, Membership::default());
}

#[test]
fn a_learner_gets_the_log_and_is_never_counted() {
    let mut cluster = Cluster::of(30, 3);
    let leader = cluster.elect();
    for mark in 0..5 {
        cluster.commit(leader, 2, mark);
    }
    fresh(&mut cluster, 4);
    cluster.change(&MembershipChange::AddLearner(member(4)));
    cluster.agree();
    assert_eq!(cluster.progress(4).role, Role::Learner);
    assert_eq!(cluster.membership(4).learners, [member(4)]);
    let leader = cluster.elect();
    let followers: Vec<u64> = cluster
        .others(leader)
        .into_iter()
        .filter(|node| *node != 4)
        .collect();
    for node in followers {
        cluster.kill(node, End::Process);
    }
    let handle = cluster.propose(leader, 1, 9);
    cluster.sim.advance(Duration::from_millis(500));
    assert_eq!(
        handle.peek(),
        None,
        "one voter and a learner are no quorum of three"
    );
}

#[test]
fn a_learner_stays_one_across_a_restart_and_can_be_promoted() {
    let mut cluster = Cluster::of(31, 3);
    cluster.elect();
    fresh(&mut cluster, 4);
    cluster.change(&MembershipChange::AddLearner(member(4)));
    cluster.agree();
    cluster.kill(4, End::Process);
    cluster.restart(4);
    cluster.agree();
    assert_eq!(cluster.progress(4).role, Role::Learner);
    cluster.change(&become_voters(&[1, 2, 3, 4]));
    cluster.agree();
    for node in 1..=4 {
        assert_eq!(cluster.membership(node), voters(&[1, 2, 3, 4]));
        // It takes effect where its entry is durable.
        cluster.until("a voter", |cluster| cluster.progress(node).role != Role::Learner);
    }
}

#[test]
fn growth_from_one_voter_waits_for_a_quorum_of_the_new_set() {
    let mut cluster = Cluster::of(32, 1);
    cluster.elect();
    cluster.commit(1, 1, 1);
    fresh(&mut cluster, 2);
    fresh(&mut cluster, 3);
    cluster.change(&become_voters(&[1, 2, 3]));
    cluster.agree();
    cluster.isolate(1);
    let handle = cluster.propose(1, 1, 2);
    cluster.sim.advance(Duration::from_millis(500));
    assert_eq!(handle.peek(), None);
    cluster.until("another leader", |cluster| {
        cluster.leader().is_some_and(|leader| leader != 1)
    });
    cluster.net.heal_all();
    let outcome = cluster.wait("an outcome", handle.outcome());
    assert!(matches!(outcome, Outcome::NotCommitted(_)), "{outcome:?}");
    cluster.agree();
}

#[test]
fn a_joint_change_replaces_voters_and_another_change_is_busy_meanwhile() {
    let mut cluster = Cluster::of(33, 3);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    for node in 4..=6 {
        fresh(&mut cluster, node);
    }
    let stay = leader;
    let change = become_voters(&[stay, 4, 5]);
    let answer = cluster.group(leader).change_membership(change);
    let second = cluster.group(leader).change_membership(become_voters(&[stay, 6]));
    let refused = cluster.wait("an answer", second);
    assert_eq!(refused, Err(ConsensusError::Busy));
    cluster.wait("the change", answer).unwrap();
    for node in cluster
        .others(stay)
        .into_iter()
        .filter(|node| ![4, 5].contains(node))
    {
        cluster.kill(node, End::Process);
    }
    cluster.commit(stay, 1, 2);
    cluster.agree();
    assert_eq!(cluster.membership(5).voters.len(), 3);
    assert!(cluster.membership(5).outgoing_voters.is_empty());
}

#[test]
fn a_leader_that_is_removed_commits_the_change_and_steps_down() {
    let mut cluster = Cluster::of(34, 3);
    let leader = cluster.elect();
    let rest = cluster.others(leader);
    cluster.change(&become_voters(&rest));
    cluster.until_within(Duration::from_secs(1), "the next leader", |cluster| {
        cluster.leader().is_some_and(|next| next != leader)
    });
    assert_ne!(cluster.progress(leader).role, Role::Leader);
    let next = cluster.elect();
    let term = cluster.progress(next).term;
    cluster.commit(next, 1, 1);
    // The one that was removed does not disturb the others.
    cluster.sim.advance(Duration::from_secs(10));
    assert_eq!(cluster.progress(next).term, term);
    cluster.kill(leader, End::Process);
    cluster.agree();
}

#[test]
fn a_voter_becomes_a_learner() {
    let cluster = Cluster::of(35, 3);
    let leader = cluster.elect();
    let rest = cluster.others(leader);
    cluster.change(&MembershipChange::Become {
        voters: vec![member(leader), member(rest[0])],
        learners: vec![member(rest[1])],
    });
    cluster.agree();
    assert_eq!(cluster.progress(rest[1]).role, Role::Learner);
    cluster.change(&MembershipChange::Become {
        voters: vec![member(leader), member(rest[1])],
        learners: vec![member(rest[0])],
    });
    cluster.agree();
    assert_eq!(cluster.progress(rest[0]).role, Role::Learner);
}

#[test]
fn a_change_that_a_crash_interrupts_ends_in_one_membership_and_the_group_goes_on() {
    for cut in 0..40 {
        let mut cluster = Cluster::of(1000 + cut, 3);
        let leader = cluster.elect();
        cluster.agree();
        for node in 4..=5 {
            fresh(&mut cluster, node);
        }
        let old = voters(&[1, 2, 3]);
        let new = voters(&[leader, 4, 5]);
        let answer = cluster
            .group(leader)
            .change_membership(become_voters(&[leader, 4, 5]));
        for _ in 0..cut * 6 {
            cluster.sim.step();
        }
        cluster.sim.advance(Duration::from_micros(300 * cut));
        drop(answer);
        cluster.crash(leader, &mut chronik_conformance::world::disk::DropAll);
        cluster.restart(leader);
        cluster.until("one membership", |cluster| {
            let now = cluster.leader().map(|leader| cluster.membership(leader));
            now.is_some_and(|now| now == old || same_voters(&now, &new))
        });
        // A leader that the change removes may come in between: what it took then has no outcome that it could learn.
        let commits = |_| {
            let proposed = cluster.propose(cluster.elect(), 1, 1);
            matches!(
                cluster.wait("an outcome", proposed.outcome()),
                Outcome::Committed(_)
            )
        };
        assert!(
            (0..5).any(commits),
            "nothing is committed any more: {}",
            cluster.dump()
        );
    }
}

fn same_voters(one: &Membership, other: &Membership) -> bool {
    let sorted = |membership: &Membership| {
        let mut voters = membership.voters.clone();
        voters.sort();
        voters
    };
    one.outgoing_voters.is_empty() && sorted(one) == sorted(other)
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cluster = Cluster::of(36, 3);
    let leader = cluster.elect();
    cluster.agree();
    let moved = Member {
        replica: ReplicaId(1),
        node: NodeId(9),
    };
    for change in [
        become_voters(&[]),
        become_voters(&[1, 1]),
        MembershipChange::AddLearner(member(1)),
        MembershipChange::AddLearner(moved),
    ] {
        let answer = cluster.group(leader).change_membership(change);
        let refused = cluster.wait("an answer", answer);
        assert!(matches!(refused, Err(ConsensusError::Invalid(_))), "{refused:?}");
    }
    let follower = cluster.others(leader)[0];
    let answer = cluster.group(follower).change_membership(become_voters(&[1]));
    let refused = cluster.wait("an answer", answer);
    assert_eq!(
        refused,
        Err(ConsensusError::NotLeader {
            leader: Some(ReplicaId(leader))
        })
    );
}

#[test]
fn leadership_moves_to_a_chosen_voter_and_proposals_meanwhile_are_not_lost() {
    let cluster = Cluster::of(37, 3);
    let leader = cluster.elect();
    cluster.agree();
    let to = cluster.others(leader)[1];
    let before = cluster.sim.clock().elapsed();
    let moved = cluster.group(leader).transfer_leadership(ReplicaId(to));
    let meanwhile = cluster.propose(leader, 1, 1);
    cluster.wait("the transfer", moved).unwrap();
    assert!(cluster.sim.clock().elapsed() - before < Duration::from_millis(200));
    cluster.until("the new leader", |cluster| cluster.leader() == Some(to));
    let outcome = cluster.wait("an outcome", meanwhile.outcome());
    assert!(!matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    cluster.commit(to, 1, 2);
    cluster.agree();
    let nobody = cluster.group(to).transfer_leadership(ReplicaId(77));
    assert!(matches!(
        cluster.wait("an answer", nobody),
        Err(ConsensusError::Invalid(_))
    ));
}

#[test]
fn a_transfer_to_a_replica_that_does_not_answer_is_unknown_and_the_leader_leads_on() {
    let cluster = Cluster::of(38, 3);
    let leader = cluster.elect();
    cluster.agree();
    let to = cluster.others(leader)[0];
    cluster.isolate(to);
    let moved = cluster.group(leader).transfer_leadership(ReplicaId(to));
    let answer = cluster.wait("an answer", moved);
    assert!(matches!(answer, Err(ConsensusError::Unknown(_))), "{answer:?}");
    cluster.commit(leader, 1, 1);
}
