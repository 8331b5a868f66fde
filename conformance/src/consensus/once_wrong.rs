//! Scenes in which engines were once wrong, ours among them, and which random faults meet too seldom.

use super::cluster::{Cluster, Shape};
use super::membership::{become_voters, changes};
use super::{Check, Lab, must};
use crate::check::{Verdict, ensure};
use chronik_core::LogIndex;
use chronik_core::consensus::Role;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "CS-LOG-01",
        "a_tail_of_several_terms_is_replaced",
        tail_of_several_terms,
    ),
    must(
        "CS-LIN-04",
        "what_was_in_flight_at_a_removed_leader_ends",
        removed_in_flight,
    ),
    must(
        "CS-MEM-02",
        "a_checkpoint_beside_a_change_that_is_truncated_is_without_it",
        checkpoint_beside_change,
    ),
    must(
        "CS-LIV-03",
        "a_replica_that_purges_before_its_disk_is_done_converges",
        purge_before_durable,
    ),
    must(
        "CS-SM-01",
        "what_is_shown_as_committed_is_in_the_log",
        shown_commits,
    ),
];

const LONG: Duration = Duration::from_secs(20);

impl Cluster<'_> {
    fn leads(&self, node: u64) -> bool {
        self.progress(node).is_some_and(|now| now.role == Role::Leader)
    }

    fn log(&self, node: u64) -> Vec<(LogIndex, chronik_core::Term)> {
        let terms = self
            .hosted(node)
            .map(|hosted| super::watched::terms(&*hosted.reader));
        terms.into_iter().flatten().collect()
    }

    fn slow_disk(&self, node: u64, time: Duration) {
        if let Some(process) = self.nodes.get(&node).and_then(|node| node.process.as_ref()) {
            process.sim.queue().set_job_time(time, time);
        }
    }
}

/// A replica leads several times and is cut off each time before anybody hears of it: what it has to give up is of several
/// terms.
fn tail_of_several_terms(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        let (other, third) = cluster.two_others(old);
        cluster.settle_on(&[1, 2, 3])?;
        // One of the others is down, so that nobody but the one with the longer log can be elected.
        cluster.kill(third);
        for turn in 0..4 {
            if turn > 0 {
                cluster.net.heal_all();
                let patience = cluster.bound() * 4;
                cluster.expect("the longer log does not win", patience, |cluster| {
                    cluster.leads(old)
                })?;
            }
            cluster.isolate(&[old]);
            let had = cluster.log(old).len();
            for _ in 0..12 {
                // Refusals are allowed: an engine may notice at once that it is alone.
                drop(cluster.propose(old, 1, 20));
                cluster.run(Duration::from_millis(3));
            }
            lab.marks
                .add("in the tail", (cluster.log(old).len() - had) as u64);
            // Until the connections are given up, so that nothing of this is delivered later.
            let bound = cluster.bound() * 2;
            cluster.run(bound);
            if cluster.leads(old) {
                // Its engine leads on until it hears of another.
                cluster.kill(old);
                cluster.boot(old)?;
            }
        }
        let tail = cluster.log(old);
        cluster.boot(third)?;
        let patience = cluster.bound() * 4;
        cluster.expect("the others elect nobody", patience, |cluster| {
            cluster.leads(other) || cluster.leads(third)
        })?;
        cluster.commit(2)?;
        let kept: BTreeSet<_> = cluster.log(other).into_iter().collect();
        let gone: BTreeSet<_> = tail
            .into_iter()
            .filter(|id| !kept.contains(id))
            .map(|(_, term)| term)
            .collect();
        if gone.len() > 1 {
            lab.marks.hit("tails of several terms");
        }
        cluster.net.heal_all();
        cluster.settle_on(&[1, 2, 3])?;
        // It must know its log well enough to lead, and to bring up somebody else by it.
        ensure!(
            cluster.make_leader(old)?,
            "node {old} does not lead; {}",
            cluster.describe()
        );
        cluster.kill(third);
        cluster.commit(5)?;
        cluster.boot(third)?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    lab.marks.require(&["tails of several terms"])
}

