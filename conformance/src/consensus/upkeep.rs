//! Checkpoints, failing disks, groups side by side, and the end.

use super::cluster::{Cluster, GROUP, Shape};
use super::{Check, Lab, must};
use crate::check::{Failure, Marks, Verdict, ensure};
use crate::world::disk::{DropAll, Fault, Op};
use crate::world::net::{End, LinkDelay, NetOptions};
use crate::world::real::open_descriptors;
use chronik_core::consensus::{MembershipChange, Role};
use chronik_core::fs::FsErrorKind;
use chronik_core::log_store::SegmentPolicy;
use chronik_core::proposal::ProposeError;
use chronik_core::{GroupId, LogIndex, NodeId, Outcome};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "CS-SNP-01",
        "a_replica_that_was_left_behind_reaches_the_same_state",
        left_behind,
    ),
    must(
        "CS-SNP-02",
        "an_older_checkpoint_moves_nothing_back",
        late_checkpoints,
    ),
    must(
        "CS-SNP-03",
        "a_checkpoint_brings_its_membership",
        brings_membership,
    ),
    must(
        "CS-SNP-04",
        "an_interrupted_checkpoint_is_sent_again",
        interrupted,
    ),
    must(
        "CS-SNP-05",
        "a_replica_that_needs_purged_entries_is_brought_up",
        left_behind,
    ),
    must("CS-SNP-05", "a_learner_that_is_new_is_brought_up", new_learner),
    must(
        "CS-STO-01",
        "a_disk_that_failed_counts_for_nothing",
        failed_disk_counts_not,
    ),
    must(
        "CS-STO-02",
        "a_leader_whose_disk_failed_stops_leading",
        failed_disk_of_leader,
    ),
    must("CS-GRP-01", "groups_do_not_see_each_other", groups),
    must(
        "CS-SHUT-01",
        "close_ends_every_group_and_gives_up_its_log",
        shutdown,
    ),
    must("CS-SHUT-01", "engines_that_ended_leave_no_file_open", left_open),
];

const LONG: Duration = Duration::from_secs(20);

impl Cluster<'_> {
    /// Cuts a follower off, commits, and purges what it needs; returns the follower.
    fn leave_behind(&mut self, count: u64) -> Result<u64, Failure> {
        self.commit(3)?;
        let leader = self.some_leader()?;
        let (behind, other) = self.two_others(leader);
        self.isolate(&[behind]);
        let target = self.commit(count)?.id.index;
        self.expect("the other replicas do not apply", LONG, |cluster| {
            [leader, other]
                .iter()
                .all(|node| cluster.applied(*node) >= target)
        })?;
        // An engine may keep some entries before the end, and keep what a replica needs that it heard from lately.
        self.purge_twice(&[leader, other])?;
        let purged = self
            .hosted(leader)
            .map(|hosted| hosted.reader.state().purged.index);
        if purged.is_none_or(|purged| purged <= self.applied(behind)) {
            self.oracle.marks.hit("nothing was purged");
        }
        Ok(behind)
    }

    /// Checkpoints and purges on some nodes, with entries in between, until the cut is noticed.
    pub(super) fn purge_twice(&mut self, nodes: &[u64]) -> Verdict {
        for round in 0..2 {
            let target = self.commit(10)?.id.index;
            self.expect("replicas do not apply", LONG, |cluster| {
                nodes.iter().all(|node| cluster.applied(*node) >= target)
            })?;
            for node in nodes {
                if !self.checkpoint(*node) {
                    return Err(Failure(format!("node {node} takes no checkpoint")));
                }
            }
            if round == 0 {
                let bound = self.bound();
                self.run(bound);
            }
        }
        self.run(Duration::from_millis(200));
        Ok(())
    }

    pub(super) fn caught_up(&mut self, node: u64) -> Verdict {
        let target = self.commit(2)?.id.index;
        self.expect(
            "a replica that was left behind is not brought up",
            LONG,
            |cluster| cluster.applied(node) >= target,
        )
    }
}

fn left_behind(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        let behind = cluster.leave_behind(20)?;
        if round == 2 {
            cluster.kill(behind);
            cluster.boot(behind)?;
        }
        cluster.net.heal_all();
        cluster.caught_up(behind)?;
        cluster.kill(behind);
        cluster.boot(behind)?;
        cluster.caught_up(behind)?;
        lab.marks.merge(&cluster.oracle.marks);
    }
    lab.marks.require(&["checkpoints restored"])
}

fn late_checkpoints(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        let behind = cluster.leave_behind(12)?;
        let delay = LinkDelay {
            from: Duration::from_millis(1),
            to: Duration::from_millis(250),
        };
        cluster.net.set_options(NetOptions { delay, resets_ppm: 0 });
        cluster.net.heal_all();
        let end = cluster.now() + LONG;
        while cluster.now() < end && cluster.applied(behind) < LogIndex(60) {
            cluster.commit_one(LONG)?;
        }
        cluster.net.set_options(NetOptions::default());
        cluster.caught_up(behind)?;
        cluster.oracle.check_logs();
        cluster.verdict()?;
        lab.marks.merge(&cluster.oracle.marks);
    }
    lab.marks.require(&["checkpoints restored"])
}

