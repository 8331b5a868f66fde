//! Guards of what arrives.

use super::{Lab, voters};
use crate::async_raft::guards::Guards;
use crate::async_raft::wire::Vote;
use crate::membership::encode_membership;
use bytes::Bytes;
use chronik_core::consensus::Membership;
use chronik_core::log_store::Checkpoint;
use chronik_core::{LogId, LogIndex, Offset, ReplicaId, Term};
use futures_lite::future::block_on;
use std::time::{Duration, Instant};

const FOUNDING: LogId = LogId::new(1, 1);

/// The crate refuses votes for some milliseconds after a heartbeat: asks, in rising terms, in so many rounds.
fn ask_votes(lab: &Lab, candidate: u64, last: LogId, rounds: u64) -> bool {
    for term in 10..10 + rounds {
        let vote = Vote {
            term: Term(term),
            last,
        };
        let answer = block_on(lab.replica.on_vote(ReplicaId(candidate), vote)).expect("the crate answers");
        if answer.granted {
            return true;
        }
        block_on(lab.replica.sleep(Duration::from_millis(20)));
    }
    false
}

#[test]
fn s5_a_heartbeat_commits_nothing_that_is_not_the_leaders() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            s5_check_previous: on,
            ..Guards::ON
        });
        // Entries of a leader that lost its office before they were committed.
        lab.append(2, 2, FOUNDING, &[2, 2], 1);
        let heartbeat = lab.append(3, 3, LogId::new(3, 3), &[], 3);
        assert_eq!(heartbeat.success, !on);
        let committed = if on { LogIndex(1) } else { LogIndex(3) };
        assert_eq!(lab.commit(), committed, "with the guard {on}");
    }
}

#[test]
fn s6_a_late_duplicate_removes_nothing_that_is_held() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            s6_keep_held_entries: on,
            ..Guards::ON
        });
        lab.append(2, 2, FOUNDING, &[2; 19], 20);
        assert_eq!(lab.last(), LogId::new(2, 20));
        assert_eq!(lab.commit(), LogIndex(20));
        lab.append(2, 2, LogId::new(2, 5), &[2; 3], 20);
        let last = if on { 20 } else { 8 };
        assert_eq!(lab.last(), LogId::new(2, last), "with the guard {on}");
        assert_eq!(lab.counter("crate_truncations"), u64::from(!on));
    }
}

#[test]
fn s6_nothing_that_contradicts_a_committed_entry_is_taken() {
    let lab = Lab::new(Guards::ON);
    lab.append(2, 2, FOUNDING, &[2; 4], 5);
    let answer = lab.append(3, 3, LogId::new(2, 3), &[3, 3], 5);
    assert!(!answer.success);
    assert_eq!(lab.last(), LogId::new(2, 5));
    assert_eq!(lab.counter("guard_committed_contradictions"), 1);
}

#[test]
fn s3_l3_a_conflict_hint_is_below_what_was_sent_so_that_one_diverged_entry_is_repaired() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            s3_l3_l7_own_messages: on,
            ..Guards::ON
        });
        lab.append(2, 2, FOUNDING, &[2], 1);
        let previous = LogId::new(3, 2);
        let answer = lab.append(3, 3, previous, &[3], 1);
        assert!(!answer.success);
        let hint = answer.conflict.expect("a hint").index;
        if on {
            assert_eq!(hint, LogIndex(1));
            assert!(lab.append(3, 3, FOUNDING, &[3, 3], 1).success);
            assert_eq!(lab.last(), LogId::new(3, 3));
        } else {
            // The crate names its last index: the leader asks again with the same entry before it, for ever; and it takes
            // that index for one that is replicated.
            assert_eq!(hint, previous.index);
        }
    }
}

#[test]
fn s3_a_longer_diverged_tail_is_never_confirmed() {
    let lab = Lab::new(Guards::ON);
    lab.append(2, 2, FOUNDING, &[2; 20], 1);
    let answer = lab.append(3, 3, LogId::new(3, 10), &[3], 1);
    assert!(!answer.success);
    assert_eq!(answer.confirmed, LogIndex(0));
    assert!(answer.conflict.expect("a hint").index < LogIndex(10));
    // The stale tail does not count either where a message fits before it.
    let answer = lab.append(3, 3, FOUNDING, &[], 1);
    assert_eq!((answer.success, answer.confirmed), (true, LogIndex(1)));
}

#[test]
fn l4_logs_are_compared_by_term_and_then_by_index() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            l4_vote_order: on,
            ..Guards::ON
        });
        lab.append(2, 2, FOUNDING, &[2; 9], 1);
        let newer_and_shorter = LogId::new(3, 2);
        assert_eq!(
            ask_votes(&lab, 3, newer_and_shorter, 40),
            on,
            "with the guard {on}"
        );
    }
    let lab = Lab::new(Guards::ON);
    lab.append(2, 2, FOUNDING, &[2; 9], 1);
    let older_and_longer = LogId::new(1, 50);
    assert!(!ask_votes(&lab, 3, older_and_longer, 40));
}

