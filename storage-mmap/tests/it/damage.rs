//! Bits that flip: never served, never guessed, and named by `verify`.

use crate::kit::{Machine, POLICY, entry};
use crate::sample::{Dump, copy_of, open_and_dump, options, sample};
use chronik_conformance::world::disk::{KeepAll, Unit};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::log_store::LogStore;
use chronik_core::{Entry, GroupId, LogError, LogId, Offset};
use chronik_storage_mmap::verify;
use std::path::Path;

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
