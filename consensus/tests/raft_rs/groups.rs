//! Many groups on a node, what a leader says of its followers, and links that fail in one direction.

use crate::cluster::{Cluster, voters};
use chronik_conformance::world::net::{End, LinkDelay};
use chronik_core::consensus::Role;
use chronik_core::{GroupId, NodeId, ReplicaId};
use std::time::Duration;

const GROUPS: u64 = 200;

/// Three nodes with many groups, of which each has a leader.
fn many(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(seed, 3);
    for group in 2..=GROUPS {
        for node in 1..=3 {
            cluster.open(node, GroupId(group), voters(&[1, 2, 3]));
        }
    }
    cluster.until("leaders", all_led);
    cluster
}

fn all_led(cluster: &Cluster) -> bool {
    (1..=GROUPS).all(|group| {
        let mut nodes = cluster.nodes.values();
        nodes.any(|node| {
            let progress = node.groups[&GroupId(group)].group.watch().get();
            let served = progress
                .own_term_start
                .is_some_and(|start| progress.commit >= start);
            progress.role == Role::Leader && served
        })
    })
}

#[test]
fn messages_of_many_groups_to_a_peer_travel_together() {
    let cluster = many(70);
    cluster.sim.advance(Duration::from_secs(1));
    let before = (cluster.total("messages_out"), cluster.total("batches_out"));
    cluster.sim.advance(Duration::from_secs(2));
    let messages = cluster.total("messages_out") - before.0;
    let batches = cluster.total("batches_out") - before.1;
    assert!(
        messages > 10 * batches,
        "{messages} messages in {batches} batches, {:?}",
        cluster.dump()
    );
}

#[test]
fn a_node_that_dies_costs_its_groups_one_election_each() {
    let mut cluster = many(71);
    let elections = cluster.total("elections");
    cluster.kill(1, End::Process);
    cluster.until_within(Duration::from_secs(2), "leaders", all_led);
    // Where two replicas ask at once, both ask again.
    assert!(cluster.total("elections") - elections < GROUPS * 2);
}

#[test]
fn a_stopped_group_leaves_the_others_alone() {
    let cluster = many(72);
    let node = &cluster.nodes[&1];
    cluster.wait("the end", node.groups[&GroupId(5)].group.close());
    assert_eq!(node.groups[&GroupId(5)].group.watch().get().role, Role::Stopped);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    cluster.until("another leader", |cluster| {
        let leads =
            |node: u64| cluster.nodes[&node].groups[&GroupId(5)].group.watch().get().role == Role::Leader;
        leads(2) || leads(3)
    });
}

#[test]
fn a_leader_says_how_far_each_replica_is_and_how_long_it_has_been_silent() {
    let cluster = Cluster::of(73, 3);
    let leader = cluster.elect();
    let id = cluster.commit(leader, 1, 1);
    cluster.agree();
    cluster.sim.advance(Duration::from_millis(500));
    let status = cluster.group(leader).status();
    assert_eq!(status.matched.len(), 3);
    for matched in status.matched.values() {
        assert_eq!(matched.index, id.index);
        assert!(matched.silent_for < Duration::from_millis(350), "{status:?}");
    }
    // Answers that take long do not make a replica look alive: what counts is when the question was put.
    let away = cluster.others(leader)[0];
    let slow = LinkDelay {
        from: Duration::from_millis(700),
        to: Duration::from_millis(700),
    };
    cluster.net.set_delay(NodeId(away), NodeId(leader), slow);
    cluster.sim.advance(Duration::from_secs(3));
    let status = cluster.group(leader).status();
    assert!(status.matched[&ReplicaId(away)].silent_for >= Duration::from_millis(700));
    cluster.isolate(away);
    cluster.sim.advance(Duration::from_secs(4));
    let silent_for = cluster.group(leader).status().matched[&ReplicaId(away)].silent_for;
    assert!(silent_for >= Duration::from_secs(4), "{silent_for:?}");
    assert!(
        cluster.group(away).status().matched.is_empty(),
        "only a leader knows"
    );
}

#[test]
fn a_link_that_fails_in_one_direction_causes_no_endless_change_of_leaders() {
    for seed in 74..84 {
        let cluster = Cluster::of(seed, 3);
        let leader = cluster.elect();
        cluster.agree();
        let other = cluster.others(leader)[(seed % 2) as usize];
        if seed % 4 < 2 {
            cluster.net.cut(NodeId(leader), NodeId(other));
        } else {
            cluster.net.cut(NodeId(other), NodeId(leader));
        }
        cluster.sim.advance(Duration::from_secs(10));
        let settled = cluster.elect();
        let term = cluster.progress(settled).term;
        cluster.sim.advance(Duration::from_secs(30));
        assert_eq!(cluster.leader(), Some(settled), "seed {seed}: {}", cluster.dump());
        assert_eq!(cluster.progress(settled).term, term);
        cluster.commit(settled, 1, 1);
    }
}

#[test]
fn a_message_for_another_incarnation_of_a_replica_is_dropped() {
    let mut cluster = Cluster::of(85, 3);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    let away = cluster.others(leader)[0];
    cluster.kill(away, End::Process);
    // Its directory is lost: what starts is another replica, which nobody knows.
    cluster.disks.remove(&away);
    cluster.start(away);
    let replica = chronik_core::consensus::Member {
        replica: ReplicaId(1000 + away),
        node: NodeId(away),
    };
    cluster.open_as(away, crate::cluster::GROUP, Default::default(), replica);
    cluster.sim.advance(Duration::from_secs(5));
    assert!(cluster.total("dropped_unknown") > 0);
    assert_eq!(cluster.reader(away).state().last.index.0, 0);
    cluster.commit(leader, 1, 2);
}
