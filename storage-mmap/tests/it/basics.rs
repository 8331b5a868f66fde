//! Plain use, on the real file system and on the simulated one.

use crate::kit::{Machine, POLICY, TempDir, close, entry, open_real, small};
use chronik_core::log_store::{HardState, LogStore, Purge, Read};
use chronik_core::{GroupId, LogError, LogId, LogIndex, Offset, ReplicaId, Term};
use chronik_storage_mmap::{RealFs, StoreOptions, erase, verify};
use futures_lite::future::block_on;

#[test]
fn a_store_on_the_real_file_system_keeps_what_was_acknowledged() {
    let dir = TempDir::new("basics");
    let mut options = small("");
    options.dir = dir.path().to_owned();
    let hard_state = HardState {
        term: Term(3),
        vote: Some(ReplicaId(9)),
    };
    {
        let store = open_real(options.clone()).unwrap();
        let mut log = store.open_group(GroupId(5), POLICY).unwrap();
        for index in 1..=200 {
            let one = entry(LogId::new(1, index), index as i64 - 1, 1, 300);
            log.writer.append(&[one]).unwrap();
        }
        log.writer.save_hard_state(hard_state).unwrap().wait().unwrap();
        assert_eq!(log.reader.state().durable, LogIndex(200));
        store.close().unwrap();
        assert_eq!(
            log.reader.entries(LogIndex(1)..LogIndex(2), 1).err(),
            Some(LogError::Closed)
        );
    }
    let store = open_real(options).unwrap();
    let log = store.open_group(GroupId(5), POLICY).unwrap();
    let state = log.reader.state();
    assert_eq!((state.last, state.hard_state), (LogId::new(1, 200), hard_state));
    let read = log.reader.entries(LogIndex(1)..LogIndex(201), u64::MAX).unwrap();
    assert!(matches!(read, Read::Pending(_)), "old entries are not in memory");
    let entries = block_on(read.get()).unwrap();
    assert_eq!(entries.len(), 200);
    for (place, found) in entries.iter().enumerate() {
        assert_eq!(
            *found,
            entry(LogId::new(1, place as u64 + 1), place as i64, 1, 300)
        );
    }
}

#[test]
fn a_second_store_on_the_directory_is_refused_and_told_who_holds_it() {
    let dir = TempDir::new("lock");
    let first = open_real(StoreOptions::new(dir.path())).unwrap();
    let Err(LogError::Locked(holder)) = open_real(StoreOptions::new(dir.path())) else {
        panic!("the directory is not locked");
    };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    first.close().unwrap();
    open_real(StoreOptions::new(dir.path())).unwrap();
}

#[test]
fn a_group_has_one_writer() {
    let machine = Machine::new(1);
    let store = machine.open(small("/d")).unwrap();
    let log = store.open_group(GroupId(1), POLICY).unwrap();
    let second = store.open_group(GroupId(1), POLICY);
    assert_eq!(second.err(), Some(LogError::GroupBusy(GroupId(1))));
    assert_eq!(
        store.remove_group(GroupId(1)).err(),
        Some(LogError::GroupBusy(GroupId(1)))
    );
    drop(log);
    let ticket = store.remove_group(GroupId(1)).unwrap();
    machine.done(&ticket);
    assert!(store.groups().is_empty());
    assert_eq!(
        store.remove_group(GroupId(1)).err(),
        Some(LogError::NoGroup(GroupId(1)))
    );
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let machine = Machine::new(2);
    let store = machine.open(small("/d")).unwrap();
    let mut log = store.open_group(GroupId(1), POLICY).unwrap();
    log.writer.append(&[entry(LogId::new(2, 1), 0, 3, 10)]).unwrap();
    let before = log.reader.state();
    let wrong = [
        entry(LogId::new(2, 1), 3, 1, 10),
        entry(LogId::new(2, 3), 3, 1, 10),
        entry(LogId::new(1, 2), 3, 1, 10),
        entry(LogId::new(2, 2), 2, 1, 10),
        entry(LogId::new(2, 2), 3, 1, 9 << 10),
    ];
    for one in wrong {
        assert!(log.writer.append(&[one]).is_err());
        assert_eq!(log.reader.state(), before);
    }
    let beyond = Purge {
        through: LogId::new(9, 9),
        offset_start: Offset(0),
    };
    assert!(matches!(
        log.writer.purge(beyond),
        Err(LogError::OutOfOrder { .. })
    ));
    let old = HardState {
        term: Term(5),
        vote: None,
    };
    log.writer.save_hard_state(old).unwrap();
    let older = HardState {
        term: Term(4),
        vote: None,
    };
    assert!(matches!(
        log.writer.save_hard_state(older),
        Err(LogError::TermRegression { .. })
    ));
    close(&machine, &store);
    assert_eq!(log.writer.append(&[]).err(), Some(LogError::Closed));
}

