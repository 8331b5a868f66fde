//! Copies of what crashes tore from the journal.

use crate::kit::{Machine, POLICY, entry, small};
use chronik_conformance::world::disk::{KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::fs::{FileSystem, OpenMode};
use chronik_core::log_store::LogStore;
use chronik_core::{GroupId, LogId};
use chronik_storage_mmap::StoreOptions;
use std::path::{Path, PathBuf};

const DIR: &str = "/store/torn";
const COPIES_MAX: usize = 8;
const BYTES_MAX: u64 = 64 << 20;

/// Files in which a torn end has place beside others.
fn options() -> StoreOptions {
    let mut options = small("/store");
    options.journal_file_bytes = 256 << 10;
    options
}

fn copies(machine: &Machine) -> Vec<(PathBuf, u64)> {
    let mut files = machine.disk.files();
    files.retain(|(path, _)| path.starts_with(DIR));
    files.sort();
    files
}

/// Where a journal file holds this text.
fn place_of(machine: &Machine, text: &str) -> Option<(PathBuf, u64)> {
    let mut files = machine.disk.files().into_iter().map(|(path, _)| path);
    files.find_map(|path| {
        let content = machine
            .disk
            .content(&path)
            .filter(|_| path.starts_with("/store/journal"))?;
        let mut windows = content.windows(text.len());
        let at = windows.position(|some| some == text.as_bytes())?;
        Some((path, at as u64))
    })
}

/// Opens the store, and what a crash finds after it that tears the end of the journal.
fn torn_again(machine: &Machine, round: u64) -> Machine {
    let store = machine.open(options()).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    let state = log.reader.state();
    let (next, offset) = (state.last.index.0 + 1, state.offset_end.0);
    let one = entry(LogId::new(1, next), offset, 1, 300);
    machine.done(&log.writer.append(&[one]).unwrap());
    machine.env.run_until_idle();
    let last = entry(LogId::new(1, next + 1), offset + 1, 1, 7000);
    log.writer.append(&[last]).unwrap();
    // Written, and not synced.
    let (path, at) = loop {
        match place_of(machine, &format!("{} {};", LogId::new(1, next + 1), offset + 1)) {
            Some(place) => break place,
            None => assert!(machine.env.step(), "round {round}: the entry is never written"),
        }
    };
    let disk = machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(round));
    assert!(disk.flip_bit(&path, at + 5000, 0));
    let env = SimEnv::new(Seed(round));
    Machine { disk, env }
}

#[test]
fn copies_of_torn_ends_are_bounded_by_every_start() {
    let mut machine = Machine::new(5);
    for round in 0..20 {
        let before = copies(&machine);
        machine = torn_again(&machine, round);
        let after = Machine {
            disk: machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(round)),
            env: SimEnv::new(Seed(round)),
        };
        after.open(options()).unwrap();
        let kept = copies(&after);
        assert!(kept.len() <= COPIES_MAX, "round {round}: {kept:?}");
        let news = kept.iter().filter(|copy| !before.contains(copy)).count();
        assert_eq!(
            news,
            1 + usize::from(round > 0),
            "round {round}: {kept:?} after {before:?}"
        );
    }
    assert_eq!(copies(&machine).len(), COPIES_MAX, "what was there is kept");
}

/// Leaves copies of earlier starts, of these lengths.
fn leave(machine: &Machine, lengths: &[u64]) {
    machine.disk.create_dir_all(Path::new(DIR)).unwrap();
    for (number, bytes) in lengths.iter().enumerate() {
        let path = Path::new(DIR).join(format!("{number:08}-64.torn"));
        let file = machine.disk.open(&path, OpenMode::CreateNew).unwrap();
        file.set_len(*bytes).unwrap();
        file.sync_data().unwrap();
    }
    machine.disk.sync_dir(Path::new(DIR)).unwrap();
}

#[test]
fn copies_that_are_too_long_together_go_with_the_next_start() {
    let machine = Machine::new(6);
    leave(&machine, &[5, 30 << 20, 30 << 20, 30 << 20, 7]);
    machine.open(options()).unwrap();
    let kept = copies(&machine);
    let bytes: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= BYTES_MAX, "{kept:?}");
    assert!(kept.iter().any(|(_, bytes)| *bytes == 7), "the newest: {kept:?}");
}

#[test]
fn a_start_that_is_short_of_space_leaves_the_newest_copy_alone() {
    let machine = Machine::new(7);
    let mut options = small("/store");
    options.free_bytes_min = 32 << 10;
    machine.open(options.clone()).unwrap();
    leave(&machine, &[3000; 30]);
    machine
        .disk
        .set_capacity(Some(machine.disk.used_bytes() + (48 << 10)));
    for cut in [Some(0), Some(1), Some(5), None] {
        let mut next = Machine {
            disk: machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(1)),
            env: SimEnv::new(Seed(1)),
        };
        next.disk.set_capacity(Some(next.disk.used_bytes() + (48 << 10)));
        if let Some(cut) = cut {
            next.disk.power_off_at(next.disk.stats().steps + cut);
            drop(next.open(options.clone()));
            next = Machine {
                disk: next.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(2)),
                env: SimEnv::new(Seed(2)),
            };
            next.disk.set_capacity(Some(next.disk.used_bytes() + (48 << 10)));
        }
        next.open(options.clone()).unwrap();
        let kept = copies(&next);
        assert_eq!(kept.len(), 1, "cut {cut:?}: {kept:?}");
        assert!(kept[0].0.ends_with("00000029-64.torn"), "cut {cut:?}: {kept:?}");
    }
}
