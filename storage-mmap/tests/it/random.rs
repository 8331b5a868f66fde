//! Random histories with power cuts, checked against the model.

use crate::kit::{Machine, POLICY, entry, small};
use crate::model::ModelLog;
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::{GroupLog, HardState, LogStore, Purge};
use chronik_core::{GroupId, LogId, LogIndex, Offset, Ticket};
use chronik_storage_mmap::StoreOptions;
use std::collections::VecDeque;

const GROUPS: u64 = 3;

/// A small generator, so that a failure names one number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A group under test: what it holds in memory, and what it may hold after a crash.
struct Subject {
    id: GroupId,
    log: GroupLog,
    now: ModelLog,
    /// States that calls led to, oldest first, from the newest acknowledged one on.
    possible: VecDeque<(ModelLog, Ticket)>,
    acked: ModelLog,
    /// The highest term of any entry there ever was: what follows a truncation has a newer one.
    highest_term: u64,
    truncated: bool,
}

impl Subject {
    fn note(&mut self, ticket: Ticket) {
        self.possible.push_back((self.now.clone(), ticket));
    }

    fn take_acks(&mut self) {
        while self
            .possible
            .front()
            .is_some_and(|(_, ticket)| ticket.result().is_some())
        {
            let (state, ticket) = self.possible.pop_front().unwrap();
            ticket.result().unwrap().unwrap();
            self.acked = state;
        }
    }

    fn act(&mut self, dice: &mut Dice) {
        match dice.roll(20) {
            0..=11 => self.append(dice),
            12 | 13 => self.truncate(dice),
            14 | 15 => self.purge(dice),
            16 => {
                let term = chronik_core::Term(self.now.hard_state.term.0.max(self.now.last().term.0) + 1);
                self.now.hard_state = HardState { term, vote: None };
                let ticket = self.log.writer.save_hard_state(self.now.hard_state).unwrap();
                self.note(ticket);
            }
            17 => self.log.writer.roll(POLICY, true).unwrap(),
            18 => self.log.writer.commit_hint(self.now.last().index),
            _ => {}
        }
    }

    fn append(&mut self, dice: &mut Dice) {
        let mut batch = Vec::new();
        let mut last = self.now.last();
        let mut offset = self.now.offset_end();
        let newer = self.truncated || dice.roll(6) == 0;
        self.highest_term += u64::from(newer);
        self.truncated = false;
        for _ in 0..=dice.roll(3) {
            let records = dice.roll(4) as u32;
            let id = LogId::new(self.highest_term, last.index.0 + 1);
            let bytes = [10, 200, 900, 3000][dice.roll(4) as usize];
            let one = entry(id, offset.0, records, bytes);
            offset = one.end_offset();
            last = id;
            batch.push(one);
        }
        let ticket = self.log.writer.append(&batch).unwrap();
        self.now.entries.extend(batch);
        self.note(ticket);
    }

    fn truncate(&mut self, dice: &mut Dice) {
        let length = self.now.last().index.0 - self.now.purged.index.0;
        let back = if dice.roll(3) == 0 {
            dice.roll(length + 1)
        } else {
            dice.roll(length.min(4) + 1)
        };
        // A truncation below the offset start does not happen: that data is committed.
        let from = LogIndex(self.now.last().index.0 + 1 - back);
        let offset = self
            .now
            .entries
            .iter()
            .find(|entry| entry.id.index == from)
            .map_or_else(|| self.now.offset_end(), |entry| entry.base_offset);
        if offset < self.now.offset_start
            || (self.now.offset_start.0 > 0 && from.0 <= self.now.before.index.0 + 1)
        {
            return;
        }
        let ticket = self.log.writer.truncate_from(from).unwrap();
        self.now.truncate(from);
        self.truncated = true;
        self.note(ticket);
    }

    fn purge(&mut self, dice: &mut Dice) {
        let length = self.now.last().index.0 - self.now.purged.index.0;
        if length < 2 {
            return;
        }
        let index = self.now.purged.index.0 + dice.roll(length - 1) + 1;
        let found = self
            .now
            .entries
            .iter()
            .find(|entry| entry.id.index.0 == index)
            .unwrap()
            .clone();
        let offset_start = Offset(found.end_offset().0.max(self.now.offset_start.0));
        let ticket = self
            .log
            .writer
            .purge(Purge {
                through: found.id,
                offset_start,
            })
            .unwrap();
        self.now.purged = found.id;
        self.now.offset_start = offset_start;
        self.note(ticket);
    }

