//! A run: the plan is played, everything is healed, and what is there is held against what was acknowledged.

use crate::access::Access;
use crate::bucket::SimBucket;
use crate::disaster::{NEW_EPOCH, OLD, back_up};
use crate::metadata::Metadata;
use crate::node::{Node, World};
use crate::oracle::Oracle;
use crate::plan::{BucketFaults, Disaster, Fault, Plan, REPLICAS};
use crate::producer::Producers;
use crate::{producer, reader, times};
use bytes::Bytes;
use chronik_conformance::check::Marks;
use chronik_conformance::survey::Breach;
use chronik_conformance::world::disk::{self, Chooser, DropAll, KeepAll, Op};
use chronik_conformance::world::net::{End, NetOptions, SimNet};
use chronik_conformance::world::{Prng, Seed, SimEnv};
use chronik_core::NodeId;
use chronik_core::env::Clock;
use chronik_core::fs::FsErrorKind;
use chronik_server::partition::{Partition, PartitionError};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long clients use a restored cluster.
const AFTER_A_RESTORE: Duration = Duration::from_millis(1500);
/// How many look-ups by time there are at the end.
const LOOK_UPS: u32 = 12;
/// What everything that must happen once all faults are gone may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run of one seed showed.
pub(crate) struct Report {
    pub(crate) seed: Seed,
    pub(crate) breaches: Vec<Breach>,
    /// A digest of everything that was seen.
    pub(crate) digest: (u64, u64),
    pub(crate) marks: Marks,
}

/// Plays a plan.
pub(crate) fn run(plan: &Plan) -> Report {
    run_as(plan, play)
}

/// Plays something with the cluster of a plan.
pub(crate) fn run_as(plan: &Plan, play: impl FnOnce(&mut Cluster) -> Result<u64, String>) -> Report {
    let seed = plan.seed;
    let sim = SimEnv::new(seed.child("sim"));
    let oracle = Oracle::new(&plan.config, sim.env().clock);
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut Cluster::new(plan, &sim, &oracle))));
    let digest = match played {
        Ok(Ok(trace)) => (oracle.digest(), trace),
        Ok(Err(what)) => {
            oracle.violate("it-works-again", what);
            (0, 0)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            oracle.violate("no-panic", text.unwrap_or_default());
            (0, 0)
        }
    };
    sim.end();
    Report {
        seed,
        breaches: oracle.breaches(),
        digest,
        marks: oracle.marks.clone(),
    }
}

/// The cluster, driven step by step.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) nodes: BTreeMap<u64, Node>,
}

fn play(cluster: &mut Cluster) -> Result<u64, String> {
    let (plan, sim) = (cluster.world.plan.clone(), cluster.world.sim.clone());
    if plan.is_tiered() {
        back_up(&cluster.world)?;
    }
    cluster.start_all()?;
    let producers = cluster.start_clients(0);
    let mut prng = plan.seed.child("faults").prng();
    for (at, fault) in &plan.faults {
        let pause = at.saturating_sub(sim.clock().now());
        cluster.until(pause, |_| false);
        cluster.apply(*fault, &mut prng)?;
    }
    cluster.until(plan.length.saturating_sub(sim.clock().now()), |_| false);
    if let Some(disaster) = plan.disaster {
        let mut new = cluster.restored(disaster == Disaster::OldLives)?;
        let producers = new.start_clients(NEW_EPOCH);
        new.until(AFTER_A_RESTORE, |_| false);
        for node in 1..=plan.nodes {
            cluster.crash(node, End::Process, &mut KeepAll);
        }
        let finished = new.finish(producers);
        let breaches = new.world.oracle.breaches().into_iter();
        breaches.for_each(|breach| cluster.world.oracle.violate(breach.rule, breach.what));
        return finished.map(|()| new.world.net.trace().0);
    }
    cluster.finish(producers)?;
    Ok(cluster.world.net.trace().0)
}