#[test]
fn a_store_is_taken_out_of_its_directory_and_nothing_else_is() {
    let dir = TempDir::new("erase");
    let options = StoreOptions::new(dir.path());
    std::fs::write(dir.path().join("node.json"), b"mine").unwrap();
    let store = open_real(options.clone()).unwrap();
    let mut log = store.open_group(GroupId(5), POLICY).unwrap();
    let ticket = log.writer.append(&[entry(LogId::new(1, 1), 0, 1, 300)]).unwrap();
    ticket.wait().unwrap();
    assert!(
        matches!(erase(dir.path(), &RealFs), Err(LogError::Locked(_))),
        "in use"
    );
    drop(log);
    store.close().unwrap();
    for _ in 0..2 {
        erase(dir.path(), &RealFs).unwrap();
        let left = std::fs::read_dir(dir.path()).unwrap();
        let mut left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["LOCK", "node.json"]);
    }
    assert_eq!(open_real(options).unwrap().groups(), []);
}

#[test]
fn verify_leaves_no_lock_where_there_was_none_and_no_store_without_one() {
    let dir = TempDir::new("verify");
    let options = StoreOptions::new(dir.path());
    let names = || {
        let left = std::fs::read_dir(dir.path()).unwrap();
        let mut left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
        left.sort();
        left
    };
    open_real(options.clone()).unwrap().close().unwrap();
    let before = names();
    verify(&RealFs, dir.path()).unwrap();
    assert_eq!(names(), before);
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    let before = names();
    verify(&RealFs, dir.path()).unwrap();
    assert_eq!(names(), before);
    let store = open_real(options).unwrap();
    let held = verify(&RealFs, dir.path());
    assert!(matches!(held, Err(LogError::Locked(_))), "{held:?}");
    assert!(dir.path().join("LOCK").exists());
    store.close().unwrap();
}

#[test]
fn what_nobody_reads_goes_past_the_page_cache_and_what_is_read_does_not() {
    let machine = Machine::new(7);
    let store = machine.open(small("/data")).unwrap();
    let mut log = store.open_group(GroupId(5), POLICY).unwrap();
    let mut next = 1;
    // Writes what makes several segments; returns what the store asked the system to forget meanwhile.
    let mut write = |log: &mut chronik_core::log_store::GroupLog, read: bool| {
        let before = machine.disk.stats().cache_drops;
        for _ in 0..100 {
            let offset = next as i64 - 1;
            let one = entry(LogId::new(1, next), offset, 1, 300);
            machine.done(&log.writer.append(&[one]).unwrap());
            machine.env.run_until_idle();
            if read {
                let found = log.reader.read_offsets(Offset(offset)..Offset(offset + 1), 1);
                assert_eq!(machine.get(found.unwrap()).unwrap().len(), 1);
            }
            next += 1;
        }
        machine.disk.stats().cache_drops - before
    };
    assert!(write(&mut log, false) > 3, "nobody has read yet");
    write(&mut log, true);
    assert_eq!(write(&mut log, false), 0, "somebody read");
    let all = log.reader.entries(LogIndex(1)..LogIndex(301), u64::MAX).unwrap();
    assert_eq!(machine.get(all).unwrap().len(), 300);
}