    /// After a crash the group must be in one of the states that it went through since the newest acknowledged one,
    /// or between two of them where one call appended several entries.
    fn recovered(&mut self, machine: &Machine, context: &str) {
        let state = self.log.reader.state();
        let mut candidates = vec![self.acked.clone()];
        for (next, _) in &self.possible {
            let before = candidates.last().unwrap().clone();
            let grown = next.entries.len() > before.entries.len()
                && next.entries[..before.entries.len()] == before.entries[..];
            if grown {
                for length in before.entries.len() + 1..next.entries.len() {
                    let mut partial = next.clone();
                    partial.entries.truncate(length);
                    candidates.push(partial);
                }
            }
            candidates.push(next.clone());
        }
        let fits = |model: &ModelLog| {
            model.last() == state.last
                && model.purged == state.purged
                && model.offset_start == state.offset_start
                && model.hard_state == state.hard_state
        };
        let Some(found) = candidates.iter().rfind(|model| fits(model)) else {
            panic!(
                "{context}: group {} recovered to {state:?}, acked {:?} {:?}",
                self.id,
                self.acked.last(),
                self.acked.purged
            );
        };
        found.check(machine, &*self.log.reader, context);
        self.now = found.clone();
        self.acked = found.clone();
        self.truncated = true;
        self.possible.clear();
    }
}

fn open_subjects(store: &dyn LogStore) -> Vec<GroupLog> {
    (1..=GROUPS)
        .map(|id| store.open_group(GroupId(id), POLICY).unwrap())
        .collect()
}

/// When entries go into segments, and when those are synced: often, seldom, or because the journal is out of room.
#[derive(Clone, Copy)]
struct Limits {
    copy_bytes: u64,
    sync_bytes: u64,
    journal_files: usize,
}

const LIMITS: [Limits; 4] = [
    Limits {
        copy_bytes: 2 << 10,
        sync_bytes: 4 << 10,
        journal_files: 4,
    },
    Limits {
        copy_bytes: 512,
        sync_bytes: 4 << 10,
        journal_files: 4,
    },
    Limits {
        copy_bytes: 2 << 10,
        sync_bytes: 64 << 10,
        journal_files: 2,
    },
    Limits {
        copy_bytes: 1,
        sync_bytes: 64 << 10,
        journal_files: 3,
    },
];

/// Runs that showed defects: a file was mapped in place of one whose name it had been given, and written over under that
/// map; a journal that was full waited for ever for a segment whose cut waited for entries; and a sealed segment that was
/// cut and written anew was taken for damage after a power cut.
const KNOWN: [(u64, Limits); 3] = [(2639, LIMITS[1]), (63, LIMITS[2]), (1204, LIMITS[3])];

fn options(limits: Limits) -> StoreOptions {
    let mut options = small("/d");
    options.copy_bytes = limits.copy_bytes;
    options.sync_bytes = limits.sync_bytes;
    options.journal_files_max = limits.journal_files;
    options
}

fn run(seed: u64, limits: Limits) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut machine = Machine::new(seed);
    let mut store = machine.open(options(limits)).unwrap();
    let mut subjects: Vec<Subject> = open_subjects(&store)
        .into_iter()
        .zip(1..)
        .map(|(log, id)| Subject {
            id: GroupId(id),
            log,
            now: ModelLog::default(),
            possible: VecDeque::new(),
            acked: ModelLog::default(),
            highest_term: 1,
            truncated: false,
        })
        .collect();
    for round in 0..4 {
        for step in 0..60 + dice.roll(60) {
            let group = dice.roll(GROUPS) as usize;
            subjects[group].act(&mut dice);
            if dice.roll(8) == 0 {
                machine.env.advance(std::time::Duration::from_millis(10));
            }
            for _ in 0..dice.roll(6) {
                machine.env.step();
            }
            if dice.roll(12) == 0 {
                let context = format!("seed {seed} round {round} step {step}");
                let subject = &subjects[group];
                subject.now.check(&machine, &*subject.log.reader, &context);
            }
        }
        for subject in &mut subjects {
            subject.take_acks();
        }
        machine.env.queue().clear();
        let mut chooser = Seed(seed ^ round).prng();
        let unit = if dice.roll(2) == 0 {
            chronik_conformance::world::disk::Unit::Sector
        } else {
            chronik_conformance::world::disk::Unit::Page
        };
        assert_eq!(machine.disk.violations(), Vec::<String>::new(), "seed {seed}");
        let disk = machine.disk.crash(&mut chooser, unit);
        drop(store);
        machine = Machine {
            disk,
            env: SimEnv::new(Seed(seed + round + 1)),
        };
        let context = format!("seed {seed} after crash {round}");
        store = machine
            .open(options(limits))
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        for (subject, log) in subjects.iter_mut().zip(open_subjects(&store)) {
            subject.log = log;
            subject.recovered(&machine, &context);
        }
    }
}

#[test]
fn random_histories_survive_power_cuts() {
    let (first, count) = match std::env::var("CHRONIK_SEED") {
        Ok(seed) => (seed.parse().unwrap(), 1),
        Err(_) => (
            0,
            std::env::var("CHRONIK_SEEDS").map_or(60, |count| count.parse().unwrap()),
        ),
    };
    for seed in first..first + count {
        for limits in LIMITS {
            run(seed, limits);
        }
    }
}

#[test]
fn histories_that_showed_defects_survive_power_cuts() {
    for (seed, limits) in KNOWN {
        run(seed, limits);
    }
}