impl Cluster {
    fn new(plan: &Plan, sim: &SimEnv, oracle: &Oracle) -> Self {
        let metadata = Metadata::found(plan.nodes);
        let bucket_prng = plan.seed.child("bucket").prng();
        Self {
            nodes: (1..=plan.nodes)
                .map(|id| (id, Node::new(id, plan.seed)))
                .collect(),
            world: World {
                plan: plan.clone(),
                sim: sim.clone(),
                net: SimNet::new(sim, plan.seed.child("net"), NetOptions::default()),
                bucket: SimBucket::new(sim.env(), bucket_prng, oracle.clone()),
                access: Access::new(sim.env(), metadata.clone(), plan.nodes),
                oracle: oracle.clone(),
                metadata,
                cluster_id: OLD,
            },
        }
    }

    pub(crate) fn start_clients(&self, epoch: i16) -> Producers {
        let World {
            plan, access, oracle, ..
        } = &self.world;
        reader::start(plan, access, oracle);
        producer::start(plan, epoch, (access, oracle))
    }

    /// Everything that must hold once all faults are gone.
    pub(crate) fn finish(&mut self, (producers, done): Producers) -> Result<(), String> {
        self.calm()?;
        self.expect("a leader serves", |cluster| cluster.leader().is_some())?;
        self.world.access.stop();
        self.expect("producers get rid of their batches", |_| {
            done.load(Ordering::SeqCst) == producers
        })?;
        self.expect("the membership is what it shall be", |cluster| {
            cluster.world.metadata.is_settled()
        })?;
        self.expect("who has no replica any more has no log of it", |cluster| {
            let placed = cluster.world.metadata.nodes();
            let mut others = cluster.nodes.values().filter(|node| !placed.contains(&node.id));
            others.all(Node::is_empty)
        })?;
        self.judge()?;
        self.check_bucket()?;
        // All of it again from what is on the disks.
        for node in 1..=self.world.plan.nodes {
            self.crash(node, End::Power, &mut DropAll);
        }
        self.start_all()?;
        self.expect("a leader serves after all nodes went down", |cluster| {
            cluster.leader().is_some()
        })?;
        self.check_producers()?;
        self.judge()?;
        self.check_times()?;
        let oracle = &self.world.oracle;
        oracle
            .marks
            .add("batches acknowledged", oracle.acked_count() as u64);
        Ok(())
    }

    pub(crate) fn all(&self) -> Vec<NodeId> {
        (1..=self.world.plan.nodes).map(NodeId).collect()
    }

    pub(crate) fn start_all(&mut self) -> Result<(), String> {
        for node in self.nodes.values_mut().filter(|node| !node.is_up()) {
            let started = node.start(&self.world);
            started.map_err(|error| format!("node {} does not start: {error}", node.id))?;
        }
        Ok(())
    }

