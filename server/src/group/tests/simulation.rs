//! Random members that join, sync, commit, leave, die and come back, while appends are slow, fail, or the coordinator
//! crashes. Set `GROUP_SIM_SEED` to run one seed again, `GROUP_SIM_RUNS` for another number of seeds.

use super::harness::{Commit, GROUP, Harness, Spec, TOPIC, limits};
use crate::group::GroupLimits;
use crate::group::pending::ReplyId;
use crate::group::subscription::metadata_of;
use crate::kafka::wire::{ErrorCode, KafkaString};
use chronik_conformance::world::{Prng, Seed};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

const RUNS: u64 = 60;
const STEPS: u64 = 400;
const CLIENTS: usize = 6;
const PARTITIONS: i32 = 8;
const GROUPS: [&str; 2] = [GROUP, "h"];
/// No request waits longer than this: a rebalance timeout with its extension, and the sync behind it.
const PATIENCE: Duration = Duration::from_millis(130_000);
const ASSIGNED: [&str; 9] = ["", "0", "1", "2", "3", "4", "5", "6", "7"];

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waiting {
    Nothing,
    Join(ReplyId),
    Sync(ReplyId),
}

/// A client as Kafka's own: it joins, syncs, sends heartbeats, and starts over when it is told to.
struct Client {
    spec: Spec,
    alive: bool,
    member: KafkaString,
    generation: i32,
    leader_of: Option<Vec<KafkaString>>,
    stable: bool,
    waiting: Waiting,
    since: Duration,
}