fn brings_membership(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 4))?;
    if !cluster.capabilities().is_some_and(|can| can.learners) {
        lab.marks.hit(Marks::NOT_DECLARED);
        return Ok(());
    }
    cluster.commit(3)?;
    let leader = cluster.some_leader()?;
    let (behind, _) = cluster.two_others(leader);
    cluster.isolate(&[behind]);
    let change = MembershipChange::AddLearner(super::node::member(GROUP, 4));
    let call = cluster.group(leader)?.change_membership(change);
    let answer = cluster.answer(LONG, call);
    ensure!(matches!(answer, Some(Ok(_))), "adding a learner: {answer:?}");
    let target = cluster.commit(10)?.id.index;
    cluster.expect("the other replicas do not apply", LONG, |cluster| {
        (1..=4)
            .filter(|node| *node != behind)
            .all(|node| cluster.applied(node) >= target)
    })?;
    let others: Vec<u64> = (1..=4).filter(|node| *node != behind).collect();
    cluster.purge_twice(&others)?;
    cluster.net.heal_all();
    cluster.caught_up(behind)?;
    for restart in [false, true] {
        if restart {
            cluster.kill(behind);
            cluster.boot(behind)?;
            cluster.caught_up(behind)?;
        }
        let known = cluster.group(behind)?.status().membership.learners;
        ensure!(
            known == [super::node::member(GROUP, 4)],
            "after a checkpoint (restarted: {restart}), node {behind} counts the learners {known:?}"
        );
    }
    lab.marks.merge(&cluster.oracle.marks);
    lab.marks.require(&["checkpoints restored"])
}

fn new_learner(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::with_spares(3, 4))?;
        if !cluster.capabilities().is_some_and(|can| can.learners) {
            lab.marks.hit(Marks::NOT_DECLARED);
            return Ok(());
        }
        cluster.commit(20)?;
        cluster.purge_twice(&[1, 2, 3])?;
        let leader = cluster.some_leader()?;
        let change = MembershipChange::AddLearner(super::node::member(GROUP, 4));
        let call = cluster.group(leader)?.change_membership(change);
        let answer = cluster.answer(LONG, call);
        ensure!(matches!(answer, Some(Ok(_))), "adding a learner: {answer:?}");
        cluster.caught_up(4)?;
        cluster.settle_on(&[1, 2, 3, 4])?;
        lab.marks.merge(&cluster.oracle.marks);
    }
    lab.marks.require(&["checkpoints restored"])
}

fn interrupted(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        let behind = cluster.leave_behind(15)?;
        let leader = cluster.some_leader()?;
        let delay = LinkDelay {
            from: Duration::from_millis(30),
            to: Duration::from_millis(40),
        };
        cluster.net.set_options(NetOptions { delay, resets_ppm: 0 });
        cluster.net.heal_all();
        for attempt in 0..12 {
            cluster.run(Duration::from_millis(130 + 10 * (attempt % 4)));
            cluster.net.reset(NodeId(leader), NodeId(behind));
            if attempt % 5 == 4 {
                cluster.crash(behind, End::Power, &mut DropAll);
                cluster.boot(behind)?;
            }
        }
        cluster.net.set_options(NetOptions::default());
        cluster.caught_up(behind)?;
        cluster.verdict()?;
    }
    Ok(())
}

fn failed_disk_counts_not(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    cluster.commit(2)?;
    let leader = cluster.some_leader()?;
    let (down, sick) = cluster.two_others(leader);
    cluster.kill(down);
    cluster.run(Duration::from_millis(500));
    let leader = cluster.some_leader()?;
    fail_syncs(&cluster, sick);
    let Ok(id) = cluster.propose(leader, 1, 20) else {
        return Ok(());
    };
    cluster.run(Duration::from_secs(3));
    let outcome = cluster.outcome(id).cloned();
    ensure!(
        !matches!(outcome, Some(Outcome::Committed(_))),
        "a proposal was acknowledged by a leader and a replica whose disk failed"
    );
    cluster.verdict()?;
    for node in [sick, down] {
        cluster.kill(node);
        if let Some(node) = cluster.nodes.get(&node) {
            node.disk.clear_faults();
        }
        cluster.boot(node)?;
    }
    cluster.commit(2)?;
    lab.marks.hit("disks failed");
    cluster.verdict()
}

fn fail_syncs(cluster: &Cluster<'_>, node: u64) {
    if let Some(node) = cluster.nodes.get(&node) {
        node.disk.inject(Fault {
            times: 1_000_000,
            ..Fault::nth(Op::Sync, 0, FsErrorKind::Io)
        });
    }
}

fn failed_disk_of_leader(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        fail_syncs(&cluster, leader);
        // Refusals are fine.
        drop(cluster.propose(leader, 1, 20));
        let patience = cluster.bound() * 3;
        cluster.expect("a leader whose disk failed leads on", patience, |cluster| {
            cluster
                .progress(leader)
                .is_some_and(|progress| progress.role != Role::Leader)
        })?;
        cluster.commit(2)?;
        ensure!(
            cluster.leader() != Some(leader),
            "a replica whose disk failed leads again"
        );
        lab.marks.hit("disks failed");
    }
    Ok(())
}

