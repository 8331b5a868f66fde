//! A disk without space.

use crate::kit::{Machine, POLICY, entry, small};
use chronik_conformance::world::disk::{DropAll, KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::fs::FileSystem;
use chronik_core::log_store::{GroupLog, LogStore, Purge};
use chronik_core::{GroupId, LogError, LogId, LogIndex, Offset};
use chronik_storage_mmap::StoreOptions;
use std::path::Path;
use std::time::Duration;

const SPACE_BYTES: u64 = 384 << 10;
const ENTRY_BYTES: usize = 300;
/// What whoever appends leaves for small entries that matter more: some pages, as the ends of segments take whole ones.
const MARGIN_BYTES: u64 = 16 << 10;

/// Less is kept free than a journal file takes.
fn options() -> StoreOptions {
    let mut options = small("/store");
    options.free_bytes_min = 16 << 10;
    options.sync_bytes = 32 << 10;
    options
}

/// Appends until the store refuses, after `last`; returns the last index.
fn fill(machine: &Machine, log: &mut GroupLog, mut last: u64) -> u64 {
    loop {
        match log.writer.reserve(ENTRY_BYTES as u64 + MARGIN_BYTES) {
            Ok(()) => {}
            Err(LogError::Full) => return last,
            Err(error) => panic!("{error}"),
        }
        last += 1;
        let one = entry(LogId::new(1, last), last as i64 - 1, 1, ENTRY_BYTES);
        let ticket = log.writer.append(&[one]).unwrap();
        machine.done(&ticket);
    }
}

#[test]
fn a_store_on_a_full_disk_opens_however_often_it_is_killed() {
    for seed in 0..200 {
        let mut machine = Machine::new(seed);
        machine.disk.set_capacity(Some(SPACE_BYTES));
        let mut last = 0;
        for kill in 0..12 {
            let at = format!("seed {seed}, after {kill} kills");
            let mut options = options();
            // Even where a file is much longer than what is kept free.
            options.journal_file_bytes <<= seed % 3;
            let store = machine
                .open(options)
                .unwrap_or_else(|error| panic!("{at}: {error}"));
            let mut log = store.open_group(GroupId(1), POLICY).unwrap();
            assert_eq!(log.reader.state().durable, LogIndex(last), "{at}");
            // Some are killed right after they started.
            if (seed + kill) % 3 > 0 {
                if kill > 0 {
                    let small = log.writer.reserve(100);
                    assert_eq!(small, Ok(()), "{at}: a small entry has no room");
                }
                last = fill(&machine, &mut log, last);
                assert!(last > 100, "{at}: {last} entries fitted");
            }
            let disk = if (seed / 3 + kill) % 2 == 0 {
                machine.disk.snapshot(&mut DropAll, Unit::Sector, Seed(kill))
            } else {
                machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(kill))
            };
            disk.set_capacity(Some(SPACE_BYTES));
            machine = Machine {
                disk,
                env: SimEnv::new(Seed(seed * 100 + kill)),
            };
        }
    }
}

#[test]
fn files_kept_for_later_segments_are_given_up_on_a_full_disk() {
    let mut wide = options();
    wide.pool_bytes_max = SPACE_BYTES;
    let machine = Machine::new(1);
    machine.disk.set_capacity(Some(SPACE_BYTES));
    let store = machine.open(wide).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    let last = fill(&machine, &mut log, 0);
    let half = LogId::new(1, last / 2);
    let purge = Purge {
        through: half,
        offset_start: Offset(half.index.0 as i64),
    };
    let ticket = log.writer.purge(purge).unwrap();
    machine.done(&ticket);
    let end = fill_again(&machine, &mut log, last);
    assert!(
        end > last + last / 4,
        "{} entries fitted where {} were deleted",
        end - last,
        last / 2
    );
}

#[test]
fn files_kept_for_later_segments_are_given_up_by_a_store_that_opens_on_a_full_disk() {
    let mut wide = options();
    wide.pool_bytes_max = SPACE_BYTES;
    let machine = Machine::new(1);
    let store = machine.open(wide.clone()).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    for index in 1..=500 {
        let one = entry(LogId::new(1, index), index as i64 - 1, 1, ENTRY_BYTES);
        let ticket = log.writer.append(&[one]).unwrap();
        machine.done(&ticket);
    }
    let purge = Purge {
        through: LogId::new(1, 450),
        offset_start: Offset(450),
    };
    let ticket = log.writer.purge(purge).unwrap();
    machine.done(&ticket);
    machine.env.advance(Duration::from_secs(1));
    let kept = machine.disk.list(Path::new("/store/pool")).unwrap().len();
    assert!(kept > 20, "{kept} files are kept");
    drop((log, store));
    let disk = machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(2));
    disk.set_capacity(Some(disk.used_bytes()));
    let env = SimEnv::new(Seed(2));
    let machine = Machine { disk, env };
    let store = machine.open(wide).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    let end = fill_again(&machine, &mut log, 500);
    assert!(end > 600, "{} entries fitted", end - 500);
}

/// Fills what becomes free within some seconds.
fn fill_again(machine: &Machine, log: &mut GroupLog, mut last: u64) -> u64 {
    for _ in 0..10 {
        machine.env.advance(Duration::from_secs(1));
        // What no name holds is free on a real file system without this.
        machine.disk.sync_dir(Path::new("/store/groups/1")).unwrap();
        last = fill(machine, log, last);
    }
    last
}
