//! A group that stays damaged keeps the journal's files.

use crate::kit::{Machine, POLICY, entry, small};
use chronik_conformance::world::disk::{KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::{Checkpoint, GroupLog, HardState, LogStore, StoreHealth};
use chronik_core::{EntryKind, GroupId, LogError, LogId, Term};
use chronik_storage_mmap::MmapStore;
use std::path::Path;
use std::time::Duration;

const ENTRY_BYTES: usize = 300;
/// More than all journal files together could take.
const MANY: u64 = 2_000;

/// A machine on which group 2 is damaged, and has something that the journal alone holds.
fn with_damage(seed: u64) -> Machine {
    let machine = Machine::new(seed);
    let store = machine.open(small("/store")).unwrap();
    let mut damaged = store.open_group(GroupId(2), POLICY).unwrap();
    for index in 1..=41 {
        let one = entry(LogId::new(1, index), index as i64 - 1, 1, ENTRY_BYTES);
        machine.done(&damaged.writer.append(&[one]).unwrap());
    }
    let machine = after_kill(&machine, seed);
    let first = Path::new("/store/groups/2/00000000000000000001.seg");
    assert!(machine.disk.flip_bit(first, 20, 3), "{:?}", machine.disk.files());
    machine
}

fn after_kill(machine: &Machine, seed: u64) -> Machine {
    Machine {
        disk: machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(seed)),
        env: SimEnv::new(Seed(seed)),
    }
}

fn open(machine: &Machine) -> (MmapStore, GroupLog) {
    let store = machine.open(small("/store")).unwrap();
    let refused = store.open_group(GroupId(2), POLICY).err();
    assert!(matches!(refused, Some(LogError::Damaged(_))), "{refused:?}");
    let log = store.open_group(GroupId(1), POLICY).unwrap();
    (store, log)
}

/// Appends up to so many entries of records, some together, until the store refuses; every one that it takes is durable
/// sooner or later.
fn fill(machine: &Machine, log: &mut GroupLog, many: u64, at: &str) -> Option<LogError> {
    let mut waiting = Vec::new();
    let mut refused = None;
    for _ in 0..many {
        if let Err(error) = log.writer.reserve(EntryKind::Data, ENTRY_BYTES as u64) {
            refused = Some(error);
            break;
        }
        let state = log.reader.state();
        let id = LogId::new(1, state.last.index.0 + 1);
        let one = entry(id, state.offset_end.0, 1, ENTRY_BYTES);
        waiting.push(log.writer.append(&[one]).unwrap());
        if waiting.len() > 4 {
            for ticket in waiting.drain(..) {
                assert_eq!(
                    machine.env.wait(&ticket),
                    Ok(Ok(())),
                    "{at}: an entry that was taken"
                );
            }
        }
    }
    for ticket in waiting {
        assert_eq!(
            machine.env.wait(&ticket),
            Ok(Ok(())),
            "{at}: an entry that was taken"
        );
    }
    refused
}

#[test]
fn what_a_journal_cannot_take_beside_a_damaged_group_is_refused_and_never_waits() {
    for seed in 0..8 {
        let mut machine = with_damage(seed);
        for opening in 0..6 {
            let at = format!("seed {seed}, opening {opening}");
            let (store, mut log) = open(&machine);
            assert_eq!(
                fill(&machine, &mut log, MANY, &at),
                Some(LogError::Full),
                "{at}: records have no room for ever"
            );
            assert_eq!(store.health().get(), StoreHealth::Full, "{at}");
            let vote = HardState {
                term: Term(10 + opening),
                vote: None,
            };
            let ticket = log.writer.save_hard_state(vote).unwrap();
            assert_eq!(machine.env.wait(&ticket), Ok(Ok(())), "{at}: a hard state");
            let state = log.reader.state();
            let checkpoint = Checkpoint {
                at: state.last,
                next_offset: state.offset_end,
                data: vec![7; 6000].into(),
                consensus: vec![].into(),
            };
            match log.writer.save_checkpoint(checkpoint) {
                Ok(ticket) => assert_eq!(machine.env.wait(&ticket), Ok(Ok(())), "{at}: a checkpoint"),
                Err(error) => assert_eq!(error, LogError::Full, "{at}: a checkpoint"),
            }
            // The command that removes the damaged group, as it may be in another group's log.
            assert_eq!(log.writer.reserve(EntryKind::Command, 100), Ok(()), "{at}");
            let one = entry(LogId::new(1, state.last.index.0 + 1), state.offset_end.0, 0, 100);
            let ticket = log.writer.append(&[one]).unwrap();
            assert_eq!(machine.env.wait(&ticket), Ok(Ok(())), "{at}: a command");
            machine.env.advance(Duration::from_secs(5));
            assert_eq!(store.health().get(), StoreHealth::Full, "{at}: after a while");
            drop((store, log));
            machine = after_kill(&machine, seed * 100 + opening);
        }
    }
}

#[test]
fn records_are_taken_again_once_the_damaged_group_is_removed() {
    let machine = with_damage(1);
    let (store, mut log) = open(&machine);
    assert_eq!(fill(&machine, &mut log, MANY, "beside it"), Some(LogError::Full));
    machine.done(&store.remove_group(GroupId(2)).unwrap());
    machine.env.advance(Duration::from_secs(2));
    assert_eq!(store.health().get(), StoreHealth::Working);
    assert_eq!(fill(&machine, &mut log, MANY, "without it"), None);
}
