//! Replicas that were away: by entries, by entries that are not in memory any more, by a checkpoint.

use crate::cluster::Cluster;
use bytes::Bytes;
use chronik_conformance::world::disk::DropAll;
use chronik_conformance::world::net::End;
use chronik_core::consensus::{Maintenance, MembershipChange};
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{LogError, LogId, LogIndex, Offset, Ticket};
use std::time::Duration;

impl Cluster {
    /// Stores a checkpoint of everything that `node` has committed and purges the log to it.
    pub(crate) fn checkpoint_and_purge(&self, node: u64) -> LogId {
        let (at, tickets) = self.ask_for_checkpoint_and_purge(node);
        for ticket in tickets {
            self.wait("upkeep", ticket).unwrap();
        }
        at
    }

    /// Stores a checkpoint of everything that `node` has committed.
    fn ask_for_checkpoint(&self, node: u64) -> (LogId, Offset, Ticket) {
        let reader = self.reader(node);
        let index = self.progress(node).commit;
        let at = LogId {
            term: reader.term_at(index).unwrap(),
            index,
        };
        let next_offset = match self.entries(node, index.0, index.0).first() {
            Some(entry) => entry.end_offset(),
            None => reader.state().offset_end,
        };
        let checkpoint = Checkpoint {
            at,
            next_offset,
            data: Bytes::from(format!("state at {index}")),
            consensus: Bytes::new(),
        };
        let stored = self.group(node).maintain(Maintenance::Checkpoint(checkpoint));
        (at, next_offset, stored.unwrap())
    }

    fn ask_for_purge(&self, node: u64, through: LogId, offset_start: Offset) -> Ticket {
        let purge = Maintenance::Purge(Purge {
            through,
            offset_start,
        });
        self.group(node).maintain(purge).unwrap()
    }

    fn ask_for_checkpoint_and_purge(&self, node: u64) -> (LogId, [Ticket; 2]) {
        let (at, next_offset, stored) = self.ask_for_checkpoint(node);
        (at, [stored, self.ask_for_purge(node, at, next_offset)])
    }
}

#[test]
fn a_replica_that_was_away_gets_all_entries_also_those_that_must_be_read_from_disk() {
    for pending_reads in [false, true] {
        let mut cluster = Cluster::new(50);
        cluster.mem.pending_reads = pending_reads;
        cluster.tune = |options| {
            options.max_append_bytes = 2000;
            options.coalesce_bytes = 0;
            options.max_inflight_appends = 3;
        };
        cluster.found(3);
        let leader = cluster.elect();
        let away = cluster.others(leader)[0];
        cluster.kill(away, End::Process);
        let handles: Vec<_> = (0..200)
            .map(|number| cluster.propose(leader, 100 + number, number as u8))
            .collect();
        for handle in handles {
            cluster.wait("commit", handle.outcome());
        }
        cluster.restart(away);
        cluster.agree();
    }
}

#[test]
fn a_replica_that_needs_purged_entries_starts_from_a_checkpoint() {
    let mut cluster = Cluster::new(51);
    cluster.tune = |options| options.keep_entries = 10;
    cluster.found(3);
    let leader = cluster.elect();
    let away = cluster.others(leader)[0];
    cluster.commit(leader, 1, 1);
    cluster.agree();
    cluster.kill(away, End::Process);
    for mark in 0..30 {
        cluster.commit(leader, 3, mark);
    }
    // For a while the leader keeps what the other needs; then it counts as gone.
    cluster.sim.advance(Duration::from_secs(3));
    let at = cluster.checkpoint_and_purge(leader);
    assert_eq!(cluster.reader(leader).state().purged, at);
    for mark in 0..5 {
        cluster.commit(leader, 3, mark);
    }
    cluster.restart(away);
    cluster.agree();
    let state = cluster.reader(away).state();
    assert_eq!(state.purged, at, "the log starts where the checkpoint ends");
    let stored = cluster.reader(away).checkpoint(at.index).unwrap().unwrap();
    assert_eq!(stored.data, format!("state at {}", at.index));
    assert!(!stored.consensus.is_empty());
    assert_eq!(state.offset_start, stored.next_offset);
    cluster.crash(away, &mut DropAll);
    cluster.restart(away);
    cluster.agree();
    assert_eq!(
        cluster.reader(away).state().offset_end,
        cluster.reader(leader).state().offset_end
    );
    // The membership survives with the checkpoint alone.
    assert_eq!(cluster.group(away).status().membership.voters.len(), 3);
}

