//! Bits that flip: never served, never guessed, and named by `verify`.

use crate::kit::{Machine, POLICY, close, entry, small};
use bytes::Bytes;
use chronik_conformance::world::disk::{KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::{Checkpoint, GroupLog, HardState, LogState, LogStore, Purge};
use chronik_core::{Entry, GroupId, LogError, LogId, LogIndex, Offset, ReplicaId, Term};
use chronik_storage_mmap::{StoreOptions, verify};
use std::path::Path;

/// Everything that can be read of a group.
#[derive(Clone, Debug, PartialEq)]
struct Dump {
    state: LogState,
    by_index: Vec<Entry>,
    by_offset: Vec<Entry>,
    checkpoint: Option<Checkpoint>,
}

fn options() -> StoreOptions {
    let mut options = small("/d");
    options.journal_file_bytes = 16 << 10;
    options.payload_bytes_max = 4 << 10;
    options
}

fn dump(machine: &Machine, store: &dyn LogStore) -> Result<Vec<Dump>, LogError> {
    let mut dumps = Vec::new();
    for id in store.groups() {
        let log = store.open_group(id, POLICY)?;
        let mut state = log.reader.state();
        // A hint is a lower bound, and may be lost with the end of the journal.
        state.commit_hint = LogIndex(0);
        let indices = state.index_start()..state.last.index.next();
        let offsets = state.offset_start..state.offset_end;
        dumps.push(Dump {
            state,
            by_index: machine.get(log.reader.entries(indices, u64::MAX)?)?,
            by_offset: machine.get(log.reader.read_offsets(offsets, u64::MAX)?)?,
            checkpoint: log.reader.checkpoint(LogIndex(u64::MAX))?,
        });
    }
    Ok(dumps)
}

fn append(log: &mut GroupLog, term: u64, count: usize, bytes: usize) {
    for number in 0..count {
        let state = log.reader.state();
        let id = LogId::new(term, state.last.index.0 + 1);
        let records = if number % 5 == 4 { 0 } else { 2 };
        drop(
            log.writer
                .append(&[entry(id, state.offset_end.0, records, bytes)])
                .unwrap(),
        );
    }
}

fn checkpoint(log: &GroupLog, text: &'static str) -> Checkpoint {
    let state = log.reader.state();
    Checkpoint {
        at: state.last,
        next_offset: state.offset_end,
        data: Bytes::from_static(text.as_bytes()),
        consensus: Bytes::from_static(b"members"),
    }
}

/// A closed store in which every type of file and of frame occurs.
fn sample() -> Machine {
    let machine = Machine::new(7);
    let store = machine.open(options()).unwrap();
    let mut logs: Vec<GroupLog> = (1..=3)
        .map(|id| store.open_group(GroupId(id), POLICY).unwrap())
        .collect();
    for round in 1..=3 {
        for (place, log) in logs.iter_mut().enumerate() {
            append(log, round, 6, 200 + 300 * place);
            drop(
                log.writer
                    .save_checkpoint(checkpoint(log, "state of the machine"))
                    .unwrap(),
            );
            machine.env.run_until_idle();
        }
    }
    let cut = logs[1].reader.state().last.index.0 - 3;
    drop(logs[1].writer.truncate_from(LogIndex(cut)).unwrap());
    append(&mut logs[1], 9, 4, 100);
    let through = logs[2].reader.segments()[1].clone();
    let purge = Purge {
        through: through.last,
        offset_start: through.offsets.end,
    };
    drop(logs[2].writer.purge(purge).unwrap());
    logs[0].writer.roll(POLICY, true).unwrap();
    append(&mut logs[0], 9, 2, 50);
    let voted = HardState {
        term: Term(9),
        vote: Some(ReplicaId(4)),
    };
    drop(logs[0].writer.save_hard_state(voted).unwrap());
    logs[0].writer.commit_hint(LogIndex(5));
    machine.env.run_until_idle();
    drop(logs);
    close(&machine, &store);
    machine
}

fn copy_of(machine: &Machine) -> Machine {
    Machine {
        disk: machine.disk.snapshot(&mut KeepAll, Unit::Page, Seed(1)),
        env: SimEnv::new(Seed(1)),
    }
}

fn open_and_dump(machine: &Machine) -> Result<Vec<Dump>, LogError> {
    let store = machine.open(options())?;
    dump(machine, &store)
}

#[test]
fn a_whole_store_has_no_damage() {
    let machine = sample();
    let report = verify(&machine.disk, Path::new("/d")).unwrap();
    assert_eq!((report.damages, report.torn), (Vec::new(), None));
    assert!(
        report.files > 10 && report.entries > 40,
        "{} {}",
        report.files,
        report.entries
    );
    // Recovery changes nothing that verify would miss, and neither does a second one.
    for _ in 0..2 {
        assert_eq!(open_and_dump(&machine), open_and_dump(&copy_of(&machine)));
        let report = verify(&machine.disk, Path::new("/d")).unwrap();
        assert_eq!(report.damages, Vec::new());
    }
}

/// How many bytes are left out between two that are flipped; `CHRONIK_STRIDE=1` flips one in every byte.
fn stride() -> u64 {
    std::env::var("CHRONIK_STRIDE").map_or(23, |stride| stride.parse().unwrap())
}

#[test]
fn a_flipped_bit_is_never_served_and_verify_names_it() {
    let original = sample();
    let expected = open_and_dump(&copy_of(&original)).unwrap();
    let mut noticed = 0;
    for (path, bytes) in original.disk.files() {
        let mut byte = u64::from(path.to_string_lossy().len() as u32) % stride();
        while byte < bytes {
            let bit = (byte % 8) as u8;
            noticed += u64::from(flip(&original, &expected, &path, byte, bit));
            byte += stride();
        }
    }
    assert!(noticed > 10, "only {noticed} flips were noticed");
}

/// Flips one bit in a copy; returns whether the store noticed.
fn flip(original: &Machine, expected: &[Dump], path: &Path, byte: u64, bit: u8) -> bool {
    let context = format!("{} byte {byte} bit {bit}", path.display());
    let machine = copy_of(original);
    assert!(machine.disk.flip_bit(path, byte, bit), "{context}");
    let report = verify(&machine.disk, Path::new("/d")).unwrap();
    match open_and_dump(&machine) {
        Ok(found) => {
            assert_eq!(found, expected, "{context}: wrong data is served");
            false
        }
        Err(LogError::Damaged(_)) => {
            let file = path.strip_prefix("/d").unwrap().to_string_lossy();
            let named = report
                .damages
                .iter()
                .any(|damage| damage.file == file && (damage.from_byte..damage.to_byte).contains(&byte));
            assert!(named, "{context}: {:?}", report.damages);
            true
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

#[test]
fn a_torn_end_is_cut_and_kept_aside() {
    let machine = Machine::new(3);
    let store = machine.open(options()).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    let ticket = log.writer.append(&[entry(LogId::new(1, 1), 0, 1, 700)]).unwrap();
    machine.done(&ticket);
    // The second group of entries reaches the disk in part: its first sectors, without the sync.
    let later: Vec<Entry> = (2..5)
        .map(|index| entry(LogId::new(1, index), index as i64 - 1, 1, 900))
        .collect();
    machine.disk.inject(chronik_conformance::world::disk::Fault {
        op: chronik_conformance::world::disk::Op::Sync,
        path: "journal".to_owned(),
        after: 0,
        times: 1,
        error: chronik_core::fs::FsErrorKind::Io,
    });
    let ticket = log.writer.append(&later).unwrap();
    assert!(matches!(
        machine.env.wait(&ticket),
        Ok(Err(LogError::Poisoned(_)))
    ));
    let again = Machine {
        disk: machine.disk.crash(&mut KeepAll, Unit::Sector),
        env: SimEnv::new(Seed(4)),
    };
    let store = again.open(options()).unwrap();
    let log = store.open_group(GroupId(1), POLICY).unwrap();
    let last = log.reader.state().last.index.0;
    assert!((1..=4).contains(&last), "{last}");
    assert_eq!(log.reader.state().offset_end, Offset(last as i64));
}