    pub(crate) fn crash(&mut self, node: u64, how: End, chooser: &mut dyn Chooser) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.crash(&self.world, how, chooser);
        }
    }

    fn kill(&mut self, node: u64) {
        self.crash(node, End::Process, &mut KeepAll);
    }

    /// Lets time pass until `done`, at most `within`; whether it came.
    pub(crate) fn until(&mut self, within: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let sim = self.world.sim.clone();
        let end = sim.clock().now() + within;
        let mut came = done(self);
        while !came && sim.clock().now() < end {
            let left = end.saturating_sub(sim.clock().now());
            let mut victim = None;
            sim.advance_watched(left, || {
                victim = self.world.bucket.take_victim();
                came = done(self);
                came || victim.is_some()
            });
            if let Some(node) = victim {
                self.kill(node);
                self.world.oracle.marks.hit("kills at the bucket");
            }
        }
        came
    }

    pub(crate) fn expect(&mut self, what: &str, done: impl FnMut(&Self) -> bool) -> Result<(), String> {
        if self.until(PATIENCE, done) {
            return Ok(());
        }
        let partitions = self.world.access.partitions();
        let views: Vec<_> = partitions
            .iter()
            .map(|(node, partition)| (node, partition.view(), partition.tier_status()))
            .collect();
        let failures: Vec<_> = self.nodes.values().map(Node::open_failure).collect();
        Err(format!(
            "it did not come within {PATIENCE:?} that {what}; {views:?} {failures:?}"
        ))
    }

    /// The node that serves in the newest epoch.
    pub(crate) fn leader(&self) -> Option<(u64, Arc<Partition>)> {
        let partitions = self.world.access.partitions().into_iter();
        let serving = partitions.filter(|(_, partition)| partition.view().serving);
        serving.max_by_key(|(_, partition)| partition.view().leader_epoch)
    }

    fn apply(&mut self, fault: Fault, prng: &mut Prng) -> Result<(), String> {
        match fault {
            Fault::Kill(node) => self.kill(node),
            Fault::KillLeader => {
                if let Some((node, _)) = self.leader() {
                    self.kill(node);
                }
            }
            Fault::PowerCut(node) => self.crash(node, End::Power, &mut DropAll),
            Fault::PowerTorn(node) => self.crash(node, End::Power, prng),
            Fault::PowerCutAll => {
                for node in 1..=self.world.plan.nodes {
                    self.crash(node, End::Power, &mut DropAll);
                }
            }
            Fault::StartAll => self.start_well()?,
            Fault::Pause(_) | Fault::Resume(_) | Fault::SlowDisk(..) | Fault::SyncFails(_) => {
                self.disturb(fault);
            }
            Fault::PauseLeader => {
                if let Some((node, _)) = self.leader() {
                    self.disturb(Fault::Pause(node));
                    self.world.oracle.marks.hit("leaders stopped");
                }
            }
            Fault::ResumeAll => {
                let nodes = self.nodes.keys();
                nodes.for_each(|node| self.disturb(Fault::Resume(*node)));
            }
            Fault::MoveLeader => {
                if let Some((node, _)) = self.leader() {
                    self.relocate(node);
                }
            }
            Fault::Move(node) => self.relocate(node),
            Fault::IsolateLeader => {
                if let Some((node, _)) = self.leader() {
                    self.world.net.isolate(&[NodeId(node)], &self.all());
                }
            }
            Fault::Isolate(node) => self.world.net.isolate(&[NodeId(node)], &self.all()),
            Fault::CutOneWay(from, to) => self.world.net.cut(NodeId(from), NodeId(to)),
            Fault::Heal => self.world.net.heal_all(),
            Fault::Weather(delay, resets_ppm) => {
                self.world.net.set_options(NetOptions { delay, resets_ppm });
            }
            Fault::Transfer(to) => self.transfer(to),
            Fault::KillAtBucket { requests, after } => self.world.bucket.ambush(requests, after),
            Fault::Bucket(faults) => self.world.bucket.set_faults(faults),
            Fault::LoseDisk(node) => {
                if let Some(node) = self.nodes.get_mut(&node)
                    && self.world.metadata.is_settled()
                {
                    node.lose_disk(&self.world);
                }
            }
            Fault::DeleteRecords(percent) => {
                let to = self.world.oracle.seen_end() * percent as i64 / 100;
                let (access, oracle) = (self.world.access.clone(), self.world.oracle.clone());
                let spawn = Arc::clone(&access.env.spawn);
                spawn.spawn("delete", Box::pin(reader::delete_records(access, oracle, to)));
            }
        }
        Ok(())
    }

    /// What happens to one process without ending it.
    pub(crate) fn disturb(&self, fault: Fault) {
        let (Fault::Pause(id) | Fault::Resume(id) | Fault::SlowDisk(id, _) | Fault::SyncFails(id)) = fault
        else {
            return;
        };
        let Some((node, sim)) = self.nodes.get(&id).and_then(|node| Some((node, node.sim()?))) else {
            return;
        };
        match fault {
            Fault::Pause(_) => sim.pause(),
            Fault::Resume(_) => sim.resume(),
            Fault::SlowDisk(_, time) => sim.queue().set_job_time(time / 2, time),
            _ => {
                node.disk_fails.store(true, Ordering::SeqCst);
                node.disk.inject(disk::Fault::nth(Op::Sync, 0, FsErrorKind::Io));
            }
        }
    }

    /// The replica on a node is to be on the one that has none, and nothing of an earlier one: one at a time, so that a
    /// majority never forgets.
    fn relocate(&self, from: u64) {
        let metadata = &self.world.metadata;
        let placed = metadata.nodes();
        if !metadata.is_settled() || !placed.contains(&from) {
            return;
        }
        let mut free = self.nodes.values().filter(|node| !placed.contains(&node.id));
        if let Some(to) = free.find(|node| node.is_empty()) {
            metadata.relocate(from, to.id);
            self.world.oracle.marks.hit("replicas moved");
        }
    }

    fn transfer(&self, to: u64) {
        if let (Some((_, partition)), Some(to)) = (self.leader(), self.world.metadata.replica_on(to)) {
            let call = partition.group().transfer_leadership(to);
            let task = async move { drop(call.await) };
            let spawn = &self.world.access.env.spawn;
            spawn.spawn("transfer", Box::pin(task));
        }
    }

    /// Starts what does not run, and starts again what cannot go on.
    fn start_well(&mut self) -> Result<(), String> {
        for id in 1..=self.world.plan.nodes {
            let Some(node) = self.nodes.get(&id) else {
                continue;
            };
            node.disk.clear_faults();
            let failed = node.open_failure();
            let broken = node.is_poisoned() || node.disk_fails.load(Ordering::SeqCst);
            if let Some(why) = failed.as_ref().filter(|_| !broken) {
                return Err(format!("the partition does not open on node {id}: {why}"));
            }
            if broken || failed.is_some() {
                self.kill(id);
            }
        }
        self.start_all()
    }

    /// Ends all faults.
    fn calm(&mut self) -> Result<(), String> {
        self.world.net.heal_all();
        self.world.net.set_options(NetOptions::default());
        self.world.bucket.set_faults(BucketFaults::default());
        self.world.bucket.forget_ambush();
        for node in self.nodes.values() {
            if let Some(sim) = node.sim() {
                sim.resume();
                sim.queue().set_job_time(Duration::ZERO, Duration::ZERO);
            }
        }
        self.start_well()
    }

    /// Whether all replicas have applied the same.
    pub(crate) fn is_level(&self) -> bool {
        let partitions = self.world.access.partitions();
        let Some((_, leader)) = self.leader() else {
            return false;
        };
        let (view, end) = (leader.view(), leader.log_end());
        partitions.len() as u64 == REPLICAS
            && view.high_watermark.0 == end
            && partitions
                .values()
                .all(|partition| partition.view().applied == view.applied && partition.log_end() == end)
    }

    /// Every replica has everything that was acknowledged, and they agree.
    pub(crate) fn judge(&mut self) -> Result<(), String> {
        self.expect("all replicas have applied the same", Self::is_level)?;
        let partitions = self.world.access.partitions();
        let state = |partition: &Arc<Partition>| {
            let (view, tier) = (partition.view(), partition.tier_status());
            (view.high_watermark, view.log_start, tier.map(|tier| tier.tiered))
        };
        let states: Vec<_> = partitions.values().map(state).collect();
        if states.windows(2).any(|pair| pair.first() != pair.last()) {
            let what = format!("replicas that applied the same show {states:?}");
            self.world.oracle.violate("replicas-agree", what);
        }
        drop(partitions);
        for node in self.world.metadata.nodes() {
            let (access, oracle) = (self.world.access.clone(), self.world.oracle.clone());
            let swept = self.world.sim.block_on(reader::sweep(access, oracle, node));
            if let Err(why) = swept.map_err(|stuck| stuck.to_string())? {
                self.world.oracle.violate("what-is-committed-is-readable", why);
            }
        }
        self.look_up()?;
        self.world.oracle.judge_look_ups();
        Ok(())
    }

    /// A leader without faults finds records by time.
    fn look_up(&mut self) -> Result<(), String> {
        let mut prng = self.world.plan.seed.child("look-ups").prng();
        let (mut found, mut failed) = (0, 0);
        while found < LOOK_UPS && failed < LOOK_UPS {
            let access = self.world.access.clone();
            let query = reader::look_up(&self.world.oracle, &mut prng);
            let oracle = self.world.oracle.clone();
            let asked = self.leader().map(|(node, _)| async move {
                let answered = times::ask((&access, &oracle), node, query).await;
                matches!(answered, Ok(true))
            });
            let answered = asked.map(|asked| self.world.sim.block_on(asked)).transpose();
            if answered.map_err(|stuck| stuck.to_string())? == Some(true) {
                found += 1;
            } else {
                failed += 1;
                self.until(Duration::from_millis(300), |_| false);
            }
        }
        if found < LOOK_UPS {
            let what = format!("{found} of {} look-ups by time were answered", found + failed);
            self.world.oracle.violate("what-is-committed-is-readable", what);
        }
        Ok(())
    }

    /// What is too old goes, from every disk and from the log, though nobody writes any more.
    fn check_times(&mut self) -> Result<(), String> {
        let config = self.world.plan.config.clone();
        let wait = |keep_ms: i64| Duration::from_millis(keep_ms.unsigned_abs());
        if let (true, Some(keep_ms), None) = (
            config.remote_storage,
            config.local_retention_ms,
            config.local_retention_bytes,
        ) {
            self.until(wait(keep_ms), |_| false);
            self.expect(
                "what is tiered and too old for a local disk leaves it",
                |cluster| {
                    let tiered = cluster.leader().and_then(|(_, leader)| leader.tier_status());
                    let partitions = cluster.world.access.partitions();
                    let mut starts = partitions
                        .values()
                        .map(|partition| partition.log_state().offset_start);
                    tiered.is_some_and(|status| starts.all(|start| start >= status.tiered.end))
                },
            )?;
        }
        if let Some(keep_ms) = config.retention_ms {
            self.until(wait(keep_ms), |_| false);
            self.expect("records that are too old are deleted", |cluster| {
                let leader = cluster.leader().map(|(_, leader)| leader.view());
                leader.is_some_and(|view| view.log_start == view.high_watermark)
            })?;
            self.judge()?;
        }
        Ok(())
    }

    /// The bucket comes to hold all that is sealed, and its manifest says what the leader says.
    fn check_bucket(&mut self) -> Result<(), String> {
        if !self.world.plan.is_tiered() {
            return Ok(());
        }
        let tiered_end = |cluster: &Self| {
            let status = cluster.leader().and_then(|(_, leader)| leader.tier_status());
            status.map(|status| status.tiered.end)
        };
        // Looked at from time to time: a look costs as much as there are segments.
        let (sim, mut due) = (self.world.sim.clone(), Duration::ZERO);
        let settled = move |cluster: &Self| {
            if sim.clock().now() < due {
                return false;
            }
            due = sim.clock().now() + Duration::from_millis(50);
            let status = cluster.leader().and_then(|(_, leader)| leader.tier_status());
            let manifest = cluster.world.bucket.manifest();
            let (Some(status), Ok(manifest)) = (status, manifest) else {
                return false;
            };
            let published = manifest.map(|manifest| manifest.state.offsets());
            let same = published.is_none_or(|offsets| offsets == status.tiered);
            status.lag_bytes == 0 && status.garbage == 0 && same
        };
        // A store that answers slowly takes its time where much was written.
        let mut end = None;
        while end != tiered_end(self) {
            end = tiered_end(self);
            if self.until(PATIENCE, settled.clone()) {
                return Ok(());
            }
        }
        self.expect("the bucket holds what it should", settled)
    }

    /// A producer that repeats its last batches gets the offsets that they have.
    fn check_producers(&mut self) -> Result<(), String> {
        for number in 0..self.world.plan.idempotent_producers {
            if let Some(id) = producer::producer_id(&self.world.plan, number) {
                let last = self.world.oracle.last_acked_of(id, 5);
                self.check_batches(id, last)?;
            }
        }
        Ok(())
    }

    /// Sends batches of a producer again, which are in the log.
    pub(crate) fn check_batches(&mut self, id: i64, batches: Vec<(i64, Bytes)>) -> Result<(), String> {
        let access = self.world.access.clone();
        for (base, batch) in batches {
            let mut answer = None;
            for _ in 0..20 {
                let Some((node, _)) = self.leader() else {
                    self.until(Duration::from_millis(200), |_| false);
                    continue;
                };
                let sent = producer::send_again(&access, node, &batch);
                answer = self.world.sim.block_on(sent).map_err(|stuck| stuck.to_string())?;
                if matches!(answer, Some(Ok(_) | Err(PartitionError::OutOfOrderSequence))) {
                    break;
                }
                self.until(Duration::from_millis(200), |_| false);
            }
            if answer != Some(Ok(base)) {
                let what = format!("the batch of producer {id} at {base} was sent again: {answer:?}");
                self.world.oracle.violate("no-batch-twice", what);
            }
            self.world.oracle.marks.hit("last batches sent again");
        }
        Ok(())
    }
}