#[test]
fn a_new_replica_that_the_checkpoint_does_not_know_is_brought_up_by_it() {
    let mut cluster = Cluster::new(52);
    cluster.tune = |options| options.keep_entries = 1;
    cluster.found(3);
    let leader = cluster.elect();
    for mark in 0..10 {
        cluster.commit(leader, 1, mark);
    }
    cluster.agree();
    cluster.checkpoint_and_purge(leader);
    cluster.start(4);
    cluster.open(4, crate::cluster::GROUP, Default::default());
    let change = MembershipChange::AddLearner(crate::cluster::member(4));
    cluster
        .wait("the change", cluster.group(leader).change_membership(change))
        .unwrap();
    cluster.agree();
    assert!(cluster.reader(4).state().purged.index > LogIndex(0));
    assert_eq!(
        cluster.group(4).status().membership,
        cluster.group(leader).status().membership
    );
    let promote = MembershipChange::Become {
        voters: (1..=4).map(crate::cluster::member).collect(),
        learners: Vec::new(),
    };
    cluster
        .wait("the change", cluster.group(leader).change_membership(promote))
        .unwrap();
    cluster.agree();
}

#[test]
fn a_log_that_contradicts_the_checkpoint_is_replaced_by_it() {
    let mut cluster = Cluster::new(53);
    cluster.tune = |options| options.keep_entries = 1;
    cluster.found(3);
    let old = cluster.elect();
    cluster.agree();
    cluster.isolate(old);
    for mark in 0..50 {
        cluster.propose(old, 1, mark);
    }
    cluster.until("another leader", |cluster| {
        cluster.leader().is_some_and(|leader| leader != old)
    });
    let new = cluster.elect();
    for mark in 0..20 {
        cluster.commit(new, 1, mark);
    }
    cluster.sim.advance(Duration::from_secs(3));
    let at = cluster.checkpoint_and_purge(new);
    assert_eq!(cluster.reader(new).state().purged, at);
    cluster.net.heal_all();
    cluster.agree();
    assert_eq!(cluster.reader(old).state().purged, at);
}

#[test]
fn a_purge_keeps_what_a_connected_replica_still_needs_and_goes_to_a_checkpoint_at_most() {
    let cluster = Cluster::of(54, 3);
    let leader = cluster.elect();
    cluster.agree();
    let slow = cluster.others(leader)[0];
    let matched = cluster.reader(slow).state().last.index;
    let hour = Duration::from_secs(3600);
    cluster.nodes[&slow].process.queue().set_job_time(hour, hour);
    for mark in 0..30 {
        cluster.commit(leader, 1, mark);
    }
    cluster.checkpoint_and_purge(leader);
    assert!(cluster.reader(leader).state().purged.index <= matched);
    let no_checkpoint = Purge {
        through: cluster.reader(leader).state().last,
        offset_start: Offset(0),
    };
    let follower = cluster.others(leader)[1];
    let purge = cluster
        .group(follower)
        .maintain(Maintenance::Purge(no_checkpoint))
        .unwrap();
    cluster.wait("the purge", purge).unwrap();
    assert_eq!(cluster.reader(follower).state().purged.index, LogIndex(0));
}