struct Simulation {
    h: Harness,
    rng: Prng,
    clients: Vec<Client>,
    /// Requests of clients that died, which have to be answered all the same.
    orphans: Vec<(ReplyId, Duration)>,
    commits: Vec<(ReplyId, &'static str, i32, i64)>,
    /// The last acknowledged offset, and those whose outcome is unknown.
    acknowledged: HashMap<(&'static str, i32), i64>,
    uncertain: HashMap<(&'static str, i32), Vec<i64>>,
    /// Who was given which assignment in a generation, as successful syncs showed it.
    assigned: BTreeMap<(&'static str, i32), BTreeMap<String, KafkaString>>,
    /// The protocol and leader of a generation, as successful joins showed it since the last crash.
    generations: BTreeMap<(&'static str, i32), (Option<KafkaString>, KafkaString)>,
    next_offset: i64,
    crashed: bool,
    failed: bool,
    seen: Seen,
}

/// What happened in a run, so that a simulation in which nothing happens is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    crashes: u64,
    failures: u64,
    commits: u64,
    shared_generations: u64,
    refused_for_size: u64,
    snapshots: u64,
}

impl Simulation {
    fn new(seed: Seed) -> Self {
        let mut rng = seed.prng();
        let h = Harness::with(GroupLimits {
            max_group_size: 5,
            compact_min_bytes: 6 << 10,
            compact_ratio: 3,
            retention_check_interval: Duration::from_secs(100),
            ..limits()
        });
        let clients = (0..CLIENTS).map(|at| client(at, &mut rng)).collect();
        Self {
            h,
            rng,
            clients,
            orphans: Vec::new(),
            commits: Vec::new(),
            acknowledged: HashMap::new(),
            uncertain: HashMap::new(),
            assigned: BTreeMap::new(),
            generations: BTreeMap::new(),
            next_offset: 0,
            crashed: false,
            failed: false,
            seen: Seen::default(),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
            self.check();
        }
        // Everything heals: whoever waits is answered, and the group becomes stable.
        self.h.auto_commit = true;
        self.h.commit_all();
        for _ in 0..200 {
            self.pass(1_000);
            for at in 0..self.clients.len() {
                if self.clients[at].alive {
                    self.act(at);
                }
            }
            self.check();
        }
        for client in self.clients.iter().filter(|client| client.alive) {
            let state = self
                .h
                .machine
                .describe_group(0, &client.spec.group.into())
                .group_state;
            assert_eq!(state, "Stable", "a group of live clients settles");
        }
        self.replay_equals_live();
        self.seen.shared_generations =
            self.assigned.values().filter(|owners| owners.len() > 1).count() as u64;
        self.seen.snapshots = u64::from(self.h.log.batches.front().is_some_and(|(base, _)| *base > 0));
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=54 => {
                let at = self.rng.index(CLIENTS);
                self.act(at);
            }
            55..=74 => {
                let ms = self.rng.between(1, 4_000);
                self.pass(ms);
            }
            75..=84 => {
                if !self.h.in_flight.is_empty() {
                    self.h.commit_one();
                    self.h.settle();
                }
            }
            85..=86 => {
                if !self.h.in_flight.is_empty() {
                    self.failed = true;
                    self.seen.failures += 1;
                    self.h.fail_one(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                }
            }
            87..=89 => {
                let at = self.rng.index(CLIENTS);
                self.die(at);
            }
            90..=93 => {
                let at = self.rng.index(CLIENTS);
                self.revive(at);
            }
            94..=95 => {
                let at = self.rng.index(CLIENTS);
                self.leave(at);
            }
            96 => self.crash(),
            _ => {
                self.h.auto_commit = !self.h.auto_commit;
                self.h.settle();
            }
        }
        self.observe_all();
    }

    fn pass(&mut self, ms: u64) {
        self.h.advance(ms);
        self.observe_all();
    }

    /// The client does what comes next for it.
    fn act(&mut self, at: usize) {
        let client = &self.clients[at];
        if !client.alive || client.waiting != Waiting::Nothing {
            return;
        }
        let spec = client.spec.clone();
        let (member, generation) = (client.member.clone(), client.generation);
        if generation < 0 {
            let id = self.h.send_join(&spec, &member);
            self.wait(at, Waiting::Join(id));
        } else if !client.stable {
            let assignments = self.assignment(at);
            let assignments: Vec<_> = assignments
                .iter()
                .map(|(id, part)| (id.as_str(), *part))
                .collect();
            let id = self.h.send_sync(&spec, generation, &member, &assignments);
            self.wait(at, Waiting::Sync(id));
        } else if self.rng.chance(40) {
            self.commit(at);
        } else {
            match self.h.heartbeat(&spec, generation, &member) {
                ErrorCode::NONE => {}
                ErrorCode::REBALANCE_IN_PROGRESS => self.clients[at].rejoin(),
                _ => self.clients[at].forget(),
            }
        }
        self.observe(at);
    }

    /// Gives every member of the generation another partition, if this client leads it.
    fn assignment(&mut self, at: usize) -> Vec<(KafkaString, &'static str)> {
        let members = self.clients[at].leader_of.clone().unwrap_or_default();
        let first = self.rng.index(ASSIGNED.len() - members.len());
        members
            .into_iter()
            .zip(ASSIGNED[first..].iter().copied())
            .collect()
    }

    fn commit(&mut self, at: usize) {
        let client = &self.clients[at];
        let partition = self.rng.below(PARTITIONS as u64) as i32;
        self.next_offset += 1;
        let commit = Commit {
            group: client.spec.group,
            member: client.member.clone(),
            instance: client.spec.instance.map(KafkaString::from),
            generation: client.generation,
            partition,
            offset: self.next_offset,
            ..Default::default()
        };
        let key = (commit.group, partition);
        let id = self.h.send_commit(&commit);
        self.uncertain.entry(key).or_default().push(commit.offset);
        self.commits.push((id, key.0, key.1, commit.offset));
    }

    fn wait(&mut self, at: usize, waiting: Waiting) {
        self.clients[at].waiting = waiting;
        self.clients[at].since = self.h.mono;
    }

    fn observe_all(&mut self) {
        for at in 0..self.clients.len() {
            self.observe(at);
        }
        let commits = std::mem::take(&mut self.commits);
        for (id, group, partition, offset) in commits {
            match self.h.answer(id) {
                None => self.commits.push((id, group, partition, offset)),
                Some(_) if self.h.committed(id) == ErrorCode::NONE => {
                    let last = self.acknowledged.entry((group, partition)).or_insert(offset);
                    *last = (*last).max(offset);
                    self.seen.commits += 1;
                }
                // It was refused, and must not appear.
                Some(_) => {
                    let uncertain = self.uncertain.entry((group, partition)).or_default();
                    uncertain.retain(|other| *other != offset);
                }
            }
        }
    }

    /// The client looks whether it was answered.
    fn observe(&mut self, at: usize) {
        match self.clients[at].waiting {
            Waiting::Join(id) if !self.h.is_parked(id) => self.joined(at, id),
            Waiting::Sync(id) if !self.h.is_parked(id) => self.synced(at, id),
            _ => {}
        }
    }

    fn joined(&mut self, at: usize, id: ReplyId) {
        let response = self.h.joined(id);
        let client = &mut self.clients[at];
        client.waiting = Waiting::Nothing;
        match response.error_code {
            ErrorCode::NONE => {
                client.member.clone_from(&response.member_id);
                client.generation = response.generation_id;
                client.stable = false;
                let leads = response.leader == response.member_id && !response.skip_assignment;
                let members = response.members.iter().map(|member| member.member_id.clone());
                client.leader_of = leads.then(|| members.collect());
                let key = (client.spec.group, response.generation_id);
                let seen = self.generations.entry(key);
                let (protocol, _) = seen.or_insert_with(|| (response.protocol_name.clone(), response.leader));
                assert_eq!(*protocol, response.protocol_name, "one protocol in {key:?}");
            }
            ErrorCode::MEMBER_ID_REQUIRED => client.member = response.member_id,
            ErrorCode::GROUP_MAX_SIZE_REACHED => {
                self.seen.refused_for_size += 1;
                client.forget();
            }
            ErrorCode::REBALANCE_IN_PROGRESS => client.rejoin(),
            // Only a crash can do that: it may lose that the live process took the place of a former one.
            ErrorCode::FENCED_INSTANCE_ID => {
                assert!(self.crashed, "a live static member was fenced by nobody");
                client.forget();
            }
            _ => client.forget(),
        }
    }

    fn synced(&mut self, at: usize, id: ReplyId) {
        let response = self.h.synced(id);
        let client = &mut self.clients[at];
        client.waiting = Waiting::Nothing;
        match response.error_code {
            ErrorCode::NONE => {
                client.stable = true;
                let part = String::from_utf8(response.assignment.to_vec()).unwrap();
                let name = client
                    .spec
                    .instance
                    .map_or_else(|| client.member.clone(), KafkaString::from);
                let key = (client.spec.group, client.generation);
                if !part.is_empty() {
                    let owner = self
                        .assigned
                        .entry(key)
                        .or_default()
                        .entry(part.clone())
                        .or_insert_with(|| name.clone());
                    assert_eq!(*owner, name, "partition {part} has two owners in {key:?}");
                }
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => client.forget(),
            _ => client.rejoin(),
        }
    }

    fn die(&mut self, at: usize) {
        let now = self.h.mono;
        let client = &mut self.clients[at];
        client.alive = false;
        if let Waiting::Join(id) | Waiting::Sync(id) = client.waiting {
            self.orphans.push((id, now));
        }
        client.waiting = Waiting::Nothing;
    }

    fn revive(&mut self, at: usize) {
        if !self.clients[at].alive {
            self.clients[at].forget();
            self.clients[at].alive = true;
        }
    }

    fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.alive && client.spec.group == GROUP && !client.member.is_empty() {
            let (member, instance) = (client.member.clone(), client.spec.instance);
            let id = self.h.send_leave(&[(&member, instance)]);
            self.orphans.push((id, self.h.mono));
            self.die(at);
        }
    }

    /// The coordinator dies; what was in flight is in the log or not.
    fn crash(&mut self) {
        let survivors = self.rng.index(self.h.in_flight.len() + 1);
        for _ in 0..survivors {
            if let Some((_, Ok(batch))) = self.h.in_flight.pop_front() {
                self.h.log.push(&batch);
            }
        }
        self.crashed = true;
        self.seen.crashes += 1;
        self.h.restart();
        self.orphans.clear();
        self.commits.clear();
        // A generation that was not in the log is made again; nobody had an assignment in it.
        self.generations.clear();
        for client in &mut self.clients {
            if client.waiting != Waiting::Nothing {
                client.waiting = Waiting::Nothing;
                client.rejoin();
            }
        }
    }

    fn check(&mut self) {
        for id in GROUPS {
            if self.h.machine.describe_group(0, &id.into()).group_state == "Dead" {
                // It is forgotten, and its generations start anew.
                self.assigned.retain(|(group, _), _| *group != id);
                self.generations.retain(|(group, _), _| *group != id);
            }
        }
        let now = self.h.mono;
        for client in &self.clients {
            let waits = client.waiting != Waiting::Nothing && self.h.in_flight.is_empty();
            assert!(
                !waits || now - client.since < PATIENCE,
                "a client waits for ever: {:?}",
                client.waiting
            );
        }
        let h = &self.h;
        self.orphans.retain(|(id, _)| h.is_parked(*id));
        for (id, since) in &self.orphans {
            let waits = self.h.in_flight.is_empty();
            assert!(!waits || now - *since < PATIENCE, "request {id} waits for ever");
        }
        for (&(group, partition), &last) in &self.acknowledged {
            let now = self.h.offset(group, TOPIC, partition);
            let uncertain = self.uncertain.get(&(group, partition));
            let newer = uncertain.is_some_and(|offsets| offsets.contains(&now));
            assert!(
                now == last || now > last && newer,
                "{group}-{partition} has {now}, acknowledged was {last}"
            );
        }
    }

    fn replay_equals_live(&self) {
        let replayed = self.h.log.load();
        assert_eq!(&replayed.state, self.h.machine.durable());
        assert_eq!(replayed.end, self.h.machine.applied_end());
        for group in self.h.machine.groups() {
            // A stable or empty group is what the log says, so that a restart goes on with it.
            let durable = replayed
                .state
                .group(&group.id)
                .and_then(|group| group.metadata.clone());
            let settled = group.state.name() == "Stable" || group.state.name() == "Empty" && !self.failed;
            if let Some(durable) = durable.filter(|_| settled) {
                let mut live = group.to_record(&group.assignments());
                live.current_state_timestamp = durable.current_state_timestamp;
                assert_eq!(live, *durable);
            }
        }
    }
}

impl Client {
    /// Joins again as the member that it is.
    fn rejoin(&mut self) {
        self.generation = -1;
        self.stable = false;
        self.leader_of = None;
    }

    /// Joins again as somebody new.
    fn forget(&mut self) {
        self.rejoin();
        self.member = KafkaString::default();
    }
}

fn client(at: usize, rng: &mut Prng) -> Client {
    const INSTANCES: [&str; CLIENTS] = ["i0", "i1", "i2", "i3", "i4", "i5"];
    let instance = rng.chance(40).then_some(INSTANCES[at]);
    let old = rng.chance(20);
    Client {
        spec: Spec {
            version: if old { 3 } else { 9 },
            group: GROUPS[usize::from(rng.chance(30))],
            instance,
            protocols: vec![
                ("range", metadata_of(&[TOPIC])),
                ("roundrobin", metadata_of(&[TOPIC])),
            ],
            session_ms: rng.between(6_000, 20_000) as i32,
            rebalance_ms: rng.between(5_000, 30_000) as i32,
            ..Spec::default()
        },
        alive: true,
        member: KafkaString::default(),
        generation: -1,
        leader_of: None,
        stable: false,
        waiting: Waiting::Nothing,
        since: Duration::ZERO,
    }
}

#[test]
fn members_agree_and_nobody_waits_for_ever_whatever_happens() {
    let env = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match env("GROUP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("GROUP_SIM_RUNS").unwrap_or(RUNS),
    };
    let (many, mut all) = (seeds.end - seeds.start >= RUNS, Seen::default());
    for seed in seeds {
        println!("GROUP_SIM_SEED={seed}");
        let mut simulation = Simulation::new(Seed(seed));
        simulation.run();
        let seen = simulation.seen;
        all.crashes += seen.crashes;
        all.failures += seen.failures;
        all.commits += seen.commits;
        all.shared_generations += seen.shared_generations;
        all.refused_for_size += seen.refused_for_size;
        all.snapshots += seen.snapshots;
    }
    println!("{all:?}");
    let each = [
        all.crashes,
        all.failures,
        all.commits,
        all.shared_generations,
        all.refused_for_size,
        all.snapshots,
    ];
    assert!(
        !many || each.iter().all(|count| *count >= RUNS / 4),
        "too little happened: {all:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let mut simulation = Simulation::new(Seed(seed));
        simulation.run();
        format!(
            "{:?} {:?}",
            simulation.h.log.batches,
            simulation.h.machine.durable()
        )
    };
    assert_eq!(trace(4711), trace(4711));
}
