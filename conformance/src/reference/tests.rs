use super::*;
use crate::world::disk::{DropAll, KeepAll, Unit};
use crate::world::{Seed, SimDisk, SimEnv};
use bytes::Bytes;
use chronik_core::log_store::{HardState, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupId, LogError, LogId, LogIndex, LogStore, Offset, ReplicaId, Term};
use std::path::Path;

const DIR: &str = "/data";
const POLICY: SegmentPolicy = SegmentPolicy { segment_bytes: 100 };

fn entry(index: u64) -> Entry {
    Entry {
        id: LogId::new(1, index),
        kind: EntryKind::Data,
        base_offset: Offset(i64::try_from(index).unwrap() - 1),
        record_count: 1,
        max_timestamp_ms: 5,
        payload: Bytes::from(vec![7; 40]),
    }
}

fn open(disk: &SimDisk, sim: &SimEnv, options: MemOptions) -> Result<MemStore, LogError> {
    MemStore::open(disk, Path::new(DIR), sim.env(), options)
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let (disk, sim) = (SimDisk::new(Seed(1)), SimEnv::new(Seed(1)));
    let store = open(&disk, &sim, MemOptions::default()).unwrap();
    let mut group = store.open_group(GroupId(3), POLICY).unwrap();
    let vote = HardState {
        term: Term(4),
        vote: Some(ReplicaId(9)),
    };
    let first = group.writer.save_hard_state(vote).unwrap();
    let second = group.writer.append(&[entry(1), entry(2)]).unwrap();
    assert_eq!(group.reader.state().durable, LogIndex(0));
    assert_eq!(sim.wait(&second), Ok(Ok(())));
    assert_eq!(first.result(), Some(Ok(())));
    assert_eq!(group.reader.state().durable, LogIndex(2));
    let third = group.writer.append(&[entry(3)]).unwrap();
    let after = disk.crash(&mut DropAll, Unit::Sector);
    sim.queue().clear();
    drop((store, group));
    assert_eq!(third.result(), Some(Err(LogError::Closed)));
    let store = open(&after, &sim, MemOptions::default()).unwrap();
    assert_eq!(store.groups(), [GroupId(3)]);
    let state = store.open_group(GroupId(3), POLICY).unwrap().reader.state();
    assert_eq!((state.last.index, state.hard_state), (LogIndex(2), vote));
}

#[test]
fn a_failed_sync_poisons_and_a_full_disk_does_not() {
    use crate::world::disk::{Fault, Op};
    use chronik_core::fs::FsErrorKind;
    let (disk, sim) = (SimDisk::new(Seed(1)), SimEnv::new(Seed(1)));
    let store = open(&disk, &sim, MemOptions::default()).unwrap();
    let mut group = store.open_group(GroupId(3), POLICY).unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let large = Entry {
        payload: Bytes::from(vec![1; 100_000]),
        ..entry(1)
    };
    assert!(matches!(group.writer.append(&[large]), Err(LogError::Full)));
    let vote = group.writer.save_hard_state(HardState::default()).unwrap();
    assert_eq!(sim.wait(&vote), Ok(Ok(())));
    disk.set_capacity(None);
    disk.inject(Fault::nth(Op::Sync, 0, FsErrorKind::Io));
    let ticket = group.writer.append(&[entry(1)]).unwrap();
    assert!(matches!(sim.wait(&ticket), Ok(Err(LogError::Poisoned(_)))));
    assert!(matches!(
        group.writer.append(&[entry(2)]),
        Err(LogError::Poisoned(_))
    ));
}

#[test]
fn a_closed_store_proves_its_last_write() {
    let (disk, sim) = (SimDisk::new(Seed(1)), SimEnv::new(Seed(1)));
    let store = open(&disk, &sim, MemOptions::default()).unwrap();
    let mut group = store.open_group(GroupId(3), POLICY).unwrap();
    group.writer.append(&[entry(1)]).unwrap();
    assert!(matches!(
        open(&disk, &sim, MemOptions::default()),
        Err(LogError::Locked(_))
    ));
    assert_eq!(store.close(), Ok(()));
    assert!(matches!(group.writer.append(&[entry(2)]), Err(LogError::Closed)));
    let clean = disk.snapshot(&mut KeepAll, Unit::Page, Seed(1));
    assert!(open(&clean, &sim, MemOptions::default()).is_ok());
    let journal = MemStore::journal_path(Path::new(DIR));
    assert!(disk.flip_bit(&journal, 100, 0));
    assert!(matches!(
        open(&disk, &sim, MemOptions::default()),
        Err(LogError::Damaged(_))
    ));
    let damage = MemStore::verify(&disk, Path::new(DIR), None).unwrap();
    assert!(
        damage
            .iter()
            .any(|range| range.from_byte <= 100 && 100 < range.to_byte)
    );
}
