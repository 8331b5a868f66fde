//! Replicas whose disks are full for a while.

use crate::cluster::{Cluster, member, records, voters};
use chronik_core::consensus::{ConsensusError, MembershipChange, Role};
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, GroupId, LogError, Outcome, Proposal};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Asks for a barrier, counts the question, and the answer when it comes.
fn ask(cluster: &Cluster, node: u64, group: GroupId, asked: &mut usize, answered: &Arc<AtomicUsize>) {
    let call = cluster.nodes[&node].groups[&group].group.read_barrier();
    let answered = Arc::clone(answered);
    *asked += 1;
    let task = async move {
        drop(call.await);
        answered.fetch_add(1, Ordering::Relaxed);
    };
    cluster.sim.env().spawn.spawn("barrier", Box::pin(task));
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
        let (mut asked, answered) = (0, Arc::new(AtomicUsize::new(0)));
        for round in 0..40 {
            for group in groups() {
                ask(&cluster, 3, group, &mut asked, &answered);
                if let Some(leader) = leader_of(&cluster, group) {
                    let open = &cluster.nodes[&leader].groups[&group];
                    // Refused where node 3 leads, and committed by the others.
                    drop(open.group.propose(records(2_000, round)));
                }
            }
            cluster.sim.advance(Duration::from_millis(50));
        }
        assert_eq!(stopped(&cluster), Vec::new(), "seed {seed}");
        // A silent replica keeps nobody waiting.
        cluster.until("answers of the barriers", |_| {
            answered.load(Ordering::Relaxed) == asked
        });
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

#[test]
fn commands_are_taken_where_records_are_refused() {
    let cluster = Cluster::of(1, 3);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    let group = cluster.group(leader);
    let disk = &cluster.disks[&leader];
    disk.set_capacity(Some(disk.used_bytes() + (2 << 20)));
    let full = |proposal| {
        let outcome = cluster.wait("an outcome", group.propose(proposal).unwrap().outcome());
        match outcome {
            Outcome::Committed(_) => false,
            Outcome::NotCommitted(error) => {
                assert_eq!(error, ProposeError::Log(LogError::Full));
                true
            }
            Outcome::Unknown(error) => panic!("{error:?}"),
        }
    };
    let taken = (1..500).take_while(|_| !full(records(9_000, 1))).count();
    assert!(taken > 50, "{taken} entries fitted");
    for round in 0..20 {
        let command = Proposal {
            kind: EntryKind::Command,
            record_count: 0,
            ..records(0, 1)
        };
        assert!(!full(command), "command {round} is refused");
    }
    assert!(full(records(9_000, 1)), "there is room for records again");
}

#[test]
fn followers_take_commands_of_other_groups_where_they_have_no_room_for_records() {
    let mut cluster = Cluster::of(1, 3);
    let (data, commands) = (GroupId(1), GroupId(2));
    for node in 1..=3 {
        cluster.open(node, commands, voters(&[1, 2, 3]));
    }
    let leads = |cluster: &Cluster, group| leader_of(cluster, group);
    cluster.until("leaders", |cluster| {
        leads(cluster, data).is_some() && leads(cluster, commands).is_some()
    });
    let leader = leader_of(&cluster, data).unwrap();
    for node in (1..=3).filter(|node| *node != leader) {
        let disk = &cluster.disks[&node];
        disk.set_capacity(Some(disk.used_bytes() + (2 << 20)));
    }
    let propose = |group, proposal| {
        let to = leader_of(&cluster, group)?;
        cluster.nodes[&to].groups[&group].group.propose(proposal).ok()
    };
    for _ in 0..400 {
        drop(propose(data, records(9_000, 1)));
        cluster.sim.advance(Duration::from_millis(20));
    }
    let command = || Proposal {
        kind: EntryKind::Command,
        record_count: 0,
        ..records(0, 1)
    };
    for number in 0..300 {
        let handle = propose(commands, command()).expect("the commands have a leader");
        let committed = cluster.sim.block_on(handle.outcome());
        assert!(
            matches!(committed, Ok(Outcome::Committed(_))),
            "command {number}: {committed:?}"
        );
    }
}

#[test]
fn changes_on_a_full_disk_are_made_or_refused_and_the_leader_leads_on() {
    let cluster = Cluster::of(1, 3);
    let leader = cluster.elect();
    cluster.commit(leader, 1, 1);
    fill(&cluster, leader);
    let change = |round: u64| {
        let learners = match round % 2 {
            0 => Vec::new(),
            _ => vec![member(4)],
        };
        let voters = voters(&[1, 2, 3]).voters;
        let change = MembershipChange::Become { voters, learners };
        cluster.wait("the change", cluster.group(leader).change_membership(change))
    };
    let refused = (1..5_000).find_map(|round| change(round).err());
    assert_eq!(refused, Some(ConsensusError::Log(LogError::Full)));
    cluster.sim.advance(Duration::from_secs(20));
    assert_eq!(cluster.leader(), Some(leader));
    give_space(&cluster, leader);
    cluster.commit(leader, 1, 2);
    assert!(change(1).is_ok());
}
