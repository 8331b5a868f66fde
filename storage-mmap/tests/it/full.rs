//! A disk without space.

use crate::kit::{Machine, POLICY, entry, small};
use chronik_conformance::world::disk::{DropAll, Fault, KeepAll, Op, Unit};
use chronik_conformance::world::{Prng, Seed, SimEnv};
use chronik_core::fs::{FileSystem, FsErrorKind};
use chronik_core::log_store::{GroupLog, LogStore, Purge, SegmentPolicy, StoreHealth};
use chronik_core::{EntryKind, GroupId, LogError, LogId, LogIndex, Offset};
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
        match log
            .writer
            .reserve(EntryKind::Data, ENTRY_BYTES as u64 + MARGIN_BYTES)
        {
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
                    let small = log.writer.reserve(EntryKind::Command, 100);
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

/// What a machine finds on its disk after a power cut.
fn after_cut(machine: &Machine, keeps: bool, seed: u64) -> Machine {
    let disk = if keeps {
        machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(seed))
    } else {
        let mut prng = Seed(seed).prng();
        machine.disk.snapshot(&mut prng, Unit::Sector, Seed(seed))
    };
    disk.set_capacity(Some(SPACE_BYTES));
    let env = SimEnv::new(Seed(seed));
    Machine { disk, env }
}

/// Bytes of the journal files; those that were not begun are used again, or go.
fn journal_bytes(machine: &Machine, only_begun: bool) -> u64 {
    let counts = |path: &Path| {
        let content = machine.disk.content(path).unwrap_or_default();
        path.starts_with("/store/journal") && (!only_begun || content.starts_with(b"CHRNJNL1"))
    };
    let files = machine.disk.files();
    let journal = files.iter().filter(|(path, _)| counts(path));
    journal.map(|(_, bytes)| bytes).sum()
}

#[test]
fn openings_that_are_killed_before_they_end_take_no_more_space_each_time() {
    for seed in 0..6 {
        let machine = Machine::new(seed);
        machine.disk.set_capacity(Some(SPACE_BYTES));
        let store = machine.open(options()).unwrap();
        let mut log = store.open_group(GroupId(1), POLICY).unwrap();
        let last = fill(&machine, &mut log, 0);
        let mut machine = after_cut(&machine, true, seed);
        let before = journal_bytes(&machine, true);
        for kill in 0..30 {
            let at = format!("seed {seed}, after {kill} kills");
            let whole = after_cut(&machine, true, kill);
            let steps = whole.disk.stats().steps;
            whole
                .open(options())
                .unwrap_or_else(|error| panic!("{at}: {error}"));
            let steps = whole.disk.stats().steps - steps;
            let killed = |cut: u64| {
                let next = after_cut(&machine, true, kill);
                next.disk.power_off_at(next.disk.stats().steps + cut);
                drop(next.open(options()));
                after_cut(&next, (seed + kill) % 2 == 0, seed * 100 + kill)
            };
            // As soon as it has taken space, if ever.
            let takes = |next: &Machine| journal_bytes(next, true) > journal_bytes(&machine, true);
            let worst = (0..steps).map(&killed).find(takes);
            machine = worst.unwrap_or_else(|| killed(Seed(kill).prng().below(steps)));
        }
        let grown = journal_bytes(&machine, true).saturating_sub(before);
        assert!(
            grown <= 8 << 10,
            "seed {seed}: {grown} bytes more of journal files"
        );
        let store = machine.open(options()).unwrap();
        let mut log = store.open_group(GroupId(1), POLICY).unwrap();
        assert_eq!(log.reader.state().durable, LogIndex(last), "seed {seed}");
        assert_eq!(
            log.writer.reserve(EntryKind::Command, 100),
            Ok(()),
            "seed {seed}: a small entry has no room"
        );
    }
}

