//! Random schedules: crashes, power cuts, partitions, pauses, slow disks, membership changes, transfers and purges
//! while proposals run. After every step of the schedule the logs are compared with all that was ever committed.

use crate::cluster::{Cluster, GROUP, member, records, voters};
use bytes::Bytes;
use chronik_conformance::world::Prng;
use chronik_conformance::world::disk::{DropAll, KeepAll};
use chronik_conformance::world::net::{LinkDelay, NetOptions};
use chronik_core::consensus::{Maintenance, Membership, MembershipChange, Role};
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::proposal::ProposalHandle;
use chronik_core::{LogError, LogId, LogIndex, NodeId, Outcome, ReplicaId, Term};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that was promised by anybody.
#[derive(Default)]
struct Oracle {
    leaders: BTreeMap<Term, u64>,
    /// Every index that some replica said to be committed.
    committed: BTreeMap<LogIndex, Known>,
    acknowledged: u64,
    refused: u64,
    unknown: u64,
}

/// A committed entry.
struct Known {
    term: Term,
    /// Once a replica showed it.
    payload: Option<Bytes>,
    /// Of acknowledged proposals: the payload holds each.
    marks: Vec<u8>,
}

impl Known {
    fn new(term: Term) -> Self {
        Self {
            term,
            payload: None,
            marks: Vec::new(),
        }
    }

    fn holds(&self) -> bool {
        let payload = self.payload.as_ref();
        payload.is_none_or(|payload| self.marks.iter().all(|mark| payload.contains(mark)))
    }
}

struct Open {
    handle: ProposalHandle,
    mark: u8,
}

