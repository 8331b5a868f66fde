//! Memberships: who is counted, and who is not any more.

use super::cluster::{Cluster, GROUP, Shape};
use super::node::member;
use super::{Check, Lab, must};
use crate::check::{Marks, Verdict, ensure};
use crate::world::disk::DropAll;
use crate::world::net::{End, LinkDelay, NetOptions};
use chronik_core::LogId;
use chronik_core::consensus::{ConsensusError, Membership, MembershipChange, Role};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "CS-MEM-01",
        "a_joint_change_needs_quorums_of_both_voter_sets",
        joint,
    ),
    must(
        "CS-MEM-02",
        "a_membership_that_was_truncated_is_not_in_force",
        reverted,
    ),
    must("CS-MEM-03", "one_change_at_a_time", one_at_a_time),
    must("CS-MEM-04", "a_learner_is_never_counted", learners),
    must("CS-MEM-03", "a_change_can_follow_another", one_after_the_other),
    must("CS-MEM-04", "a_learner_that_became_a_voter_is_counted", promoted),
    must("CS-MEM-05", "a_removed_replica_deposes_nobody", removed_is_quiet),
    must(
        "CS-MEM-06",
        "a_removed_leader_commits_the_change_and_steps_down",
        removed_leader,
    ),
    must(
        "CS-MEM-07",
        "a_crash_in_a_change_ends_in_the_old_or_the_new_membership",
        crash_in_change,
    ),
    must(
        "CS-MEM-08",
        "growth_from_one_voter_waits_for_real_quorums",
        growth,
    ),
    must(
        "CS-MEM-09",
        "what_is_not_declared_is_refused_by_name",
        refused_by_name,
    ),
];

const LONG: Duration = Duration::from_secs(20);

type Answered = Option<Result<LogId, ConsensusError>>;

impl Cluster<'_> {
    /// Asks whoever leads for a change.
    pub(super) fn change_now(
        &mut self,
        node: u64,
        change: MembershipChange,
        within: Duration,
    ) -> Result<Answered, crate::check::Failure> {
        let call = self.group(node)?.change_membership(change);
        Ok(self.answer(within, call))
    }

    /// Cuts a leader off and has it begin a change, which it cannot commit.
    pub(super) fn change_alone(&mut self, leader: u64) -> Verdict {
        self.isolate(&[leader]);
        let answer = self.change_now(leader, add_learner(4), Duration::from_millis(100))?;
        ensure!(
            !matches!(answer, Some(Ok(_))),
            "a leader that is alone committed a change"
        );
        Ok(())
    }

    /// Waits until a replica that was cut off follows, and compares the membership that it counts.
    pub(super) fn counts_again(&mut self, old: u64, founding: &Membership, after: &str) -> Verdict {
        self.net.heal_all();
        let target = self.commit(1)?.id.index;
        self.expect("the old leader does not follow", LONG, |cluster| {
            cluster.applied(old) >= target
        })?;
        let now = self.membership(old);
        ensure!(
            now == *founding,
            "{after} node {old} counts {now:?} and not {founding:?}"
        );
        Ok(())
    }

    /// Changes the membership, whatever it takes.
    fn change(&mut self, what: &str, change: &MembershipChange) -> Verdict {
        let end = self.now() + LONG * 3;
        let mut last = None;
        while self.now() < end {
            if let Some(leader) = self.leader() {
                last = self.change_now(leader, change.clone(), LONG)?;
                if matches!(last, Some(Ok(_))) {
                    return Ok(());
                }
                // A change whose outcome was not known may be done.
                if matches!(last, Some(Err(ConsensusError::Invalid(_)))) && self.is_done(leader, change) {
                    return Ok(());
                }
            }
            self.run(Duration::from_millis(100));
        }
        self.verdict()?;
        Err(crate::check::Failure(format!(
            "{what} does not succeed: {last:?}; {}",
            self.describe()
        )))
    }

    fn is_done(&self, node: u64, change: &MembershipChange) -> bool {
        let membership = self
            .group(node)
            .map(|group| group.status().membership)
            .unwrap_or_default();
        match change {
            MembershipChange::AddLearner(member) => membership.learners.contains(member),
            MembershipChange::Become { voters, .. } => membership.voters == *voters,
        }
    }

    pub(super) fn membership(&self, node: u64) -> Membership {
        let mut membership = self
            .group(node)
            .map(|group| group.status().membership)
            .unwrap_or_default();
        membership.voters.sort_unstable();
        membership.outgoing_voters.sort_unstable();
        membership.learners.sort_unstable();
        membership
    }

    /// Whether anything is acknowledged on `node` within `time`.
    pub(super) fn acknowledges(&mut self, node: u64, time: Duration) -> bool {
        let Ok(id) = self.propose(node, 1, 20) else {
            return false;
        };
        let acked = |cluster: &Self| matches!(cluster.outcome(id), Some(chronik_core::Outcome::Committed(_)));
        self.until(time, acked)
    }
}

