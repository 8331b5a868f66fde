use super::*;
use bytes::Bytes;
use chronik_core::log_store::{Checkpoint, Purge, SegmentPolicy, TimeQuery};
use chronik_core::{Entry, EntryKind, LogError, LogId, LogIndex, Offset, Term};

fn data(term: u64, index: u64, offset: i64, records: u32, time_ms: i64) -> Entry {
    Entry {
        id: LogId::new(term, index),
        kind: EntryKind::Data,
        base_offset: Offset(offset),
        record_count: records,
        max_timestamp_ms: time_ms,
        payload: Bytes::from(vec![u8::try_from(index).unwrap(); 10]),
    }
}

fn blank(term: u64, index: u64, offset: i64) -> Entry {
    Entry {
        kind: EntryKind::Blank,
        record_count: 0,
        payload: Bytes::new(),
        ..data(term, index, offset, 0, -1)
    }
}

/// Index: 1 blank, 2 data 0..3, 3 data 3..4, 4 blank (term 2), 5 data 4..6.
fn sample() -> GroupModel {
    let mut model = GroupModel::new(SegmentPolicy { segment_bytes: 20 });
    let entries = [
        blank(1, 1, 0),
        data(1, 2, 0, 3, 50),
        data(1, 3, 3, 1, 90),
        blank(2, 4, 4),
        data(2, 5, 4, 2, 70),
    ];
    assert_eq!(model.check_append(&entries, 10), Ok(()));
    entries.into_iter().for_each(|entry| model.append(entry));
    model
}

#[test]
fn reads_are_clipped_bounded_and_refused_below_the_start() {
    let mut model = sample();
    let range = |from, to| LogIndex(from)..LogIndex(to);
    assert_eq!(model.entries(&range(2, 99), 1000).unwrap().len(), 4);
    assert_eq!(model.entries(&range(2, 99), 0).unwrap().len(), 1);
    assert_eq!(model.entries(&range(7, 99), 0), Ok(vec![]));
    model.purge(&Purge {
        through: LogId::new(1, 3),
        offset_start: Offset(1),
    });
    assert_eq!(
        model.entries(&range(3, 9), 9),
        Err(LogError::Compacted { first: LogIndex(4) })
    );
    assert_eq!(model.term_at(LogIndex(3)), Ok(Term(1)));
    assert_eq!(model.term_at(LogIndex(6)), Err(LogError::Truncated));
    let below_the_index_start = model.read_offsets(&(Offset(1)..Offset(2)), 9).unwrap();
    assert_eq!(
        below_the_index_start.first().map(|entry| entry.id.index),
        Some(LogIndex(2))
    );
    assert!(model.read_offsets(&(Offset(0)..Offset(2)), 9).is_err());
}

#[test]
fn truncation_rewinds_the_offsets_and_keeps_what_lies_before() {
    let mut model = sample();
    model.all_durable();
    assert_eq!(model.check_truncate(LogIndex(6)), Ok(false));
    assert!(model.check_truncate(LogIndex(7)).is_err());
    model.truncate(LogIndex(3));
    let state = model.state();
    assert_eq!(
        (state.last, state.offset_end, state.durable),
        (LogId::new(1, 2), Offset(3), LogIndex(2))
    );
}

#[test]
fn time_and_term_queries_look_at_data_alone() {
    let model = sample();
    let found = |query, before| model.find_time(query, Offset(before)).map(|meta| meta.id.index.0);
    assert_eq!(found(TimeQuery::AtOrAfter(60), 99), Some(3));
    assert_eq!(found(TimeQuery::AtOrAfter(91), 99), None);
    assert_eq!(found(TimeQuery::Maximum, 99), Some(3));
    assert_eq!(found(TimeQuery::Maximum, 3), Some(2));
    assert_eq!(model.end_of_term(Term(1)), Some((Term(1), Offset(4))));
    assert_eq!(model.end_of_term(Term(9)), Some((Term(2), Offset(6))));
    assert_eq!(model.end_of_term(Term(0)), None);
}

#[test]
fn segments_end_once_they_are_full_or_when_told() {
    let mut model = sample();
    let lasts = |model: &GroupModel| {
        model
            .segments()
            .iter()
            .map(|s| (s.last.index.0, s.sealed))
            .collect::<Vec<_>>()
    };
    assert_eq!(lasts(&model), [(3, true), (5, false)]);
    model.roll(SegmentPolicy { segment_bytes: 5 }, true);
    model.roll(SegmentPolicy { segment_bytes: 5 }, true);
    assert_eq!(lasts(&model), [(3, true), (5, true)]);
}

#[test]
fn a_log_can_start_anew_after_a_checkpoint_beyond_its_end() {
    let mut model = sample();
    let beyond = Purge {
        through: LogId::new(3, 50),
        offset_start: Offset(40),
    };
    assert!(model.check_purge(&beyond).is_err());
    model.set_checkpoint(Checkpoint {
        at: beyond.through,
        next_offset: Offset(40),
        data: Bytes::new(),
        consensus: Bytes::new(),
    });
    assert_eq!(model.check_purge(&beyond), Ok(()));
    model.purge(&beyond);
    assert_eq!(
        (model.state().last, model.state().offset_end),
        (LogId::new(3, 50), Offset(40))
    );
    assert_eq!(model.check_append(&[data(3, 51, 40, 1, 1)], 10), Ok(()));
}
