//! Replicas whose disks are full for a while.

use crate::cluster::{Cluster, records, voters};
use chronik_core::GroupId;
use chronik_core::consensus::Role;
use std::time::Duration;

const GROUPS: u64 = 16;

fn fill(cluster: &Cluster, node: u64) {
    let disk = &cluster.disks[&node];
    disk.set_capacity(Some(disk.used_bytes()));
}

fn give_space(cluster: &Cluster, node: u64) {
    cluster.disks[&node].set_capacity(None);
}

/// Replicas that have ended, as node and group.
fn stopped(cluster: &Cluster) -> Vec<(u64, GroupId)> {
    let mut stopped = Vec::new();
    for (node, running) in &cluster.nodes {
        for (id, open) in &running.groups {
            if open.group.watch().get().role == Role::Stopped {
                stopped.push((*node, *id));
            }
        }
    }
    stopped
}

fn leader_of(cluster: &Cluster, group: GroupId) -> Option<u64> {
    let leads = |node: &u64| {
        let progress = cluster.nodes[node].groups[&group].group.watch().get();
        let served = progress
            .own_term_start
            .is_some_and(|start| progress.commit >= start);
        progress.role == Role::Leader && served
    };
    cluster.nodes.keys().copied().find(leads)
}

#[test]
fn replicas_that_share_a_disk_which_fills_are_silent_until_there_is_space() {
    for seed in 0..10 {
        let mut cluster = Cluster::of(seed, 3);
        for group in 2..=GROUPS {
            for node in 1..=3 {
                cluster.open(node, GroupId(group), voters(&[1, 2, 3]));
            }
        }
        let groups = || (1..=GROUPS).map(GroupId);
        let all_led = |cluster: &Cluster| groups().all(|group| leader_of(cluster, group).is_some());
        cluster.until("leaders", all_led);
        fill(&cluster, 3);
        for round in 0..40 {
            for group in groups() {
                if let Some(leader) = leader_of(&cluster, group) {
                    let open = &cluster.nodes[&leader].groups[&group];
                    // Refused where node 3 leads, and committed by the others.
                    drop(open.group.propose(records(2_000, round)));
                }
            }
            cluster.sim.advance(Duration::from_millis(50));
        }
        assert_eq!(stopped(&cluster), Vec::new(), "seed {seed}");
        give_space(&cluster, 3);
        cluster.until("agreement", |cluster| {
            groups().all(|group| {
                let mut nodes = cluster.nodes.values();
                let end = nodes.next().map(|node| node.groups[&group].reader.state().last);
                leader_of(cluster, group).is_some()
                    && nodes.all(|node| Some(node.groups[&group].reader.state().last) == end)
            })
        });
    }
}