pub(super) fn become_voters(voters: &[u64]) -> MembershipChange {
    MembershipChange::Become {
        voters: voters.iter().map(|node| member(GROUP, *node)).collect(),
        learners: Vec::new(),
    }
}

pub(super) fn add_learner(node: u64) -> MembershipChange {
    MembershipChange::AddLearner(member(GROUP, node))
}

/// Whether the engine changes memberships at all; where not, CS-MEM-09 says what it must do.
pub(super) fn changes(cluster: &Cluster<'_>, lab: &Lab<'_>) -> bool {
    let does = cluster
        .capabilities()
        .is_some_and(|can| can.membership_change && can.learners);
    if !does {
        lab.marks.hit(Marks::NOT_DECLARED);
    }
    does
}

fn joint(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 5))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    cluster.change("adding a learner", &add_learner(4))?;
    cluster.change("adding a learner", &add_learner(5))?;
    ensure!(
        cluster.make_leader(3)?,
        "node 3 does not lead; {}",
        cluster.describe()
    );
    let target = cluster.commit(1)?.id.index;
    cluster.expect("learners do not follow", LONG, |cluster| {
        [4, 5].iter().all(|node| cluster.applied(*node) >= target)
    })?;
    // The leader keeps the new voters, and loses the majority of the old ones.
    cluster.isolate(&[1, 2]);
    let answer = cluster.change_now(3, become_voters(&[3, 4, 5]), Duration::from_secs(8))?;
    ensure!(
        !matches!(answer, Some(Ok(_))),
        "a change was committed without a quorum of the old voters"
    );
    ensure!(
        !cluster.acknowledges(3, Duration::from_secs(2)),
        "a proposal was acknowledged without a quorum of the old voters"
    );
    cluster.net.heal_all();
    cluster.commit(2)?;
    cluster.verdict()
}

fn reverted(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::with_spares(3, 4))?;
        if !changes(&cluster, lab) {
            return Ok(());
        }
        cluster.commit(2)?;
        let old = cluster.some_leader()?;
        let founding = cluster.membership(old);
        cluster.change_alone(old)?;
        let patience = cluster.bound() * 4;
        cluster.expect("nobody else is elected", patience, |cluster| {
            cluster.leader().is_some_and(|leader| leader != old)
        })?;
        cluster.commit(2)?;
        cluster.counts_again(old, &founding, "after its change was truncated,")?;
        lab.marks.hit("memberships truncated");
    }
    Ok(())
}

fn one_at_a_time(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 5))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    let slow = Duration::from_millis(60);
    let delay = LinkDelay { from: slow, to: slow };
    cluster.net.set_options(NetOptions { delay, resets_ppm: 0 });
    let leader = cluster.some_leader()?;
    let first = cluster.group(leader)?.change_membership(add_learner(4));
    let second = cluster.group(leader)?.change_membership(add_learner(5));
    let second = cluster.answer(LONG, second);
    ensure!(
        matches!(second, Some(Err(ConsensusError::Busy))),
        "a second change while one was under way: {second:?}"
    );
    let first = cluster.answer(LONG, first);
    ensure!(matches!(first, Some(Ok(_))), "the first change: {first:?}");
    cluster.verdict()
}