struct Run {
    cluster: Cluster,
    oracle: Oracle,
    prng: Prng,
    open: Vec<Open>,
    /// Per node what it last said of itself; a process may forget when it ends, but not what was durable.
    seen: BTreeMap<u64, (Term, LogIndex)>,
    nodes: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Run {
    fn new(seed: u64, nodes: u64) -> Self {
        let mut cluster = Cluster::new(seed);
        let mut prng = cluster.seed.child("schedule").prng();
        cluster.mem.pending_reads = prng.chance(50);
        cluster.tune = |options| {
            options.keep_entries = 5;
            options.max_append_bytes = 400;
            options.max_inflight_appends = 4;
            options.hibernate_ticks = 3;
        };
        let delay = LinkDelay {
            from: Duration::from_micros(50),
            to: Duration::from_millis(1 + prng.below(20)),
        };
        let resets_ppm = if prng.chance(50) { prng.below(5000) } else { 0 };
        cluster.net.set_options(NetOptions { delay, resets_ppm });
        cluster.found(nodes);
        // One more, which is no member until a change makes it one.
        let nodes = nodes + 1;
        cluster.start(nodes);
        cluster.open(nodes, GROUP, Membership::default());
        Self {
            cluster,
            oracle: Oracle::default(),
            prng,
            open: Vec::new(),
            seen: BTreeMap::new(),
            nodes,
            faults: BTreeMap::new(),
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!(
            "seed {}: {what}: {}; repeat with CHRONIK_SEED={}",
            self.cluster.seed.0,
            self.cluster.dump(),
            self.cluster.seed.0
        )
    }

    fn up(&self) -> Vec<u64> {
        self.cluster.nodes.keys().copied().collect()
    }

    fn pick(&mut self, from: &[u64]) -> Option<u64> {
        let count = from.len();
        (count > 0).then(|| from[self.prng.index(count)])
    }

    fn act(&mut self) {
        let up = self.up();
        let Some(node) = self.pick(&up) else {
            self.restart_one();
            return;
        };
        match self.prng.below(100) {
            0..45 => self.propose(),
            45..50 => self.crash(node),
            50..60 => self.restart_one(),
            60..66 => self.cut(),
            66..74 => {
                self.note("heal");
                self.cluster.net.heal_all();
            }
            74..78 => self.pause(node),
            78..82 => self.slow_disk(node),
            82..84 => self.transfer(node),
            84 => {
                // Long enough to fall asleep.
                self.cluster.sim.advance(Duration::from_secs(4));
                let sleeping = self.cluster.total("groups_hibernating");
                *self.faults.entry("asleep").or_default() += sleeping;
            }
            85..90 => self.change(node),
            90..95 => self.purge(node),
            _ => self.barrier(node),
        }
    }

    fn note(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn propose(&mut self) {
        for node in self.up() {
            for _ in 0..self.prng.below(6) {
                let (count, mark) = (1 + self.prng.below(40) as u32, self.prng.below(256) as u8);
                if let Ok(handle) = self.cluster.group(node).propose(records(count, mark)) {
                    self.open.push(Open { handle, mark });
                }
            }
        }
    }

    fn crash(&mut self, node: u64) {
        match self.prng.below(3) {
            0 => self.cluster.crash(node, &mut DropAll),
            1 => self.cluster.crash(node, &mut KeepAll),
            _ => {
                let mut chooser = self.cluster.seed.child("cut").nth(self.prng.next_u64()).prng();
                self.cluster.crash(node, &mut chooser);
            }
        }
        self.seen.remove(&node);
        self.note("crash");
    }

    fn restart_one(&mut self) {
        let down: Vec<u64> = self
            .cluster
            .disks
            .keys()
            .copied()
            .filter(|node| !self.cluster.nodes.contains_key(node))
            .collect();
        if let Some(node) = self.pick(&down) {
            self.cluster.restart(node);
        }
    }

    fn cut(&mut self) {
        let all: Vec<u64> = (1..=self.nodes).collect();
        let (Some(one), Some(other)) = (self.pick(&all), self.pick(&all)) else {
            return;
        };
        self.note("cut");
        if self.prng.chance(40) {
            self.cluster.isolate(one);
        } else if one != other {
            self.cluster.net.cut(NodeId(one), NodeId(other));
        }
    }

    fn pause(&mut self, node: u64) {
        let process = self.cluster.nodes[&node].process.clone();
        process.pause();
        self.note("pause");
        self.cluster
            .sim
            .advance(Duration::from_millis(self.prng.below(4000)));
        process.resume();
    }

    fn slow_disk(&mut self, node: u64) {
        let slow = self.prng.chance(50);
        let to = Duration::from_millis(if slow { self.prng.below(800) } else { 0 });
        self.cluster.nodes[&node]
            .process
            .queue()
            .set_job_time(to / 10, to);
        self.note("slow disk");
    }

    fn transfer(&mut self, node: u64) {
        let to = 1 + self.prng.below(self.nodes);
        drop(self.cluster.group(node).transfer_leadership(ReplicaId(to)));
        self.note("transfer");
    }

    fn change(&mut self, node: u64) {
        let mut members: Vec<u64> = (1..=self.nodes).collect();
        for _ in 0..self.prng.below(3) {
            let place = self.prng.index(members.len());
            members.remove(place);
        }
        let mut learners = Vec::new();
        if members.len() > 1 && self.prng.chance(40) {
            learners = vec![member(members.pop().unwrap())];
        }
        let change = MembershipChange::Become {
            voters: voters(&members).voters,
            learners,
        };
        drop(self.cluster.group(node).change_membership(change));
        self.note("membership change");
    }

    fn purge(&mut self, node: u64) {
        let (reader, commit) = (self.cluster.reader(node), self.cluster.progress(node).commit);
        let Ok(term) = reader.term_at(commit) else { return };
        if commit <= reader.state().purged.index {
            return;
        }
        let Some(entry) = self.cluster.entries(node, commit.0, commit.0).pop() else {
            return;
        };
        let at = LogId { term, index: commit };
        let checkpoint = Checkpoint {
            at,
            next_offset: entry.end_offset(),
            data: Bytes::from_static(b"state"),
            consensus: Bytes::new(),
        };
        let offset_start = checkpoint.next_offset;
        let group = self.cluster.group(node);
        drop(group.maintain(Maintenance::Checkpoint(checkpoint)));
        let purge = Purge {
            through: at,
            offset_start,
        };
        drop(group.maintain(Maintenance::Purge(purge)));
        self.note("purge");
    }

    /// A barrier that completes is at or above everything that was acknowledged before it was asked for.
    fn barrier(&mut self, node: u64) {
        self.settle();
        let acknowledged = self.last_committed();
        let wait = self.cluster.group(node).read_barrier();
        match self.cluster.sim.block_on(wait) {
            Ok(Ok(index)) => {
                if index < acknowledged {
                    self.fail(&format!("barrier {index} below {acknowledged}"));
                }
                self.note("barrier");
            }
            Ok(Err(_)) => {}
            Err(error) => self.fail(&format!("a barrier never ends: {error}")),
        }
    }

    fn last_committed(&self) -> LogIndex {
        self.oracle
            .committed
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default()
    }

    /// Looks at the outcomes that are known.
    fn settle(&mut self) {
        let open = std::mem::take(&mut self.open);
        for open in open {
            match open.handle.peek() {
                None => self.open.push(open),
                Some(Outcome::Committed(at)) => {
                    self.oracle.acknowledged += 1;
                    self.check_acknowledged(at.id, open.mark);
                }
                Some(Outcome::NotCommitted(_)) => self.oracle.refused += 1,
                Some(Outcome::Unknown(_)) => self.oracle.unknown += 1,
            }
        }
    }

    fn check_acknowledged(&mut self, id: LogId, mark: u8) {
        let known = self
            .oracle
            .committed
            .entry(id.index)
            .or_insert_with(|| Known::new(id.term));
        known.marks.push(mark);
        if known.term != id.term || !known.holds() {
            self.fail(&format!("acknowledged {id} is not what is committed"));
        }
    }

    /// The invariants, on everything that runs.
    fn check(&mut self) {
        self.settle();
        for node in self.up() {
            let progress = self.cluster.progress(node);
            if progress.role == Role::Stopped {
                self.fail(&format!("node {node} stopped"));
            }
            if progress.role == Role::Leader {
                let leader = *self.oracle.leaders.entry(progress.term).or_insert(node);
                if leader != node {
                    self.fail(&format!("{leader} and {node} lead in term {}", progress.term));
                }
            }
            let before = self.seen.insert(node, (progress.term, progress.commit));
            if before.is_some_and(|(term, commit)| progress.term < term || progress.commit < commit) {
                self.fail(&format!("node {node} went back from {before:?} to {progress:?}"));
            }
            self.check_log(node, progress.commit);
        }
    }

    fn check_log(&mut self, node: u64, commit: LogIndex) {
        let state = self.cluster.reader(node).state();
        let from = state.index_start().max(LogIndex(commit.0.saturating_sub(60)));
        for entry in self
            .cluster
            .entries(node, from.0, commit.0.min(state.last.index.0))
        {
            let known = self.oracle.committed.entry(entry.id.index);
            let known = known.or_insert_with(|| Known::new(entry.id.term));
            let payload = known.payload.get_or_insert_with(|| entry.payload.clone());
            if *payload != entry.payload || known.term != entry.id.term || !known.holds() {
                self.fail(&format!(
                    "node {node} has another committed entry at {}",
                    entry.id
                ));
            }
        }
    }

    /// Everything is healed: the cluster must come to rest with one log that has all that was acknowledged.
    fn finish(&mut self) {
        self.cluster.net.heal_all();
        for node in self.cluster.disks.keys().copied().collect::<Vec<_>>() {
            if !self.cluster.nodes.contains_key(&node) {
                self.cluster.restart(node);
            }
            let queue = self.cluster.nodes[&node].process.queue();
            queue.set_job_time(Duration::ZERO, Duration::ZERO);
        }
        self.cluster.net.set_options(NetOptions::default());
        let everybody = MembershipChange::Become {
            voters: voters(&(1..=self.nodes).collect::<Vec<_>>()).voters,
            learners: Vec::new(),
        };
        for _ in 0..100 {
            let leader = self.cluster.elect();
            let change = self.cluster.group(leader).change_membership(everybody.clone());
            if self.cluster.wait("an answer", change).is_ok() {
                break;
            }
            self.cluster.sim.advance(Duration::from_millis(300));
            self.check();
        }
        self.cluster
            .until_within(Duration::from_secs(120), "agreement", Cluster::converged);
        self.cluster.agree();
        self.check();
        let leader = self.cluster.leader().unwrap();
        for (index, known) in &self.oracle.committed {
            match self.cluster.reader(leader).term_at(*index) {
                Ok(now) if now == known.term => {}
                Err(LogError::Compacted { .. }) => {}
                other => self.fail(&format!(
                    "{index} was committed in term {}, and is {other:?}",
                    known.term
                )),
            }
        }
        if self.cluster.total("dropped_malformed") > 0 {
            self.fail("messages were malformed");
        }
    }
}

fn run(seed: u64, steps: u64) -> Run {
    let mut run = Run::new(seed, if seed.is_multiple_of(3) { 5 } else { 3 });
    for _ in 0..steps {
        run.act();
        let wait = Duration::from_millis(run.prng.below(400));
        run.cluster.sim.advance(wait);
        run.check();
    }
    run.finish();
    run
}

#[test]
fn random_schedules_keep_every_promise() {
    let steps = 150;
    // One seed, or a range `FROM..TO` of them.
    let asked = std::env::var("CHRONIK_SEED").unwrap_or_else(|_| "1..16".into());
    let seeds = match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => {
            let seed: u64 = asked.parse().unwrap();
            seed..seed + 1
        }
    };
    let many = seeds.end - seeds.start > 10;
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds {
        println!("seed {seed}; set CHRONIK_SEED to repeat it alone");
        let run = run(seed, steps);
        for (fault, count) in &run.faults {
            *totals.entry(fault).or_default() += count;
        }
        *totals.entry("acknowledged").or_default() += run.oracle.acknowledged;
        *totals.entry("not committed").or_default() += run.oracle.refused;
        *totals.entry("unknown").or_default() += run.oracle.unknown;
        *totals.entry("terms with a leader").or_default() += run.oracle.leaders.len() as u64;
        *totals.entry("checkpoints installed").or_default() += run.cluster.total("checkpoints_installed");
    }
    println!("{totals:?}");
    for what in [
        "acknowledged",
        "not committed",
        "crash",
        "barrier",
        "membership change",
    ] {
        assert!(
            !many || totals.get(what).is_some_and(|count| *count > 0),
            "no {what}: {totals:?}"
        );
    }
}

#[test]
fn a_seed_leads_to_the_same_run_each_time() {
    let trace = |seed| run(seed, 60).cluster.net.trace();
    assert_eq!(trace(4711), trace(4711));
}