fn groups(lab: &Lab<'_>) -> Verdict {
    let other = GroupId(2);
    let shape = Shape {
        groups: vec![GROUP, other],
        ..Shape::of(3)
    };
    let mut cluster = lab.cluster(0, &shape)?;
    for _ in 0..5 {
        cluster.commit_one_in(GROUP, LONG)?;
        cluster.commit_one_in(other, LONG)?;
    }
    let leader = cluster.some_leader()?;
    cluster.kill(leader);
    cluster.commit_one_in(GROUP, LONG)?;
    cluster.commit_one_in(other, LONG)?;
    cluster.boot(leader)?;
    cluster.expect("a group does not open", LONG, |cluster| {
        cluster.group(leader).is_ok()
    })?;
    // The end of one group on a node is nothing to the other.
    let close = cluster.group(leader)?.close();
    let closed = cluster.answer(
        LONG,
        Box::pin(async move {
            close.await;
            Ok(())
        }),
    );
    ensure!(closed.is_some(), "closing a group does not end");
    for _ in 0..3 {
        cluster.commit_one_in(GROUP, LONG)?;
        cluster.commit_one_in(other, LONG)?;
    }
    let applied = |cluster: &Cluster<'_>, node: u64| {
        let hosted = cluster.nodes.get(&node).and_then(|node| node.hosted(other));
        hosted.map_or(LogIndex(0), |hosted| {
            crate::world::locked(&hosted.machine).applied.index
        })
    };
    let target = cluster.commit_one_in(other, LONG)?.id.index;
    cluster.expect("a group does not go on beside a closed one", LONG, |cluster| {
        (1..=3).all(|node| applied(cluster, node) >= target)
    })?;
    cluster.verdict()
}

fn shutdown(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    cluster.commit(3)?;
    let leader = cluster.some_leader()?;
    let group = cluster.group(leader)?;
    let id = cluster.propose(leader, 1, 20);
    let Some(process) = cluster.nodes.get(&leader).and_then(|node| node.process.as_ref()) else {
        return Ok(());
    };
    let (engine, store, sim) = (
        std::sync::Arc::clone(&process.engine),
        std::sync::Arc::clone(&process.store),
        process.sim.clone(),
    );
    let transport = std::sync::Arc::clone(&process.transport);
    let closed = cluster.answer(
        LONG,
        Box::pin(async move {
            engine.close().await;
            Ok(())
        }),
    );
    ensure!(closed.is_some(), "close does not end");
    cluster.run(Duration::from_millis(100));
    if let Ok(id) = id {
        ensure!(
            cluster.outcome(id).is_some(),
            "a proposal has no outcome after the end"
        );
    }
    let late = cluster.propose(leader, 1, 20);
    ensure!(
        late == Err(ProposeError::Closed),
        "a proposal after the end: {late:?}, role {:?}",
        group.watch().get().role
    );
    let again = store.open_group(GROUP, SegmentPolicy { segment_bytes: 8192 });
    ensure!(again.is_ok(), "the log was not given up: {:?}", again.err());
    let closing = cluster.answer(
        LONG,
        Box::pin(async move {
            transport.close().await;
            Ok(())
        }),
    );
    ensure!(closing.is_some(), "the transport does not end");
    cluster.run(Duration::from_secs(1));
    let left: Vec<&str> = sim
        .tasks()
        .into_iter()
        .filter(|name| !name.starts_with("cluster-") && !name.starts_with("sim-net-"))
        .collect();
    ensure!(left.is_empty(), "tasks run after the end: {left:?}");
    cluster.commit(2)?;
    cluster.verdict()
}

/// How many clusters live and end before it is looked at what they left behind.
const LIVES: u64 = 12;

fn left_open(lab: &Lab<'_>) -> Verdict {
    let before = open_descriptors();
    for life in 0..LIVES {
        let mut cluster = lab.cluster(life, &Shape::of(3))?;
        cluster.commit(1)?;
        let processes = cluster.nodes.values().filter_map(|node| node.process.as_ref());
        let running: Vec<_> = processes
            .map(|process| {
                let (engine, transport) = (&process.engine, &process.transport);
                (std::sync::Arc::clone(engine), std::sync::Arc::clone(transport))
            })
            .collect();
        let closed = cluster.answer(
            LONG,
            Box::pin(async move {
                for (engine, transport) in running {
                    engine.close().await;
                    transport.close().await;
                }
                Ok(())
            }),
        );
        ensure!(closed.is_some(), "close does not end");
        lab.marks.add("engines that ended", 3);
    }
    // Other checks of this process open and close files meanwhile; what each engine leaves is as much as there are engines.
    let lives = usize::try_from(3 * LIVES).unwrap_or(usize::MAX);
    if let (Some(before), Some(after)) = (before, open_descriptors()) {
        ensure!(
            after < before + lives,
            "{} file descriptors more than before are open after the ends of {lives} engines",
            after - before
        );
        lab.marks.hit("counts of file descriptors");
    }
    lab.marks.require(&["engines that ended"])
}