fn learners(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 5))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    cluster.change("adding a learner", &add_learner(4))?;
    cluster.change("adding a learner", &add_learner(5))?;
    cluster.kill(4);
    cluster.boot(4)?;
    let target = cluster.commit(2)?.id.index;
    cluster.expect("learners do not follow", LONG, |cluster| {
        [4, 5].iter().all(|node| cluster.applied(*node) >= target)
    })?;
    let role = cluster.progress(4).map(|progress| progress.role);
    ensure!(
        role == Some(Role::Learner),
        "a learner is {role:?} after a restart"
    );
    let leader = cluster.some_leader()?;
    let (one, other) = cluster.two_others(leader);
    cluster.kill(one);
    cluster.kill(other);
    // A voter and two learners are three of five, and one of three voters.
    ensure!(
        !cluster.acknowledges(leader, Duration::from_secs(4)),
        "a proposal was acknowledged by one voter of three and two learners"
    );
    cluster.kill(leader);
    cluster.boot(leader)?;
    let patience = cluster.bound() * 3;
    let led = cluster.until(patience, |cluster| cluster.leader().is_some());
    ensure!(!led, "one voter of three was elected; {}", cluster.describe());
    cluster.boot(one)?;
    cluster.commit(2)?;
    cluster.verdict()
}

fn one_after_the_other(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 5))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    for voters in [&[1, 2, 3, 4, 5][..], &[3, 4, 5], &[1, 2, 3], &[1, 2, 4]] {
        cluster.change("the next change", &become_voters(voters))?;
        cluster.commit(1)?;
        lab.marks.hit("memberships changed");
    }
    let settled = |cluster: &Cluster<'_>| {
        cluster.leader().is_some_and(|leader| {
            let membership = cluster.membership(leader);
            membership.outgoing_voters.is_empty() && become_voters(&[1, 2, 4]) == as_change(&membership)
        })
    };
    cluster.expect("the last membership is not in force", LONG, settled)?;
    cluster.settle_on(&[1, 2, 4])
}

fn as_change(membership: &Membership) -> MembershipChange {
    MembershipChange::Become {
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
    }
}

fn promoted(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 4))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    cluster.change("adding a learner", &add_learner(4))?;
    cluster.change("making it a voter", &become_voters(&[1, 2, 3, 4]))?;
    cluster.settle_on(&[1, 2, 3, 4])?;
    let leader = cluster.some_leader()?;
    let others: Vec<u64> = (1..=4).filter(|node| *node != leader).take(2).collect();
    others.iter().for_each(|node| cluster.kill(*node));
    // Two of four are no majority; two of the three first voters would have been one.
    ensure!(
        !cluster.acknowledges(leader, Duration::from_secs(4)),
        "a proposal was acknowledged by two of four voters"
    );
    others.iter().try_for_each(|node| cluster.boot(*node))?;
    cluster.settle_on(&[1, 2, 3, 4])
}

fn removed_is_quiet(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::of(3))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(2)?;
    let leader = cluster.some_leader()?;
    let (stays, goes) = cluster.two_others(leader);
    cluster.isolate(&[goes]);
    cluster.commit(1)?;
    cluster.change("removing a replica", &become_voters(&[leader, stays]))?;
    cluster.net.heal_all();
    let leader = cluster.some_leader()?;
    let before = cluster.progress(leader).map(|progress| progress.term);
    let patience = cluster.bound() * 6;
    cluster.run(patience);
    cluster.commit(1)?;
    let after = cluster
        .leader()
        .and_then(|leader| cluster.progress(leader))
        .map(|progress| progress.term);
    ensure!(
        after == before,
        "a removed replica that heard nothing of it moved the term from {before:?} to {after:?}"
    );
    cluster.verdict()
}

fn removed_leader(lab: &Lab<'_>) -> Verdict {
    for round in 0..3 {
        let mut cluster = lab.cluster(round, &Shape::of(3))?;
        if !changes(&cluster, lab) {
            return Ok(());
        }
        cluster.commit(2)?;
        let leader = cluster.some_leader()?;
        let (one, other) = cluster.two_others(leader);
        let answer = cluster.change_now(leader, become_voters(&[one, other]), LONG)?;
        ensure!(
            matches!(answer, Some(Ok(_))),
            "a leader's own removal: {answer:?}"
        );
        let patience = cluster.bound() * 2;
        cluster.expect("a removed leader goes on", patience, |cluster| {
            cluster
                .progress(leader)
                .is_some_and(|progress| progress.role != Role::Leader)
        })?;
        cluster.commit(2)?;
        ensure!(cluster.leader() != Some(leader), "a removed replica leads");
        cluster.kill(leader);
        cluster.commit(1)?;
        cluster.verdict()?;
    }
    Ok(())
}