#[test]
fn a_purge_never_passes_what_is_durable_here_however_far_the_others_have_committed() {
    let mut cluster = Cluster::new(55);
    cluster.tune = |options| options.keep_entries = 0;
    cluster.found(3);
    let leader = cluster.elect();
    cluster.agree();
    let queue = cluster.nodes[&leader].process.queue();
    queue.set_job_time(Duration::from_secs(20), Duration::from_secs(20));
    for mark in 0..5 {
        cluster.commit(leader, 1, mark);
    }
    assert!(cluster.reader(leader).state().durable < cluster.progress(leader).commit);
    drop(cluster.ask_for_checkpoint_and_purge(leader));
    // It loses its leadership and asks for votes long before its disk is done.
    cluster.isolate(leader);
    cluster.sim.advance(Duration::from_secs(10));
    cluster.nodes[&leader]
        .process
        .queue()
        .set_job_time(Duration::ZERO, Duration::ZERO);
    cluster.net.heal_all();
    cluster.agree();
}

#[test]
fn a_checkpoint_has_the_membership_as_of_its_entry_though_the_disk_is_behind() {
    let mut cluster = Cluster::new(56);
    cluster.found(3);
    let leader = cluster.elect();
    cluster.agree();
    let slow = cluster.others(leader)[0];
    let hour = Duration::from_secs(3600);
    cluster.nodes[&slow].process.queue().set_job_time(hour, hour);
    cluster.start(4);
    cluster.open(4, crate::cluster::GROUP, Default::default());
    let change = MembershipChange::AddLearner(crate::cluster::member(4));
    let changed = cluster.wait("the change", cluster.group(leader).change_membership(change));
    let changed = changed.unwrap();
    let nodes = [leader, slow];
    cluster.until("both know that it is committed", |cluster| {
        nodes
            .iter()
            .all(|node| cluster.progress(*node).commit >= changed.index)
    });
    assert!(cluster.reader(slow).state().durable < changed.index);
    let stored = nodes.map(|node| {
        let (at, _, _) = cluster.ask_for_checkpoint(node);
        let stored = |cluster: &Cluster| cluster.reader(node).checkpoint(at.index).unwrap();
        cluster.until("it is stored", |cluster| {
            stored(cluster).is_some_and(|stored| stored.at == at)
        });
        stored(&cluster).unwrap().consensus
    });
    assert_eq!(stored[0], stored[1]);
}

#[test]
fn a_log_is_purged_to_any_stored_checkpoint_after_a_restart() {
    let mut cluster = Cluster::new(57);
    cluster.found(1);
    let leader = cluster.elect();
    let mut stored = Vec::new();
    for mark in 0..3 {
        cluster.commit(leader, 3, mark);
        let (at, next_offset, ticket) = cluster.ask_for_checkpoint(leader);
        cluster.wait("the checkpoint", ticket).unwrap();
        stored.push((at, next_offset));
    }
    cluster.crash(leader, &mut DropAll);
    cluster.restart(leader);
    for (at, next_offset) in stored {
        cluster
            .wait("the purge", cluster.ask_for_purge(leader, at, next_offset))
            .unwrap();
        assert_eq!(cluster.reader(leader).state().purged, at);
    }
}

#[test]
fn a_checkpoint_from_before_what_is_known_of_the_membership_is_refused() {
    let mut cluster = Cluster::new(58);
    cluster.found(1);
    let leader = cluster.elect();
    let early = cluster.commit(leader, 3, 1);
    cluster.commit(leader, 3, 2);
    let (_, _, ticket) = cluster.ask_for_checkpoint(leader);
    cluster.wait("the checkpoint", ticket).unwrap();
    cluster.crash(leader, &mut DropAll);
    cluster.restart(leader);
    cluster.elect();
    let checkpoint = Checkpoint {
        at: early,
        next_offset: Offset(3),
        data: Bytes::from_static(b"late"),
        consensus: Bytes::new(),
    };
    let late = cluster
        .group(leader)
        .maintain(Maintenance::Checkpoint(checkpoint));
    let refused = cluster.wait("the answer", late.unwrap());
    assert!(matches!(refused, Err(LogError::Compacted { .. })), "{refused:?}");
    assert_eq!(cluster.reader(leader).checkpoint(early.index), Ok(None));
}