#[test]
fn a_group_that_stays_damaged_takes_no_more_space_at_each_opening() {
    let mut many = options();
    many.journal_files_max = 8;
    for seed in 0..12 {
        let machine = Machine::new(seed);
        machine.disk.set_capacity(Some(SPACE_BYTES));
        let store = machine.open(many.clone()).unwrap();
        let mut damaged = store.open_group(GroupId(2), POLICY).unwrap();
        for index in 1..=40 {
            let one = entry(LogId::new(1, index), index as i64 - 1, 1, ENTRY_BYTES);
            machine.done(&damaged.writer.append(&[one]).unwrap());
        }
        let mut log = store.open_group(GroupId(1), POLICY).unwrap();
        let mut last = fill(&machine, &mut log, 0);
        // What only the newest file of the journal has of it keeps that file.
        let one = entry(LogId::new(1, 41), 40, 1, 20);
        machine.done(&damaged.writer.append(&[one]).unwrap());
        let mut machine = after_cut(&machine, true, seed);
        let first = Path::new("/store/groups/2/00000000000000000001.seg");
        assert!(machine.disk.flip_bit(first, 20, 3), "{:?}", machine.disk.files());
        let before = journal_bytes(&machine, false);
        let is_wide = seed % 4 == 0;
        for opening in 0..30 {
            let at = format!("seed {seed}, opening {opening}");
            let opened = machine.open(many.clone());
            let store = opened.unwrap_or_else(|error| panic!("{at}: {error}"));
            let refused = store.open_group(GroupId(2), POLICY).err();
            assert!(matches!(refused, Some(LogError::Damaged(_))), "{at}: {refused:?}");
            let mut log = store.open_group(GroupId(1), POLICY).unwrap();
            assert_eq!(log.reader.state().durable, LogIndex(last), "{at}");
            assert_eq!(
                log.writer.reserve(EntryKind::Command, 100),
                Ok(()),
                "{at}: a small entry has no room"
            );
            if opening % 3 == 0 {
                last += 1;
                let one = entry(LogId::new(1, last), last as i64 - 1, 1, 20);
                let ticket = log.writer.append(&[one]).unwrap();
                assert_eq!(machine.env.wait(&ticket), Ok(Ok(())), "{at}");
            }
            drop(log);
            if (seed + opening) % 3 == 0 {
                assert_eq!(machine.env.run_blocking(|| store.close()), Ok(()), "{at}");
            }
            machine = after_cut(&machine, (seed + opening) % 2 == 0, opening);
            if is_wide {
                machine.disk.set_capacity(None);
            }
        }
        let grown = journal_bytes(&machine, false).saturating_sub(before);
        let most = if is_wide {
            4 * options().journal_file_bytes
        } else {
            8 << 10
        };
        assert!(grown <= most, "seed {seed}: {grown} bytes more of journal files");
    }
}

#[test]
fn a_disk_that_takes_small_entries_alone_counts_as_full_all_the_time() {
    let machine = Machine::new(1);
    machine.disk.set_capacity(Some(SPACE_BYTES));
    let store = machine.open(options()).unwrap();
    let health = || store.health().get();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    let mut last = fill(&machine, &mut log, 0);
    let wanted = ENTRY_BYTES as u64 + MARGIN_BYTES;
    for round in 0..6 {
        assert_eq!(
            log.writer.reserve(EntryKind::Command, 100),
            Ok(()),
            "round {round}"
        );
        assert_eq!(health(), StoreHealth::Full, "round {round}: a small entry fits");
        last += 1;
        let one = entry(LogId::new(1, last), last as i64 - 1, 1, 100);
        machine.done(&log.writer.append(&[one]).unwrap());
        assert_eq!(
            health(),
            StoreHealth::Full,
            "round {round}: a small entry was taken"
        );
        assert_eq!(
            log.writer.reserve(EntryKind::Data, wanted),
            Err(LogError::Full),
            "round {round}"
        );
    }
    machine.disk.set_capacity(Some(2 * SPACE_BYTES));
    assert_eq!(log.writer.reserve(EntryKind::Command, 100), Ok(()));
    machine.env.advance(Duration::from_secs(1));
    assert_eq!(log.writer.reserve(EntryKind::Data, wanted), Ok(()));
    assert_eq!(health(), StoreHealth::Working);
    // Large records do not fit: the others wait with them, and commands do not.
    let used_bytes = machine.disk.used_bytes();
    machine.disk.set_capacity(Some(used_bytes + (440 << 10)));
    let mut reserve = |kind, bytes| (log.writer.reserve(kind, bytes), health());
    let full = (Err(LogError::Full), StoreHealth::Full);
    assert_eq!(reserve(EntryKind::Data, 600 << 10), full);
    assert_eq!(reserve(EntryKind::Command, 100), (Ok(()), StoreHealth::Full));
    assert_eq!(reserve(EntryKind::Data, 100 << 10), full);
    machine.disk.set_capacity(Some(used_bytes + (2 << 20)));
    assert_eq!(
        reserve(EntryKind::Data, 100 << 10),
        (Ok(()), StoreHealth::Working)
    );
}

#[test]
fn a_disk_with_room_again_counts_as_such_though_nobody_writes() {
    let machine = Machine::new(1);
    machine.disk.set_capacity(Some(SPACE_BYTES));
    let store = machine.open(options()).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    fill(&machine, &mut log, 0);
    machine.env.advance(Duration::from_secs(60));
    assert_eq!(store.health().get(), StoreHealth::Full);
    machine.disk.set_capacity(Some(2 * SPACE_BYTES));
    machine.env.advance(Duration::from_secs(1));
    assert_eq!(store.health().get(), StoreHealth::Working);
    // Nothing looks at a disk with room.
    assert!(!machine.env.clock().fire_next(None));
    drop((log, store));
}

fn torn_copies(machine: &Machine) -> Vec<(std::path::PathBuf, u64)> {
    let mut files = machine.disk.files();
    files.retain(|(path, _)| path.starts_with("/store/torn"));
    files
}