fn crash_in_change(lab: &Lab<'_>) -> Verdict {
    for round in 0..8 {
        let mut cluster = lab.cluster(round, &Shape::with_spares(3, 4))?;
        if !changes(&cluster, lab) {
            return Ok(());
        }
        cluster.commit(2)?;
        cluster.change("adding a learner", &add_learner(4))?;
        let leader = cluster.some_leader()?;
        let call = cluster
            .group(leader)?
            .change_membership(become_voters(&[2, 3, 4]));
        cluster.answer(Duration::from_millis(round * 4), call);
        for node in 1..=4 {
            cluster.crash(node, End::Power, &mut DropAll);
        }
        for node in 1..=4 {
            cluster.boot(node)?;
        }
        cluster.commit(2)?;
        let settled = |cluster: &Cluster<'_>| {
            cluster
                .leader()
                .is_some_and(|leader| cluster.membership(leader).outgoing_voters.is_empty())
        };
        cluster.expect("a change that a crash met is never ended", LONG, settled)?;
        cluster.change("the change after the crash", &become_voters(&[2, 3, 4]))?;
        // The new voters alone are enough, also after another crash of all.
        let target = cluster.commit(1)?.id.index;
        cluster.expect("the new voters do not follow", LONG, |cluster| {
            [2, 3, 4].iter().all(|node| cluster.applied(*node) >= target)
        })?;
        for node in 1..=4 {
            cluster.crash(node, End::Power, &mut DropAll);
        }
        cluster.boot(3)?;
        cluster.boot(4)?;
        cluster.commit(1)?;
        cluster.verdict()?;
        lab.marks.hit("crashes in a change");
    }
    Ok(())
}

fn growth(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(1, 3))?;
    if !changes(&cluster, lab) {
        return Ok(());
    }
    cluster.commit(3)?;
    cluster.isolate(&[1]);
    let answer = cluster.change_now(1, become_voters(&[1, 2, 3]), Duration::from_secs(6))?;
    if matches!(answer, Some(Err(ConsensusError::Unsupported(_)))) {
        lab.marks.hit(Marks::REFUSES_GROWTH);
        return Ok(());
    }
    ensure!(
        !matches!(answer, Some(Ok(_))),
        "one voter committed the growth to three alone"
    );
    ensure!(
        !cluster.acknowledges(1, Duration::from_secs(3)),
        "one voter of three acknowledged a proposal while the group grew"
    );
    cluster.net.heal_all();
    let patience = Duration::from_secs(60);
    cluster.commit_one(patience)?;
    cluster.change("growth to three", &become_voters(&[1, 2, 3]))?;
    let leader = cluster.some_leader()?;
    cluster.kill(leader);
    cluster.commit(2)?;
    cluster.verdict()
}

fn refused_by_name(lab: &Lab<'_>) -> Verdict {
    let mut cluster = lab.cluster(0, &Shape::with_spares(3, 4))?;
    cluster.commit(1)?;
    let Some(can) = cluster.capabilities() else {
        return Ok(());
    };
    let leader = cluster.some_leader()?;
    let unsupported = |answer: &Answered| matches!(answer, Some(Err(ConsensusError::Unsupported(_))));
    let asked = [
        (
            "a membership change",
            can.membership_change,
            become_voters(&[1, 2]),
        ),
        ("a learner", can.learners, add_learner(4)),
    ];
    for (what, declared, change) in asked {
        if !declared {
            let answer = cluster.change_now(leader, change, LONG)?;
            ensure!(
                unsupported(&answer),
                "{what} is not declared, and the answer is {answer:?}"
            );
            lab.marks.hit("refused by name");
        }
    }
    if !can.leadership_transfer {
        let to = member(GROUP, 1 + leader % 3).replica;
        let call = cluster.group(leader)?.transfer_leadership(to);
        let answer = cluster.answer(LONG, call);
        ensure!(
            matches!(answer, Some(Err(ConsensusError::Unsupported(_)))),
            "a transfer is not declared, and the answer is {answer:?}"
        );
        lab.marks.hit("refused by name");
    }
    cluster.verdict()
}
