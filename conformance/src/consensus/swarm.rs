//! Swarms: clusters under random mixes of faults, one seed each.
//!
//! A seed chooses which kinds of faults happen in its run and how often, so that rare combinations come up. The plan is
//! made before the run: a failing run is shrunk by leaving faults out for as long as it still fails.

use super::Backend;
use super::client::{Clients, Habits};
use super::cluster::{Cluster, Shape};
use super::node::member;
use super::oracle::Violation;
use super::plan::{Fault, Plan};
use crate::check::{Failure, Marks};
use crate::survey;
use crate::world::disk::{self, DropAll, KeepAll, KeepFirst, Op};
use crate::world::net::{End, NetOptions};
use crate::world::{Prng, Seed, locked};
use chronik_core::NodeId;
use chronik_core::consensus::{MembershipChange, Role};
use chronik_core::fs::FsErrorKind;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// What a run of one seed showed.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The seed.
    pub seed: Seed,
    /// The breaches, one of each clause.
    pub violations: Vec<Violation>,
    /// A digest of everything that was seen.
    pub digest: (u64, u64),
    /// The faults of the plan.
    pub plan: Vec<String>,
}

/// The runs of a batch of seeds, made when they are needed and shared by the checks that look at them.
pub(super) struct Swarm {
    seeds: Vec<Seed>,
    runs: Vec<OnceLock<RunReport>>,
    marks: Mutex<Marks>,
}

impl Swarm {
    pub(super) fn new(seed: Seed, count: u64) -> Self {
        let seeds: Vec<Seed> = (0..count).map(|number| seed.child("swarm").nth(number)).collect();
        Self::of(seeds)
    }

    pub(super) fn of(seeds: Vec<Seed>) -> Self {
        Self {
            runs: seeds.iter().map(|_| OnceLock::new()).collect(),
            seeds,
            marks: Mutex::default(),
        }
    }

    /// The first run that breaks `clause`, looking from the `offset`-th run on; adds what all runs met to `marks`.
    pub(super) fn first_breach(
        &self,
        backend: &dyn Backend,
        clause: &str,
        offset: usize,
        marks: &Marks,
    ) -> Option<(RunReport, Violation)> {
        let count = self.seeds.len().max(1);
        for number in 0..self.seeds.len() {
            let at = (number + offset) % count;
            let (Some(cell), Some(seed)) = (self.runs.get(at), self.seeds.get(at)) else {
                continue;
            };
            let report = cell.get_or_init(|| {
                let (report, met) = run(backend, &Plan::random(*seed));
                locked(&self.marks).merge(&met);
                marks.hit(Marks::RUNS);
                report
            });
            let breach = report
                .violations
                .iter()
                .find(|violation| violation.clause == clause);
            if let Some(breach) = breach {
                marks.add(Marks::SEEDS, number as u64 + 1);
                return Some((report.clone(), breach.clone()));
            }
        }
        marks.merge(&locked(&self.marks));
        marks.add(Marks::SEEDS, self.seeds.len() as u64);
        None
    }
}

/// Runs a plan.
pub(super) fn run(backend: &dyn Backend, plan: &Plan) -> (RunReport, Marks) {
    let (violations, digest, marks) = match play(backend, plan) {
        Ok((violations, digest, marks)) => (violations, digest, marks),
        Err(failure) => {
            let clause = "CS-LIV-01";
            let what = failure.0;
            (vec![Violation { clause, what }], (0, 0), Marks::default())
        }
    };
    let report = RunReport {
        seed: plan.seed,
        violations,
        digest,
        plan: plan.describe(),
    };
    (report, marks)
}

type Played = (Vec<Violation>, (u64, u64), Marks);

