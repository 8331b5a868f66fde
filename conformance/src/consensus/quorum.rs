//! With a quorum and without one: what small clusters do when nothing is left to chance.

use super::cluster::{Cluster, GROUP, Shape};
use super::node::member;
use super::{Check, Lab, must};
use crate::check::{Verdict, ensure};
use chronik_core::Outcome;
use chronik_core::consensus::Role;
use chronik_core::proposal::ProposeError;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must("CS-ELE-01", "a_minority_elects_nobody", minority),
    must(
        "CS-ELE-02",
        "terms_rise_across_power_cuts_of_all",
        terms_across_power_cuts,
    ),
    must("CS-ELE-02", "a_vote_outlives_a_power_cut", vote_outlives),
    must(
        "CS-LOG-03",
        "each_leader_in_turn_has_what_was_committed",
        leaders_in_turn,
    ),
    must("CS-LOG-05", "a_leader_alone_acknowledges_nothing", leader_alone),
    must("CS-SM-01", "entries_of_every_size_are_the_same_everywhere", sizes),
    must(
        "CS-SM-02",
        "a_cluster_that_starts_again_applies_its_log_again",
        applies_again,
    ),
    must(
        "CS-LIN-01",
        "barriers_of_all_replicas_see_what_was_acknowledged",
        barriers_everywhere,
    ),
    must(
        "CS-LIN-02",
        "without_a_quorum_no_barrier_completes",
        barrier_without_quorum,
    ),
    must(
        "CS-LIN-04",
        "what_a_follower_refuses_never_appears",
        refused_by_followers,
    ),
    must(
        "CS-LIN-04",
        "what_was_in_flight_at_a_deposed_leader_ends",
        in_flight_ends,
    ),
    must(
        "CS-LIN-05",
        "the_order_of_calls_holds_through_a_transfer",
        through_a_transfer,
    ),
    must(
        "CS-STO-01",
        "what_was_acknowledged_survives_a_power_cut_of_all",
        power_cut_of_all,
    ),
    must(
        "CS-LIV-01",
        "two_of_three_found_a_group_and_the_third_joins",
        two_found,
    ),
];

const LONG: Duration = Duration::from_secs(20);

impl Cluster<'_> {
    /// Commits once more, waits until `nodes` have applied that, and compares the logs and what was promised.
    pub(super) fn settle_on(&mut self, nodes: &[u64]) -> Verdict {
        let target = self.commit(1)?.id.index;
        self.expect("replicas do not converge", LONG, |cluster| {
            nodes.iter().all(|node| cluster.applied(*node) >= target)
        })?;
        self.oracle.check_logs();
        self.oracle.check_acked();
        self.verdict()
    }

    fn power_cut_all(&mut self) -> Verdict {
        let nodes: Vec<u64> = self.nodes.keys().copied().collect();
        nodes.iter().for_each(|node| self.power_cut(*node));
        nodes.iter().try_for_each(|node| self.boot(*node))
    }
}

fn minority(lab: &Lab<'_>) -> Verdict {
    for (round, nodes) in [(0, 3), (1, 5)] {
        let mut cluster = lab.prepared(round, &Shape::of(nodes));
        let quorum = nodes / 2 + 1;
        for node in 1..quorum {
            cluster.boot(node)?;
        }
        let patience = cluster.bound() * 4;
        let leads = |cluster: &Cluster<'_>| {
            (1..=nodes).any(|node| cluster.progress(node).is_some_and(|now| now.role == Role::Leader))
        };
        let led = cluster.until(patience, leads);
        ensure!(
            !led,
            "{} of {nodes} voters elected a leader; {}",
            quorum - 1,
            cluster.describe()
        );
        cluster.boot(quorum)?;
        cluster.commit(1)?;
        cluster.verdict()?;
    }
    Ok(())
}

fn terms_across_power_cuts(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    for _ in 0..5 {
        cluster.commit(1)?;
        let before = cluster.oracle.newest_leader(GROUP);
        cluster.power_cut_all()?;
        cluster.commit(1)?;
        let after = cluster.oracle.newest_leader(GROUP);
        ensure!(
            after.map(|(term, _)| term) > before.map(|(term, _)| term),
            "after a power cut of all, {after:?} leads where {before:?} led before"
        );
    }
    cluster.settle_on(&[1, 2, 3])
}

