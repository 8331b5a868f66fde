//! The state machine by the incidents that it is to prevent.

use super::*;
use crate::format::TermSpan;

const PARTITION: PartitionKey = PartitionKey {
    topic_id: 5,
    partition: 0,
};

/// A segment of the entries `first..=last`, ten records an entry.
fn segment(first: u64, last: u64, term: u64) -> Arc<SegmentMeta> {
    let offsets = Offset(first as i64 * 10 - 10)..Offset(last as i64 * 10);
    Arc::new(SegmentMeta {
        first: LogId::new(term, first),
        last: LogId::new(term, last),
        offsets: offsets.clone(),
        max_timestamp_ms: 1,
        object_bytes: 1000,
        footer_position: 800,
        crc: first as u32,
        salt: 0,
        terms: vec![TermSpan {
            term: Term(term),
            offsets,
        }],
    })
}

fn state(segments: &[Arc<SegmentMeta>]) -> TierState {
    let mut state = TierState::default();
    for segment in segments {
        assert_eq!(
            state.apply(&TierCommand::Add(Arc::clone(segment))),
            Applied::Changed
        );
    }
    state
}

fn cleanup(segment: &SegmentMeta) -> TierCommand {
    TierCommand::Cleanup {
        segments: vec![(segment.last, segment.crc, segment.salt)],
    }
}

#[test]
fn two_leaders_that_upload_the_same_segment_add_it_once() {
    let mut state = state(&[segment(1, 4, 1)]);
    let again = state.apply(&TierCommand::Add(segment(1, 4, 1)));
    assert_eq!(again, Applied::Ignored);
    assert_eq!(state.segments().len(), 1);
}

#[test]
fn overlaps_and_gaps_are_never_added() {
    let mut state = state(&[segment(1, 4, 1)]);
    for wrong in [segment(3, 8, 1), segment(6, 8, 1), segment(5, 8, 0)] {
        assert_eq!(state.apply(&TierCommand::Add(wrong)), Applied::Ignored);
    }
    assert_eq!(state.apply(&TierCommand::Add(segment(5, 8, 2))), Applied::Changed);
}

#[test]
fn uploads_go_on_after_everything_was_deleted() {
    let mut state = state(&[segment(1, 4, 1)]);
    state.remove_all();
    assert!(state.segments().is_empty());
    assert_eq!(state.end().offset, Offset(40), "the end does not move back");
    assert_eq!(state.apply(&TierCommand::Add(segment(1, 4, 1))), Applied::Ignored);
    let later = state.apply(&TierCommand::Add(segment(9, 12, 1)));
    assert_eq!(
        later,
        Applied::Changed,
        "what was deleted in between leaves no gap to a reader"
    );
}

#[test]
fn an_object_is_forgotten_only_after_a_manifest_without_it_was_published() {
    let first = segment(1, 4, 1);
    let mut state = state(&[Arc::clone(&first), segment(5, 8, 1)]);
    state.remove_below(Offset(40));
    assert_eq!(state.apply(&cleanup(&first)), Applied::Ignored);
    let version = state.version();
    let early = TierCommand::Published {
        version: version - 1,
        at_ms: 5,
    };
    state.apply(&early);
    assert_eq!(state.garbage()[0].unpublished_since_ms, None);
    state.apply(&TierCommand::Published { version, at_ms: 9 });
    assert_eq!(state.garbage()[0].unpublished_since_ms, Some(9));
    assert_eq!(state.apply(&cleanup(&first)), Applied::Changed);
    assert!(state.garbage().is_empty());
}

#[test]
fn a_name_is_never_live_and_about_to_be_deleted() {
    let first = segment(1, 4, 1);
    let mut state = state(&[Arc::clone(&first)]);
    assert!(state.references(&first.key(PARTITION)));
    state.remove_all();
    assert!(!state.references(&first.key(PARTITION)));
    assert!(state.is_garbage(&first.key(PARTITION)));
    // The same name could only come back below the end, which add refuses, and as a later segment not at all.
    let mut forged = SegmentMeta::clone(&segment(9, 12, 1));
    (forged.last, forged.offsets, forged.crc) = (first.last, first.offsets.clone(), first.crc);
    assert_eq!(state.apply(&TierCommand::Add(Arc::new(forged))), Applied::Ignored);
}

#[test]
fn local_data_is_dropped_only_behind_the_end_of_the_tier() {
    let mut state = state(&[segment(1, 4, 1)]);
    let dropped = state.apply(&TierCommand::DropLocal { below: Offset(900) });
    assert_eq!(dropped, Applied::DropLocal(Offset(40)));
    let again = state.apply(&TierCommand::DropLocal { below: Offset(10) });
    assert_eq!(again, Applied::Ignored);
}

#[test]
fn offsets_and_terms_are_found_by_the_manifest_alone() {
    let state = state(&[segment(1, 4, 1), segment(5, 8, 3), segment(9, 9, 3)]);
    assert_eq!(state.offsets(), Offset(0)..Offset(90));
    for (offset, found) in [
        (0, Some(0)),
        (39, Some(0)),
        (40, Some(1)),
        (89, Some(2)),
        (90, None),
    ] {
        assert_eq!(state.find(Offset(offset)), found);
    }
    let ends = |term| state.end_of_term(Term(term));
    assert_eq!(ends(0), None);
    assert_eq!(ends(1), Some((Term(1), Offset(40))));
    assert_eq!(ends(2), Some((Term(1), Offset(40))));
    assert_eq!(ends(9), Some((Term(3), Offset(90))));
}

#[test]
fn states_and_commands_come_back_and_no_bit_changes_unseen() {
    let mut state = state(&[segment(1, 4, 1), segment(5, 8, 3), segment(9, 9, 3)]);
    state.remove_below(Offset(50));
    state.apply(&TierCommand::Published { version: 4, at_ms: 7 });
    state.apply(&TierCommand::DropLocal { below: Offset(60) });
    let bytes = state.encode();
    assert_eq!(TierState::decode(&bytes).as_ref(), Ok(&state));
    let commands = [
        TierCommand::Add(segment(1, 4, 1)),
        TierCommand::Remove { below: Offset(3) },
        TierCommand::Published { version: 1, at_ms: 2 },
        cleanup(&segment(1, 4, 1)),
        TierCommand::DropLocal { below: Offset(3) },
    ];
    for command in &commands {
        assert_eq!(TierCommand::decode(&command.encode()).as_ref(), Ok(command));
    }
    let mut flipped = bytes.to_vec();
    for byte in 0..flipped.len() {
        flipped[byte] ^= 0x10;
        assert!(TierState::decode(&Bytes::copy_from_slice(&flipped)).is_err());
        assert!(TierCommand::decode(&Bytes::copy_from_slice(&flipped)).is_err());
        flipped[byte] ^= 0x10;
    }
}