fn removed_in_flight(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        if !changes(&cluster, lab) {
            return Ok(());
        }
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (one, other) = cluster.two_others(leader);
        let change = cluster
            .group(leader)?
            .change_membership(become_voters(&[one, other]));
        let task = async move { drop(change.await) };
        cluster.sim.env().spawn.spawn("cluster-change", Box::pin(task));
        let mut open = Vec::new();
        let patience = cluster.now() + LONG;
        while cluster.leads(leader) && cluster.now() < patience {
            open.extend(cluster.propose(leader, 1, 20).ok());
            cluster.run(Duration::from_micros(200));
        }
        lab.marks.add("in flight", open.len() as u64);
        cluster.commit(2)?;
        cluster.expect(
            "what was in flight at a removed leader has no outcome",
            LONG,
            |cluster| open.iter().all(|id| cluster.outcome(*id).is_some()),
        )?;
    }
    lab.marks.require(&["in flight"])
}

/// A leader that is alone has a change in its log that is not committed, and stores a checkpoint of what is: the change must
/// not come with it.
fn checkpoint_beside_change(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::with_spares(3, 4))?;
        if !changes(&cluster, lab) {
            return Ok(());
        }
        cluster.commit(5)?;
        let old = cluster.some_leader()?;
        let founding = cluster.membership(old);
        cluster.change_alone(old)?;
        ensure!(cluster.checkpoint(old), "node {old} takes no checkpoint");
        cluster.run(Duration::from_millis(300));
        cluster.kill(old);
        cluster.commit(2)?;
        cluster.boot(old)?;
        let after = "its change was truncated, and with a checkpoint from beside it";
        cluster.counts_again(old, &founding, after)?;
        lab.marks.hit("checkpoints beside a change");
    }
    Ok(())
}

/// The others commit without a replica whose disk is slow. Its state machine may be ahead of its disk then, and its log must
/// not be cut there.
fn purge_before_durable(lab: &Lab<'_>) -> Verdict {
    for round in 0..6 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(5)?;
        let leader = cluster.some_leader()?;
        let (slow, _) = cluster.two_others(leader);
        cluster.slow_disk(slow, Duration::from_millis(700));
        for _ in 0..3 {
            let target = cluster.commit(6)?.id.index;
            cluster.until(Duration::from_millis(100), |cluster| {
                cluster.applied(slow) >= target
            });
            let durable = cluster.hosted(slow).map(|hosted| hosted.reader.state().durable);
            if durable.is_some_and(|durable| durable < cluster.applied(slow)) {
                lab.marks.hit("applied before it was durable");
            }
            cluster.checkpoint(slow);
            cluster.run(Duration::from_millis(150));
        }
        if round % 2 == 0 {
            cluster.power_cut(slow);
            cluster.boot(slow)?;
        } else {
            cluster.slow_disk(slow, Duration::ZERO);
        }
        cluster.caught_up(slow)?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

/// Where a log is replaced, the oracle looks at what its replica shows as committed at each write.
fn shown_commits(lab: &Lab<'_>) -> Verdict {
    for round in 0..6 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        cluster.isolate(&[old]);
        let before = cluster.oracle.marks.count("suffixes removed");
        for _ in 0..8 {
            drop(cluster.propose(old, 1, 20));
            cluster.run(Duration::from_millis(2));
        }
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some_and(|leader| leader != old)
        })?;
        cluster.commit(10)?;
        // All that it missed reaches a process that wakes up as one.
        cluster.pause(old);
        cluster.net.heal_all();
        let bound = cluster.bound();
        cluster.run(bound);
        cluster.resume(old);
        cluster.settle_on(&[1, 2, 3])?;
        lab.marks.add(
            "suffixes removed",
            cluster.oracle.marks.count("suffixes removed") - before,
        );
    }
    lab.marks.require(&["suffixes removed"])
}