fn play(backend: &dyn Backend, plan: &Plan) -> Result<Played, Failure> {
    let shape = Shape::with_spares(plan.voters, plan.nodes);
    let mut cluster = Cluster::start(backend, plan.seed, &shape)?;
    let habits = Habits {
        count: 3,
        pause: plan.client_pause,
        size: plan.payload_bytes,
        reads: 15,
    };
    let clients = Clients::start(
        &cluster.sim,
        plan.seed.child("clients"),
        habits,
        &cluster.oracle,
        &cluster.pending,
    );
    clients.publish(&cluster.nodes);
    cluster.clients = Some(clients.clone());
    let mut prng = plan.seed.child("faults").prng();
    for (at, fault) in &plan.faults {
        let pause = at.saturating_sub(cluster.now());
        cluster.run(pause);
        apply(&mut cluster, *fault, &mut prng)?;
        cluster.oracle.check_logs();
    }
    cluster.run(plan.length.saturating_sub(cluster.now()));
    if let Err(failure) = settle(&mut cluster, &clients) {
        let clause = liveness_clause(&failure);
        cluster.oracle.violate(clause, failure.0);
    }
    cluster.oracle.check_logs();
    let digest = (cluster.oracle.digest(), cluster.net.trace().0);
    Ok((cluster.violations(), digest, cluster.oracle.marks.clone()))
}

fn liveness_clause(failure: &Failure) -> &'static str {
    if failure.0.contains("no leader") {
        "CS-LIV-01"
    } else if failure.0.contains("nothing is committed") {
        "CS-LIV-02"
    } else {
        "CS-LIV-03"
    }
}

/// Ends all faults, and waits until the cluster works and all replicas agree.
fn settle(cluster: &mut Cluster<'_>, clients: &Clients) -> Result<(), Failure> {
    cluster.net.heal_all();
    cluster.net.set_options(NetOptions::default());
    for number in cluster.all() {
        calm(cluster, number.0)?;
    }
    let bound = cluster.bound() + Duration::from_secs(20);
    if !cluster.until(bound, |cluster| cluster.leader().is_some()) {
        return Err(Failure(format!(
            "no leader within {bound:?}; {}",
            cluster.describe()
        )));
    }
    cluster.commit_one(bound)?;
    clients.stop();
    cluster.run(Duration::from_millis(200));
    let target = cluster.commit_one(bound)?.id.index;
    let members = members_now(cluster);
    let done = |cluster: &Cluster<'_>| members.iter().all(|node| cluster.applied(*node) >= target);
    if !cluster.until(Duration::from_secs(60), done) {
        return Err(Failure(format!(
            "replicas do not converge; {}",
            cluster.describe()
        )));
    }
    cluster.oracle.check_acked();
    Ok(())
}

/// Ends the faults of one node.
fn calm(cluster: &mut Cluster<'_>, number: u64) -> Result<(), Failure> {
    cluster.resume(number);
    if let Some(node) = cluster.nodes.get(&number) {
        node.disk.clear_faults();
        if let Some(process) = &node.process {
            process.sim.queue().set_job_time(Duration::ZERO, Duration::ZERO);
        }
        if node.is_poisoned() {
            cluster.kill(number);
        }
    }
    cluster.boot(number)
}

/// The nodes of the replicas that the leader counts.
fn members_now(cluster: &Cluster<'_>) -> Vec<u64> {
    let leader = cluster.leader().and_then(|leader| cluster.group(leader).ok());
    let membership = leader.map(|group| group.status().membership).unwrap_or_default();
    let all = membership.voters.iter().chain(&membership.learners);
    all.map(|member| member.node.0).collect()
}

