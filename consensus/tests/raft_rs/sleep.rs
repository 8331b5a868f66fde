//! Groups in which nothing happens cost nothing, and wake when they must.

use crate::cluster::{Cluster, GROUP, voters};
use chronik_conformance::world::disk::DropAll;
use chronik_conformance::world::net::End;
use chronik_core::consensus::Role;
use chronik_core::{GroupId, LogIndex};
use std::time::Duration;

const GROUPS: u64 = 50;

/// Three nodes with groups that all sleep.
fn sleeping(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(seed, 3);
    for group in 2..=GROUPS {
        for node in 1..=3 {
            cluster.open(node, GroupId(group), voters(&[1, 2, 3]));
        }
    }
    cluster.until("sleep", |cluster| {
        cluster.total("groups_hibernating") == 3 * GROUPS
    });
    cluster
}

fn leader_of(cluster: &Cluster, group: u64) -> Option<u64> {
    let leads = |node: &&u64| {
        let open = &cluster.nodes[node].groups[&GroupId(group)];
        open.group.watch().get().role == Role::Leader
    };
    cluster.nodes.keys().find(leads).copied()
}

#[test]
fn sleeping_groups_send_nothing_of_their_own() {
    let cluster = sleeping(90);
    let before = (cluster.total("messages_out"), cluster.total("ready_rounds"));
    cluster.sim.advance(Duration::from_secs(60));
    let messages = cluster.total("messages_out") - before.0;
    // Pings and their answers of three nodes, five a second.
    assert!(messages <= 6 * 60 * 2 * 6, "{messages} messages");
    assert_eq!(cluster.total("ready_rounds"), before.1);
    assert_eq!(cluster.total("groups_hibernating"), 3 * GROUPS);
    let leader = cluster.leader().unwrap();
    for (replica, matched) in cluster.group(leader).status().matched {
        assert!(
            matched.silent_for < Duration::from_millis(500),
            "{replica}: {matched:?}"
        );
        assert_eq!(matched.index, cluster.reader(leader).state().last.index);
    }
}

#[test]
fn a_sleeping_group_takes_proposals_and_barriers_at_once() {
    let cluster = sleeping(91);
    let leader = cluster.leader().unwrap();
    let before = cluster.sim.clock().elapsed();
    let id = cluster.commit(leader, 1, 1);
    assert!(cluster.sim.clock().elapsed() - before < Duration::from_millis(50));
    let sleeps = |cluster: &Cluster| cluster.total("groups_hibernating") == 3 * GROUPS;
    cluster.until("sleep again", sleeps);
    for node in 1..=3 {
        assert_eq!(
            cluster.progress(node).commit,
            id.index,
            "commits arrive before sleep"
        );
    }
    let follower = cluster.others(leader)[0];
    let before = cluster.sim.clock().elapsed();
    let barrier = cluster.wait("a barrier", cluster.group(follower).read_barrier());
    assert!(barrier.unwrap() >= id.index);
    assert!(cluster.sim.clock().elapsed() - before < Duration::from_millis(50));
    cluster.until("sleep again", sleeps);
}

#[test]
fn groups_of_a_node_that_dies_wake_and_elect() {
    for how in [End::Process, End::Power] {
        let mut cluster = sleeping(92);
        let dead = cluster.leader().unwrap();
        let led: Vec<u64> = (1..=GROUPS)
            .filter(|group| leader_of(&cluster, *group) == Some(dead))
            .collect();
        cluster.kill(dead, how);
        cluster.until_within(Duration::from_secs(5), "leaders", |cluster| {
            led.iter().all(|group| leader_of(cluster, *group).is_some())
        });
        let next = cluster.elect();
        cluster.commit(next, 1, 1);
    }
}

#[test]
fn a_process_that_stands_still_is_given_up_and_follows_when_it_goes_on() {
    let cluster = sleeping(93);
    let still = cluster.leader().unwrap();
    let process = cluster.nodes[&still].process.clone();
    process.pause();
    let others = cluster.others(still);
    cluster.until_within(Duration::from_secs(5), "another leader", |cluster| {
        others
            .iter()
            .any(|node| cluster.progress(*node).role == Role::Leader)
    });
    process.resume();
    cluster.until("one leader", |cluster| {
        cluster.progress(still).role == Role::Follower
    });
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    cluster.agree();
}

#[test]
fn a_follower_that_restarts_wakes_the_group_and_catches_up() {
    let mut cluster = sleeping(94);
    let leader = cluster.leader().unwrap();
    let away = cluster.others(leader)[0];
    cluster.crash(away, &mut DropAll);
    cluster.sim.advance(Duration::from_secs(10));
    cluster.start(away);
    cluster.open(away, GROUP, voters(&[1, 2, 3]));
    cluster.agree();
    assert!(cluster.progress(away).commit > LogIndex(0));
    assert_eq!(cluster.leader(), Some(leader), "nobody was deposed");
}
