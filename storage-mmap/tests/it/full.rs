//! A disk without space.

use crate::kit::{Machine, POLICY, entry, small};
use chronik_conformance::world::disk::{DropAll, KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::{GroupLog, LogStore};
use chronik_core::{GroupId, LogError, LogId, LogIndex};
use chronik_storage_mmap::StoreOptions;

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
        if last > 440 {}
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
            let store = machine
                .open(options())
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
                assert!(last > 200, "{at}: {last} entries fitted");
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