/// Who voted and lost its power is asked again in the same term, by one that has not heard of it.
fn vote_outlives(lab: &Lab<'_>) -> Verdict {
    for round in 0..8 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.settle_on(&[1, 2, 3])?;
        [1, 2, 3].iter().for_each(|node| cluster.power_cut(*node));
        cluster.boot(1)?;
        cluster.boot(2)?;
        let stored = |cluster: &Cluster<'_>, node: u64| {
            let hosted = cluster.hosted(node)?;
            Some(hosted.reader.state().hard_state)
        };
        let votes_for = |cluster: &Cluster<'_>, voter: u64, asker: u64| {
            let state = stored(cluster, voter);
            state == stored(cluster, asker)
                && state.and_then(|state| state.vote) == Some(member(GROUP, asker).replica)
        };
        let voted = |cluster: &Cluster<'_>| votes_for(cluster, 1, 2) || votes_for(cluster, 2, 1);
        cluster.expect("two of three do not vote for one", LONG, voted)?;
        let (voter, asker) = if votes_for(&cluster, 1, 2) { (1, 2) } else { (2, 1) };
        let vote = stored(&cluster, voter);
        cluster.until(LONG, |cluster| {
            let node = cluster.nodes.get(&voter);
            node.and_then(|node| node.durable_hard_state(lab.backend, GROUP)) == vote
        });
        cluster.isolate(&[asker]);
        cluster.power_cut(voter);
        lab.marks.hit("votes before a power cut");
        // Who asks next has waited for its time already when the voter returns.
        cluster.boot(3)?;
        let wait = cluster.bound() / 4;
        cluster.run(wait);
        cluster.boot(voter)?;
        let leads = |cluster: &Cluster<'_>, node: u64| {
            cluster.progress(node).is_some_and(|now| now.role == Role::Leader)
        };
        cluster.expect("the other two elect nobody", LONG, |cluster| {
            leads(cluster, voter) || leads(cluster, 3)
        })?;
        cluster.net.heal_all();
        cluster.settle_on(&[1, 2, 3])?;
    }
    lab.marks.require(&["votes before a power cut"])
}