fn apply(cluster: &mut Cluster<'_>, fault: Fault, prng: &mut Prng) -> Result<(), Failure> {
    match fault {
        Fault::Kill(node) => cluster.kill(node),
        Fault::PowerCut(node) => cluster.crash(node, End::Power, &mut DropAll),
        Fault::PowerTorn(node, keep) => {
            let mut random = prng.clone();
            match keep {
                0 => cluster.crash(node, End::Power, &mut random),
                1 => cluster.crash(node, End::Power, &mut KeepAll),
                keep => cluster.crash(node, End::Power, &mut KeepFirst { keep }),
            }
        }
        Fault::PowerCutAll => {
            for node in cluster.all() {
                cluster.crash(node.0, End::Power, &mut DropAll);
            }
        }
        Fault::Start(node) => calm(cluster, node)?,
        Fault::StartAll => {
            for node in cluster.all() {
                calm(cluster, node.0)?;
            }
        }
        Fault::Pause(node) => cluster.pause(node),
        Fault::Resume(node) => cluster.resume(node),
        Fault::Isolate(node) => cluster.isolate(&[node]),
        Fault::IsolateLeader => {
            if let Some(leader) = cluster.leader() {
                cluster.isolate(&[leader]);
            }
        }
        Fault::Split(mask) => {
            let inside: Vec<u64> = cluster
                .nodes
                .keys()
                .copied()
                .filter(|node| mask >> node & 1 == 1)
                .collect();
            cluster.isolate(&inside);
        }
        Fault::CutOneWay(from, to) => cluster.net.cut(NodeId(from), NodeId(to)),
        Fault::Heal => cluster.net.heal_all(),
        Fault::Reset(one, other) => {
            cluster.net.reset(NodeId(one), NodeId(other));
        }
        Fault::Weather(delay, resets_ppm) => cluster.net.set_options(NetOptions { delay, resets_ppm }),
        Fault::SlowDisk(node, time) => {
            if let Some(process) = cluster.nodes.get(&node).and_then(|node| node.process.as_ref()) {
                process.sim.queue().set_job_time(time / 2, time);
            }
        }
        Fault::SyncFails(node) => {
            if let Some(node) = cluster.nodes.get(&node) {
                node.disk.inject(disk::Fault::nth(Op::Sync, 0, FsErrorKind::Io));
            }
        }
        Fault::Transfer(to) => transfer(cluster, to),
        Fault::Checkpoint(node) => {
            cluster.checkpoint(node);
        }
        Fault::Change(voters) => change(cluster, voters),
        Fault::AddLearner(node) => add_learner(cluster, node),
    }
    Ok(())
}

fn transfer(cluster: &Cluster<'_>, to: u64) {
    let group = cluster.leader().and_then(|leader| cluster.group(leader).ok());
    if let Some(group) = group {
        let call = group.transfer_leadership(member(super::cluster::GROUP, to).replica);
        let task = async move { drop(call.await) };
        cluster.sim.env().spawn.spawn("cluster-transfer", Box::pin(task));
    }
}

fn change(cluster: &Cluster<'_>, voters: u64) {
    let members = |wanted: bool| {
        let nodes = cluster
            .nodes
            .keys()
            .filter(move |node| (voters >> **node & 1 == 1) == wanted);
        nodes
            .map(|node| member(super::cluster::GROUP, *node))
            .collect::<Vec<_>>()
    };
    let voters = members(true);
    let learners = Vec::new();
    ask(cluster, MembershipChange::Become { voters, learners });
}

fn add_learner(cluster: &Cluster<'_>, node: u64) {
    ask(
        cluster,
        MembershipChange::AddLearner(member(super::cluster::GROUP, node)),
    );
}

fn ask(cluster: &Cluster<'_>, change: MembershipChange) {
    let running = cluster.nodes.values().filter(|node| node.is_running());
    let leader = running
        .filter(|node| {
            let progress = node
                .hosted(super::cluster::GROUP)
                .and_then(super::node::Hosted::progress);
            progress.is_some_and(|progress| progress.role == Role::Leader)
        })
        .find_map(|node| cluster.group(node.id).ok());
    if let Some(group) = leader {
        let (call, marks) = (group.change_membership(change), cluster.oracle.marks.clone());
        let task = async move {
            if call.await.is_ok() {
                marks.hit("memberships changed");
            }
        };
        cluster.sim.env().spawn.spawn("cluster-change", Box::pin(task));
    }
}

/// The plan of a seed with as few faults as still break `clause`; `tries` bounds the effort.
pub(super) fn shrink(backend: &dyn Backend, seed: Seed, clause: &str, tries: u32) -> Plan {
    let mut plan = Plan::random(seed);
    plan.faults = survey::shrink(&plan.faults, tries, |faults| {
        let fewer = Plan {
            faults: faults.to_vec(),
            ..plan.clone()
        };
        let (report, _) = run(backend, &fewer);
        report
            .violations
            .iter()
            .any(|violation| violation.clause == clause)
    });
    plan
}
