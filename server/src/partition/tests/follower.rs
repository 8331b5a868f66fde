//! A replica that follows: what it serves, and how it is brought up by a checkpoint.

use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{EntryKind, LogId, LogIndex, Offset, Term};

use super::engine::{commit_next, leading};
use super::*;

/// A query of a consumer that lets a follower answer.
fn nearby(offset: i64) -> FetchQuery {
    FetchQuery {
        follower_read: true,
        ..from(offset)
    }
}

#[test]
fn a_follower_serves_committed_records_to_those_who_let_it_and_nothing_beyond() {
    let (rig, group) = leading();
    let sent = rig.send(0).expect("accepted");
    commit_next(&group);
    assert_eq!(rig.ends(sent), Ok(0));
    group.follow();
    group.append(EntryKind::Data, idempotent(1, 0, 1, 1), 1);
    rig.sim.run_until_idle();
    assert!(matches!(
        rig.fetch(from(0)),
        Err(PartitionError::NotLeader { leader: Some(_) })
    ));
    let fetched = rig.fetch(nearby(0)).expect("a follower may answer");
    assert_eq!(base_offsets(&fetched), [0]);
    assert_eq!(fetched.high_watermark, 1);
    let waiting = rig.fetch(nearby(1)).expect("appended, not committed");
    assert!(waiting.records.is_empty());
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(base_offsets(&rig.fetch(nearby(1)).expect("in range")), [1]);
}

#[test]
fn an_offset_beyond_a_followers_log_is_not_available_and_beyond_the_leaders_out_of_range() {
    let (rig, group) = leading();
    assert_eq!(rig.fetch(nearby(1)), Err(PartitionError::OffsetOutOfRange));
    group.follow();
    rig.sim.run_until_idle();
    assert_eq!(rig.fetch(nearby(1)), Err(PartitionError::OffsetNotAvailable));
    assert_eq!(rig.fetch(nearby(-1)), Err(PartitionError::OffsetOutOfRange));
}

#[test]
fn a_follower_without_a_leader_serves_nobody() {
    let (rig, group) = leading();
    group.follow();
    group.progress.update(|progress| {
        progress.leader = None;
        true
    });
    rig.sim.run_until_idle();
    assert!(matches!(
        rig.fetch(nearby(0)),
        Err(PartitionError::NotLeader { leader: None })
    ));
}

#[test]
fn a_checkpoint_that_replaces_the_log_becomes_the_state_and_later_entries_follow_it() {
    let (rig, group) = leading();
    let sent = rig.send(0).expect("accepted");
    commit_next(&group);
    assert_eq!(rig.ends(sent), Ok(0));
    let mut donor = rig.partition.ledger().state.clone();
    donor.applied = LogId::new(3, 40);
    donor.next_offset = Offset(30);
    donor.log_start = Offset(30);
    group.follow();
    let checkpoint: Checkpoint = donor.checkpoint();
    {
        let writer = &mut group.script().writer;
        drop(writer.save_checkpoint(checkpoint).expect("stored"));
        let purge = Purge {
            through: donor.applied,
            offset_start: Offset(30),
        };
        drop(writer.purge(purge).expect("a checkpoint of that entry is there"));
    }
    group.progress.update(|progress| {
        progress.term = Term(3);
        progress.commit = LogIndex(40);
        true
    });
    rig.sim.run_until_idle();
    let view = rig.partition.view();
    assert_eq!(
        (view.applied, view.high_watermark, view.log_start),
        (LogIndex(40), Offset(30), Offset(30))
    );
    assert_eq!(view.ended, None);
    group.append(EntryKind::Data, idempotent(1, 0, 1, 1), 1);
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(base_offsets(&rig.fetch(nearby(30)).expect("in range")), [30]);
}

#[test]
fn a_writer_of_an_older_leadership_appends_nothing() {
    let (rig, group) = leading();
    let term = group.progress.get().term;
    for other in [Term(term.0 - 1), Term(term.0 + 1)] {
        assert!(matches!(
            rig.partition.produce_in_epoch(other, batch(&["x"])),
            Err(PartitionError::NotLeader { .. })
        ));
    }
    let sent = rig
        .partition
        .produce_in_epoch(term, batch(&["x"]))
        .expect("its own");
    commit_next(&group);
    assert_eq!(rig.ends(sent), Ok(0));
}

#[test]
fn who_follows_the_leadership_is_told_of_its_changes_and_of_nothing_else() {
    let (rig, group) = leading();
    let signal = Signal::new();
    let followed = rig.partition.follow_leadership(&signal, 5);
    let sent = rig.send(0).expect("accepted");
    commit_next(&group);
    assert_eq!(rig.ends(sent), Ok(0));
    assert!(signal.take().is_empty(), "records change nothing");
    group.follow();
    rig.sim.run_until_idle();
    assert_eq!((signal.take(), rig.partition.led_term()), (vec![5], None));
    group.progress.update(|progress| {
        progress.term = Term(progress.term.0 + 1);
        true
    });
    rig.sim.run_until_idle();
    assert!(signal.take().is_empty(), "another replica leads as before");
    group.lead();
    rig.sim.run_until_idle();
    let term = group.progress.get().term;
    assert_eq!((signal.take(), rig.partition.led_term()), (vec![5], Some(term)));
    drop(followed);
    group.follow();
    rig.sim.run_until_idle();
    assert!(signal.take().is_empty());
}