fn leaders_in_turn(lab: &Lab<'_>) -> Verdict {
    for round in 0..2 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        for turn in 0..6 {
            cluster.commit(3)?;
            let leader = cluster.some_leader()?;
            if turn % 2 == 0 {
                cluster.kill(leader);
            } else {
                cluster.power_cut(leader);
            }
            cluster.commit(2)?;
            cluster.boot(leader)?;
        }
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

fn leader_alone(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (one, other) = cluster.two_others(leader);
        cluster.kill(one);
        cluster.kill(other);
        ensure!(
            !cluster.acknowledges(leader, Duration::from_secs(3)),
            "a leader acknowledged a proposal with both others down"
        );
        cluster.boot(one)?;
        cluster.boot(other)?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

fn sizes(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    cluster.commit(1)?;
    let leader = cluster.some_leader()?;
    for (records, size) in [
        (1, 0),
        (0, 0),
        (7, 1),
        (1, 511),
        (0, 4096),
        (3, 70_000),
        (1, 300_000),
    ] {
        let id = cluster.propose(leader, records, size);
        let Ok(id) = id else {
            return Err(crate::check::Failure(format!(
                "a proposal of {size} bytes is refused: {id:?}"
            )));
        };
        cluster.expect("a proposal has no outcome", LONG, |cluster| {
            cluster.outcome(id).is_some()
        })?;
        let outcome = cluster.outcome(id).cloned();
        ensure!(
            matches!(outcome, Some(Outcome::Committed(_))),
            "a proposal of {size} bytes ends as {outcome:?}"
        );
    }
    cluster.settle_on(&[1, 2, 3])?;
    cluster.power_cut_all()?;
    cluster.settle_on(&[1, 2, 3])
}

fn applies_again(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(10)?;
        if round == 1 {
            cluster.purge_twice(&[1, 2, 3])?;
        }
        let target = cluster.commit(2)?.id.index;
        cluster.power_cut_all()?;
        cluster.expect("a replica does not apply its log again", LONG, |cluster| {
            (1..=3).all(|node| cluster.applied(node) >= target)
        })?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

fn barriers_everywhere(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    for _ in 0..5 {
        cluster.commit(2)?;
        for node in 1..=3 {
            super::scenes::ask_barrier(&mut cluster, node, Duration::from_secs(2))?;
        }
    }
    lab.marks.merge(&cluster.oracle.marks);
    cluster.verdict()?;
    lab.marks.require(&["barriers answered"])
}

fn barrier_without_quorum(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (one, other) = cluster.two_others(leader);
        cluster.kill(one);
        cluster.kill(other);
        // A lease may last for as long as nobody else can be elected.
        let bound = cluster.bound();
        cluster.run(bound);
        let barrier = cluster.group(leader)?.read_barrier();
        let answer = cluster.answer(bound * 2, barrier);
        ensure!(
            !matches!(answer, Some(Ok(_))),
            "a leader whose others are all down completes a barrier: {answer:?}"
        );
        cluster.verdict()?;
    }
    Ok(())
}

fn refused_by_followers(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    cluster.commit(2)?;
    for _ in 0..5 {
        let leader = cluster.some_leader()?;
        let (one, other) = cluster.two_others(leader);
        for node in [one, other] {
            match cluster.propose(node, 1, 20) {
                Err(ProposeError::NotLeader { leader: told }) => {
                    lab.marks.hit("refused");
                    let expected = Some(member(GROUP, leader).replica);
                    ensure!(
                        told.is_none() || told == expected,
                        "node {node} refuses, and names {told:?} where {expected:?} leads"
                    );
                }
                Err(error) => ensure!(false, "node {node} follows, and refuses with {error:?}"),
                // An engine may pass it on.
                Ok(_) => lab.marks.hit("passed on"),
            }
        }
        cluster.commit(1)?;
        let to = member(GROUP, one).replica;
        let call = cluster.group(leader)?.transfer_leadership(to);
        cluster.answer(LONG, call);
        cluster.commit(1)?;
    }
    cluster.settle_on(&[1, 2, 3])
}

fn in_flight_ends(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        cluster.isolate(&[old]);
        let mut open = Vec::new();
        for _ in 0..10 {
            open.extend(cluster.propose(old, 1, 20).ok());
            cluster.run(Duration::from_millis(2));
        }
        lab.marks.add("in flight", open.len() as u64);
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some_and(|leader| leader != old)
        })?;
        cluster.commit(2)?;
        cluster.net.heal_all();
        cluster.expect("what was in flight has no outcome", LONG, |cluster| {
            open.iter().all(|id| cluster.outcome(*id).is_some())
        })?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    lab.marks.require(&["in flight"])
}

fn through_a_transfer(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (to, _) = cluster.two_others(leader);
        let group = cluster.group(leader)?;
        for number in 0..30 {
            // Refusals are allowed once the other leads.
            drop(cluster.propose(leader, 1, 40));
            if number == 10 {
                let call = group.transfer_leadership(member(GROUP, to).replica);
                let task = async move { drop(call.await) };
                cluster.sim.env().spawn.spawn("cluster-transfer", Box::pin(task));
            }
            cluster.run(Duration::from_micros(300));
        }
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

fn power_cut_of_all(lab: &Lab<'_>) -> Verdict {
    for round in 0..4 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        cluster.commit(10)?;
        cluster.power_cut_all()?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}

fn two_found(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.prepared(round, &Shape::of(3));
        cluster.boot(1)?;
        cluster.boot(2)?;
        // Those that are there first look for the one that is not.
        let bound = cluster.bound() * 2;
        cluster.expect("two of three elect nobody", bound, |cluster| {
            cluster.leader().is_some()
        })?;
        cluster.commit(5)?;
        cluster.boot(3)?;
        cluster.settle_on(&[1, 2, 3])?;
    }
    Ok(())
}