#[test]
fn a_torn_end_is_kept_aside_once_and_only_where_the_start_has_what_it_needs_beside_it() {
    let machine = Machine::new(3);
    let store = machine.open(options()).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    for index in 1..=3 {
        let one = entry(LogId::new(1, index), index as i64 - 1, 1, ENTRY_BYTES);
        machine.done(&log.writer.append(&[one]).unwrap());
    }
    machine.disk.inject(Fault {
        op: Op::Sync,
        path: "journal".to_owned(),
        after: 0,
        times: 1,
        error: FsErrorKind::Io,
    });
    let ticket = log.writer.append(&[entry(LogId::new(1, 4), 3, 1, 7000)]).unwrap();
    assert!(matches!(
        machine.env.wait(&ticket),
        Ok(Err(LogError::Poisoned(_)))
    ));
    let torn = |space: u64, seed: u64| {
        let disk = machine.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(seed));
        let journal = Path::new("/store/journal/0000.jnl");
        let content = disk.content(journal).unwrap();
        // A bit of the last entry, which was never durable.
        let last = content.iter().rposition(|byte| *byte == b'.').unwrap();
        assert!(disk.flip_bit(journal, last as u64, 0));
        disk.set_capacity(Some(disk.used_bytes() + space));
        let env = SimEnv::new(Seed(seed));
        Machine { disk, env }
    };
    // A journal file and what must stay free, and a part of the torn end.
    let small = torn((32 << 10) + (16 << 10) + (4 << 10), 1);
    small.open(options()).unwrap();
    assert_eq!(torn_copies(&small), []);
    let whole = torn(1 << 20, 2);
    let steps = whole.disk.stats().steps;
    whole.open(options()).unwrap();
    let kept = torn_copies(&whole);
    assert!(
        matches!(kept.as_slice(), [(_, bytes)] if *bytes > 6000),
        "{kept:?}"
    );
    for cut in 0..whole.disk.stats().steps - steps {
        let cut_short = torn(1 << 20, 2);
        cut_short.disk.power_off_at(cut_short.disk.stats().steps + cut);
        drop(cut_short.open(options()));
        let disk = cut_short.disk.snapshot(&mut KeepAll, Unit::Sector, Seed(cut));
        let env = SimEnv::new(Seed(cut));
        let again = Machine { disk, env };
        again.open(options()).unwrap();
        assert_eq!(torn_copies(&again), kept, "cut before step {cut}");
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

#[test]
fn small_entries_fit_wherever_the_disk_was_when_large_ones_were_refused() {
    for seed in 0..1_000 {
        let machine = Machine::new(seed);
        let mut rng = Seed(seed).prng();
        let capacity = SPACE_BYTES + rng.below(96 << 10);
        machine.disk.set_capacity(Some(capacity));
        let mut options = options();
        options.journal_file_bytes <<= seed % 3;
        options.pool_bytes_max = (seed % 2) * (64 << 10);
        options.free_bytes_min = 32 << 10;
        let store = machine.open(options).unwrap();
        let policy = SegmentPolicy {
            segment_bytes: 32 << 10,
        };
        let mut log = store.open_group(GroupId(1), policy).unwrap();
        let mut last = 0;
        for _ in 0..4 {
            last = fill_in_flight(&machine, &mut log, last, &mut rng);
            machine.env.advance(Duration::from_millis(rng.below(1_500)));
        }
        for command in 0..20 {
            let at = format!("seed {seed}, {capacity} bytes, after {last} entries, command {command}");
            assert_eq!(log.writer.reserve(EntryKind::Command, 100), Ok(()), "{at}");
            last += 1;
            let one = entry(LogId::new(1, last), last as i64 - 1, 1, 100);
            let ticket = log
                .writer
                .append(&[one])
                .unwrap_or_else(|error| panic!("{at}: {error}"));
            machine.done(&ticket);
            machine.env.advance(Duration::from_millis(rng.below(300)));
        }
    }
}

/// As [`fill`], with entries of several lengths, some of which wait together.
fn fill_in_flight(machine: &Machine, log: &mut GroupLog, mut last: u64, rng: &mut Prng) -> u64 {
    let mut waiting = Vec::new();
    let most = rng.below(6) as usize;
    loop {
        let bytes = rng.between(50, 4 << 10);
        match log.writer.reserve(EntryKind::Data, bytes + MARGIN_BYTES) {
            Ok(()) => {}
            Err(LogError::Full) if waiting.is_empty() => return last,
            Err(LogError::Full) => {
                waiting.drain(..).for_each(|ticket| machine.done(&ticket));
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        last += 1;
        let one = entry(LogId::new(1, last), last as i64 - 1, 1, bytes as usize);
        waiting.push(log.writer.append(&[one]).unwrap());
        if waiting.len() > most {
            waiting.drain(..).for_each(|ticket| machine.done(&ticket));
        }
    }
}