#[test]
fn l6_the_crate_does_not_learn_that_a_joint_membership_is_committed() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            l6_joint_clamp: on,
            ..Guards::ON
        });
        lab.append(2, 2, FOUNDING, &[2], 1);
        let joint = Membership {
            voters: voters(1..=4).voters,
            outgoing_voters: voters(1..=3).voters,
            learners: Vec::new(),
        };
        let mut after = lab.entry(2, 4);
        after.base_offset = Offset(1);
        let entries = vec![lab.membership(2, 3, &joint), after];
        lab.deliver(2, 2, LogId::new(2, 2), entries, 4);
        lab.append(2, 2, LogId::new(2, 4), &[], 4);
        lab.append(2, 2, LogId::new(2, 4), &[], 4);
        assert_eq!(lab.commit(), LogIndex(4), "we know that it is committed");
        // What the crate applies shows how far it believes in commits.
        let start = Instant::now();
        let limit = Duration::from_secs(if on { 2 } else { 60 });
        let believes = loop {
            let applied = lab.replica.state().crate_applied;
            if applied >= LogIndex(4) || start.elapsed() > limit {
                break applied;
            }
            lab.append(2, 2, LogId::new(2, 4), &[], 4);
        };
        assert_eq!(
            believes < LogIndex(3),
            on,
            "with the guard {on} the crate applied {believes}"
        );
    }
}

#[test]
fn l10_a_replica_that_was_removed_raises_no_term() {
    for on in [true, false] {
        let lab = Lab::new(Guards {
            l10_foreign_votes: on,
            ..Guards::ON
        });
        lab.append(2, 2, FOUNDING, &[2], 2);
        let granted = ask_votes(&lab, 9, LogId::new(9, 9), 40);
        assert_eq!(granted, !on, "with the guard {on}");
        assert_eq!(lab.replica.progress.get().term == Term(2), on);
    }
}

#[test]
fn l9_a_fenced_leader_holds_no_election_back() {
    let lab = Lab::new(Guards::ON);
    lab.append(2, 2, FOUNDING, &[2], 2);
    let fenced = crate::async_raft::wire::Append {
        term: Term(2),
        previous: LogId::new(2, 2),
        commit: LogIndex(2),
        floor: LogIndex(0),
        fenced: true,
        entries: vec![lab.entry(2, 3)],
    };
    let answer = block_on(lab.replica.on_append(ReplicaId(2), fenced)).expect("an answer");
    assert!(answer.success, "the leader learns that it was heard");
    assert_eq!(answer.confirmed, LogIndex(0));
    assert_eq!(lab.last(), LogId::new(2, 2));
}

#[test]
fn s9_s10_an_older_checkpoint_changes_nothing_and_a_newer_one_is_the_new_start() {
    let lab = Lab::new(Guards::ON);
    lab.append(2, 2, FOUNDING, &[2; 9], 10);
    let checkpoint = |index: u64, members: u64| Checkpoint {
        at: LogId::new(2, index),
        next_offset: Offset(index as i64 - 1),
        data: Bytes::from_static(b"state"),
        consensus: encode_membership(&voters(1..=members)).into(),
    };
    let install =
        |checkpoint| block_on(lab.replica.on_install(ReplicaId(2), Term(2), checkpoint)).expect("an answer");
    assert!(install(checkpoint(5, 3)).success);
    assert_eq!(lab.last(), LogId::new(2, 10));
    assert_eq!(install(checkpoint(30, 4)).confirmed, LogIndex(30));
    assert_eq!(lab.last(), LogId::new(2, 30));
    assert_eq!(lab.commit(), LogIndex(30));
    let answer = lab.append(2, 2, LogId::new(2, 30), &[2, 2], 31);
    assert_eq!((answer.success, answer.confirmed), (true, LogIndex(32)));
    assert_eq!(
        lab.replica.state().newest().voters.len(),
        4,
        "CS-SNP-03: the membership of the checkpoint wins"
    );
}

#[test]
fn malformed_runs_of_entries_are_dropped_and_stop_nothing() {
    let lab = Lab::new(Guards::ON);
    let gap = vec![lab.entry(2, 2), lab.entry(2, 9)];
    let append = crate::async_raft::wire::Append {
        term: Term(2),
        previous: FOUNDING,
        commit: LogIndex(u64::MAX),
        floor: LogIndex(u64::MAX),
        fenced: false,
        entries: gap,
    };
    assert!(block_on(lab.replica.on_append(ReplicaId(2), append)).is_none());
    assert!(lab.append(2, 2, FOUNDING, &[2], 1).success);
}
