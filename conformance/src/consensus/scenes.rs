//! Elections and reads: scenes that a swarm meets too seldom.

use super::cluster::{Cluster, Shape};
use super::{Check, Lab, must};
use crate::check::{Failure, Verdict, ensure};
use chronik_core::consensus::Role;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "CS-ELE-03",
        "a_candidate_with_an_older_log_loses",
        older_log_loses,
    ),
    must("CS-ELE-03", "a_newer_log_wins_over_a_longer_one", newer_log_wins),
    must(
        "CS-LIN-02",
        "a_leader_that_was_cut_off_answers_no_barrier",
        cut_off_leader,
    ),
    must(
        "CS-LIN-02",
        "a_leader_that_stood_still_answers_no_barrier",
        paused_leader,
    ),
    must("CS-LIN-03", "a_slow_clock_makes_no_barrier_stale", slow_clock),
];

/// How often a scene is played, each time with another seed.
const ROUNDS: u64 = 6;

fn older_log_loses(lab: &Lab<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (behind, ahead) = cluster.two_others(leader);
        cluster.isolate(&[behind]);
        cluster.commit(5)?;
        // The leader ends before the one that lags behind is back: it must not win.
        cluster.kill(leader);
        cluster.net.heal_all();
        let patience = cluster.bound() * 4;
        let led = cluster.until(patience, |cluster| cluster.leader().is_some());
        ensure!(led, "nobody is elected; {}", cluster.describe());
        ensure!(
            cluster.leader() == Some(ahead),
            "node {behind} leads without entries that were acknowledged"
        );
        cluster.verdict()?;
        lab.marks.hit("elections with an older candidate");
    }
    Ok(())
}

fn newer_log_wins(lab: &Lab<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(1)?;
        let old = cluster.some_leader()?;
        cluster.isolate(&[old]);
        for _ in 0..12 {
            // Refusals are allowed: an engine may notice at once that it is alone.
            drop(cluster.propose(old, 1, 20));
            cluster.run(Duration::from_millis(3));
        }
        let before = cluster.now();
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some_and(|leader| leader != old)
        })?;
        lab.marks
            .add("ms to a new leader", (cluster.now() - before).as_millis() as u64);
        let new = cluster.some_leader()?;
        cluster.commit(1)?;
        for node in 1..=3 {
            cluster.kill(node);
        }
        cluster.net.heal_all();
        cluster.boot(old)?;
        cluster.boot(new)?;
        // One has the longer log, the other the newer one.
        let patience = cluster.bound() * 6;
        cluster.expect("nobody is elected", patience, |cluster| {
            cluster.leader().is_some()
        })?;
        ensure!(
            cluster.leader() == Some(new),
            "node {old} leads without an entry that was acknowledged"
        );
        cluster.commit(1)?;
    }
    Ok(())
}

/// Asks for a barrier that must not be stale.
pub(super) fn ask_barrier(cluster: &mut Cluster<'_>, node: u64, within: Duration) -> Verdict {
    let must_see = cluster.oracle.newest_acked(super::cluster::GROUP);
    let barrier = cluster.group(node)?.read_barrier();
    if let Some(Ok(index)) = cluster.answer(within, barrier) {
        cluster.oracle.marks.hit("barriers answered");
        ensure!(
            index >= must_see,
            "a barrier on node {node} answers {index}, and {must_see} was acknowledged before; {}",
            cluster.describe()
        );
    }
    Ok(())
}

fn cut_off_leader(lab: &Lab<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        cluster.isolate(&[old]);
        let end = cluster.now() + cluster.bound() * 3;
        while cluster.now() < end {
            let new = cluster.leader().filter(|leader| *leader != old);
            if let Some(id) = new.and_then(|new| cluster.propose(new, 1, 20).ok()) {
                cluster.until(Duration::from_millis(300), |cluster| {
                    cluster.outcome(id).is_some()
                });
                lab.marks.hit("writes behind the back of an old leader");
            }
            ask_barrier(&mut cluster, old, Duration::from_millis(40))?;
            cluster.run(Duration::from_millis(10));
        }
        cluster.verdict()?;
    }
    lab.marks.require(&["writes behind the back of an old leader"])
}

fn paused_leader(lab: &Lab<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        cluster.pause(old);
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some()
        })?;
        cluster.commit(3)?;
        cluster.resume(old);
        lab.marks.hit("leaders that stood still");
        let led = cluster
            .progress(old)
            .is_some_and(|progress| progress.role == Role::Leader);
        ensure!(led, "a paused process did something");
        for _ in 0..5 {
            ask_barrier(&mut cluster, old, Duration::from_millis(20))?;
        }
        cluster.verdict()?;
    }
    Ok(())
}

fn slow_clock(lab: &Lab<'_>) -> Verdict {
    for round in 0..ROUNDS {
        let mut cluster = lab.prepared(round, &Shape::of(3));
        // One clock runs at half speed, the others too fast.
        for (node, drift) in [(1, -500_000), (2, 300_000), (3, 300_000)] {
            if let Some(node) = cluster.nodes.get_mut(&node) {
                node.drift_ppm = drift;
            }
            cluster.boot(node)?;
        }
        cluster.commit(1)?;
        if !cluster.make_leader(1)? {
            continue;
        }
        cluster.commit(1)?;
        cluster.isolate(&[1]);
        let end = cluster.now() + cluster.bound() * 3;
        while cluster.now() < end {
            let new = cluster.leader().filter(|leader| *leader != 1);
            if let Some(id) = new.and_then(|new| cluster.propose(new, 1, 20).ok()) {
                cluster.until(Duration::from_millis(300), |cluster| {
                    cluster.outcome(id).is_some()
                });
                lab.marks.hit("writes behind a slow clock");
            }
            ask_barrier(&mut cluster, 1, Duration::from_millis(10))?;
            cluster.run(Duration::from_millis(5));
        }
        cluster.verdict()?;
    }
    lab.marks.require(&["writes behind a slow clock"])
}

impl Cluster<'_> {
    pub(super) fn some_leader(&self) -> Result<u64, Failure> {
        let none = || Failure(format!("nobody leads; {}", self.describe()));
        self.leader().ok_or_else(none)
    }

    /// The other two of three nodes.
    pub(super) fn two_others(&self, node: u64) -> (u64, u64) {
        match node {
            1 => (2, 3),
            2 => (3, 1),
            _ => (1, 2),
        }
    }

    /// Lets `node` lead: by a transfer, or by cutting off whoever leads until it does. False where it does not come.
    pub(super) fn make_leader(&mut self, node: u64) -> Result<bool, Failure> {
        for _ in 0..20 {
            let patience = self.bound() * 2;
            self.until(patience, |cluster| cluster.leader().is_some());
            let Some(leader) = self.leader() else { continue };
            if leader == node {
                return Ok(true);
            }
            let to = super::node::member(super::cluster::GROUP, node).replica;
            let transfer = self.group(leader)?.transfer_leadership(to);
            let patience = self.bound() * 2;
            self.answer(patience, transfer);
            self.until(Duration::from_millis(500), |cluster| {
                cluster.leader() == Some(node)
            });
        }
        self.verdict()?;
        Ok(false)
    }
}
