//! Liveness: what must come, and how soon.

use super::cluster::{GROUP, Shape};
use super::node::member;
use super::{Check, Lab, must, should};
use crate::check::{Verdict, ensure};
use chronik_core::consensus::ConsensusError;
use chronik_core::{NodeId, Outcome};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "CS-LIV-01",
        "a_dead_leader_is_followed_by_another_in_time",
        failover,
    ),
    must("CS-LIV-02", "commits_resume_after_a_loss", commits_resume),
    must("CS-LIV-03", "a_replica_that_was_away_converges", converges),
    must(
        "CS-LIV-04",
        "a_one_way_partition_causes_no_endless_elections",
        one_way,
    ),
    must("CS-LIV-05", "many_conflicting_entries_converge_soon", conflicts),
    must("CS-LIV-06", "a_cluster_that_restarts_elects_in_time", restart),
    should("CS-LIV-07", "a_transfer_takes_an_election_timeout", transfer),
    should(
        "CS-LIV-08",
        "a_slow_follower_does_not_slow_the_quorum",
        slow_follower,
    ),
];

const LONG: Duration = Duration::from_secs(20);

fn failover(lab: &Lab<'_>) -> Verdict {
    for round in 0..8 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let before = cluster.now();
        if round % 2 == 0 {
            cluster.kill(leader);
        } else {
            cluster.power_cut(leader);
        }
        // Silence alone is noticed after the keepalive of the connections.
        let bound = cluster.bound() + Duration::from_secs(1);
        cluster.expect("nobody follows a dead leader", bound, |cluster| {
            cluster.leader().is_some()
        })?;
        lab.marks
            .add("failover ms", (cluster.now() - before).as_millis() as u64);
        lab.marks.hit("failovers");
    }
    Ok(())
}

fn commits_resume(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (gone, _) = cluster.two_others(leader);
        cluster.power_cut(gone);
        cluster.run(Duration::from_secs(4));
        cluster.commit(3)?;
        cluster.boot(gone)?;
        cluster.commit(3)?;
        cluster.verdict()?;
    }
    Ok(())
}

fn converges(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (away, _) = cluster.two_others(leader);
        cluster.kill(away);
        cluster.commit(40)?;
        cluster.boot(away)?;
        let target = cluster.commit(1)?.id.index;
        cluster.expect("a replica that was away does not converge", LONG, |cluster| {
            (1..=3).all(|node| cluster.applied(node) >= target)
        })?;
        cluster.oracle.check_logs();
        cluster.verdict()?;
    }
    Ok(())
}

fn one_way(lab: &Lab<'_>) -> Verdict {
    for round in 0..6 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (deaf, other) = cluster.two_others(leader);
        match round % 2 {
            0 => cluster.net.cut(NodeId(leader), NodeId(deaf)),
            _ => cluster.net.cut(NodeId(deaf), NodeId(leader)),
        }
        let bound = cluster.bound();
        let terms = |cluster: &super::cluster::Cluster<'_>| {
            let known = [leader, other].map(|node| cluster.progress(node).map(|progress| progress.term.0));
            known.into_iter().flatten().max().unwrap_or(0)
        };
        let before = terms(&cluster);
        cluster.run(bound * 8);
        let moved = terms(&cluster) - before;
        lab.marks.add("terms", moved);
        ensure!(
            moved <= 1,
            "{moved} new terms in {:?} of a one-way partition",
            bound * 8
        );
        cluster.commit(2)?;
        cluster.net.heal_all();
        cluster.commit(2)?;
        cluster.verdict()?;
    }
    Ok(())
}

fn conflicts(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        cluster.isolate(&[old]);
        let mut proposed = 0;
        for _ in 0..300 {
            if cluster.propose(old, 1, 20).is_ok() {
                proposed += 1;
            }
            cluster.run(Duration::from_micros(500));
        }
        lab.marks.add("conflicting proposals", proposed);
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some_and(|leader| leader != old)
        })?;
        for _ in 0..20 {
            cluster.commit(15)?;
        }
        // A leader that starts from here has to find its way back past all of them.
        let new = cluster.some_leader()?;
        cluster.kill(new);
        cluster.boot(new)?;
        cluster.commit(1)?;
        cluster.net.heal_all();
        let target = cluster.commit(1)?.id.index;
        let bound = cluster.bound() * 2 + Duration::from_secs(3);
        cluster.expect(
            "a log with many conflicting entries does not converge",
            bound,
            |cluster| cluster.applied(old) >= target,
        )?;
    }
    Ok(())
}

fn restart(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        for node in 1..=3 {
            cluster.kill(node);
        }
        for node in 1..=3 {
            cluster.boot(node)?;
        }
        let bound = cluster.bound() * 2;
        cluster.expect("nobody is elected after a restart of all", bound, |cluster| {
            cluster.leader().is_some()
        })?;
        // And one after the other, as in a rolling restart.
        for node in 1..=3 {
            cluster.kill(node);
            cluster.boot(node)?;
            cluster.expect("nobody leads after a restart of one", bound, |cluster| {
                cluster.leader().is_some()
            })?;
            cluster.commit(1)?;
        }
    }
    Ok(())
}

fn transfer(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    let can = cluster.capabilities().is_some_and(|can| can.leadership_transfer);
    cluster.commit(2)?;
    for to in [1, 2, 3, 1] {
        let leader = cluster.some_leader()?;
        let before = cluster.now();
        let call = cluster
            .group(leader)?
            .transfer_leadership(member(GROUP, to).replica);
        let answer = cluster.answer(LONG, call);
        if !can && leader != to {
            ensure!(
                matches!(answer, Some(Err(ConsensusError::Unsupported(_)))),
                "a transfer is not declared, and the answer is {answer:?}"
            );
            continue;
        }
        ensure!(
            matches!(answer, Some(Ok(()))),
            "a transfer from {leader} to {to}: {answer:?}"
        );
        let bound = cluster.bound();
        cluster.expect("the chosen replica does not lead", bound, |cluster| {
            cluster.leader() == Some(to)
        })?;
        let took = cluster.now() - before;
        ensure!(took <= bound, "a transfer from {leader} to {to} took {took:?}");
        cluster.commit(1)?;
    }
    cluster.verdict()
}

fn slow_follower(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    cluster.commit(5)?;
    let leader = cluster.some_leader()?;
    let (slow, _) = cluster.two_others(leader);
    if let Some(process) = cluster.nodes.get(&slow).and_then(|node| node.process.as_ref()) {
        let time = Duration::from_secs(1);
        process.sim.queue().set_job_time(time, time);
    }
    cluster.run(Duration::from_millis(100));
    let mut times = Vec::new();
    for _ in 0..20 {
        let before = cluster.now();
        let Ok(id) = cluster.propose(leader, 1, 100) else {
            continue;
        };
        cluster.until(LONG, |cluster| cluster.outcome(id).is_some());
        if matches!(cluster.outcome(id), Some(Outcome::Committed(_))) {
            times.push(cluster.now() - before);
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied();
    ensure!(
        median.is_some_and(|median| median <= Duration::from_millis(200)),
        "half of the commits take {median:?} or more while one follower's disk takes a second"
    );
    cluster.verdict()
}
