//! What the log looks like to raft-rs after entries were removed.

use super::{GroupStorage, Initial, Storage};
use bytes::Bytes;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_core::consensus::Membership;
use chronik_core::log_store::{HardState, SegmentPolicy};
use chronik_core::{Entry, EntryKind, GroupId, GroupLog, LogId, LogIndex, LogStore, Offset, Term};
use raft::GetEntriesContext;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        id: LogId::new(term, index),
        kind: EntryKind::Blank,
        base_offset: Offset(0),
        record_count: 0,
        max_timestamp_ms: -1,
        payload: Bytes::new(),
    }
}

/// A log with entries of these terms, and how raft-rs sees it; reads are answered later.
fn log_of(terms: &[u64]) -> (SimEnv, MemStore, GroupLog, GroupStorage) {
    let sim = SimEnv::new(Seed(1));
    let options = MemOptions {
        pending_reads: true,
        ..MemOptions::default()
    };
    let store = MemStore::open(&SimDisk::new(Seed(1)), Path::new("/data"), sim.env(), options).unwrap();
    let policy = SegmentPolicy { segment_bytes: 8192 };
    let mut log = store.open_group(GroupId(1), policy).unwrap();
    let entries: Vec<Entry> = terms
        .iter()
        .zip(1..)
        .map(|(term, index)| entry(*term, index))
        .collect();
    log.writer.append(&entries).unwrap();
    let initial = Initial {
        hard_state: HardState::default(),
        commit: LogIndex(0),
        membership: Membership::default(),
        changes: BTreeSet::new(),
    };
    let storage = GroupStorage::new(Arc::clone(&log.reader), initial, 1 << 20).unwrap();
    (sim, store, log, storage)
}

fn replace_from(log: &mut GroupLog, storage: &mut GroupStorage, new: Entry) {
    log.writer.truncate_from(new.id.index).unwrap();
    storage.truncated(new.id.index);
    log.writer.append(std::slice::from_ref(&new)).unwrap();
    storage.appended(&[new]);
}

#[test]
fn the_terms_of_removed_entries_are_forgotten() {
    let (_sim, _store, mut log, mut storage) = log_of(&[1, 2, 3, 4]);
    replace_from(&mut log, &mut storage, entry(5, 2));
    let terms = [1, 2, 3].map(|index| storage.term_at(LogIndex(index)));
    assert_eq!(terms, [Some(Term(1)), Some(Term(5)), None]);
}

#[test]
fn what_was_read_before_a_truncation_is_not_sent_after_it() {
    let (sim, _store, mut log, mut storage) = log_of(&[1, 1, 1]);
    let ask = |storage: &mut GroupStorage, high| {
        let answer = storage.entries(1, high, None, GetEntriesContext::empty(true));
        answer.map(|found| found.iter().map(|entry| entry.term).collect::<Vec<_>>())
    };
    assert!(ask(&mut storage, 4).is_err(), "the entries have to be read first");
    let wanted = storage.next_wanted().expect("a read is wanted");
    let read = sim.block_on(wanted.read).unwrap();
    // The one that asked is deposed, follows another, and leads again.
    replace_from(&mut log, &mut storage, entry(2, 2));
    storage.fetched(wanted.low, wanted.generation, read);
    assert!(
        ask(&mut storage, 3).is_err(),
        "what was read is not the log any more"
    );
    let wanted = storage.next_wanted().expect("it is read again");
    let read = sim.block_on(wanted.read).unwrap();
    storage.fetched(wanted.low, wanted.generation, read);
    assert_eq!(ask(&mut storage, 3).unwrap(), [1, 2]);
}
