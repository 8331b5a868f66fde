//! The oracle on histories that were made by hand: silent on those of a sound engine, and on the others it names the clause
//! that they break.

use super::super::payload::{FrameStamper, proposal};
use super::*;
use chronik_core::Offset;
use chronik_core::consensus::Stamper;
use chronik_core::proposal::ProposeError;

const GROUP: GroupId = GroupId(1);

fn at(node: u64) -> At {
    At { group: GROUP, node }
}

const fn id(number: u64) -> ProposalId {
    ProposalId { stream: 1, number }
}

/// The entry of a proposal with one record, as an engine stamps it.
fn entry(term: u64, index: u64, number: u64) -> Entry {
    let mut proposal = proposal(id(number), 1, 3);
    let base_offset = Offset(i64::try_from(index).unwrap() - 1);
    FrameStamper.stamp(&mut proposal.payload, base_offset, Term(term));
    Entry {
        id: LogId::new(term, index),
        kind: EntryKind::Data,
        base_offset,
        record_count: 1,
        max_timestamp_ms: 1,
        payload: proposal.payload.freeze(),
    }
}

fn progress(role: Role, term: u64, commit: u64) -> Progress {
    Progress {
        role,
        term: Term(term),
        leader: None,
        commit: LogIndex(commit),
        own_term_start: None,
    }
}

const fn hard_state(term: u64, vote: Option<u64>) -> HardState {
    let vote = match vote {
        Some(vote) => Some(ReplicaId(vote)),
        None => None,
    };
    HardState {
        term: Term(term),
        vote,
    }
}

fn acknowledged(term: u64, index: u64) -> Outcome {
    Outcome::Committed(Appended {
        id: LogId::new(term, index),
        base_offset: Offset(i64::try_from(index).unwrap() - 1),
    })
}

/// Node 1 leads in term 1 with two entries, of which node 2 has the first; that is committed and acknowledged.
fn begun() -> Oracle {
    let oracle = Oracle::default();
    for node in [1, 2] {
        oracle.on_open(at(node), HardState::default(), BTreeMap::new());
        oracle.on_hard_state(at(node), hard_state(1, Some(101)));
    }
    oracle.on_progress(at(1), 1, progress(Role::Leader, 1, 0));
    oracle.on_progress(at(2), 1, progress(Role::Follower, 1, 0));
    oracle.on_append(at(1), &[entry(1, 1, 1), entry(1, 2, 2)]);
    oracle.on_append(at(2), &[entry(1, 1, 1)]);
    for (node, role) in [(1, Role::Leader), (2, Role::Follower)] {
        oracle.on_progress(at(node), 1, progress(role, 1, 1));
        oracle.on_apply(at(node), &entry(1, 1, 1), 77);
    }
    oracle.on_outcome(at(1), id(1), &acknowledged(1, 1));
    assert_eq!(oracle.violations(), []);
    oracle
}

/// A history goes on as `badly` says; the oracle names this clause and no other.
fn broken(clause: &str, badly: impl FnOnce(&Oracle)) {
    let oracle = begun();
    badly(&oracle);
    let named: Vec<&str> = oracle
        .violations()
        .iter()
        .map(|violation| violation.clause)
        .collect();
    assert_eq!(named, [clause], "{:?}", oracle.violations());
}

#[test]
fn a_sound_history_is_sound() {
    let oracle = begun();
    // Node 2 takes over; what node 1 had that was not committed is replaced.
    oracle.on_hard_state(at(2), hard_state(2, Some(102)));
    oracle.on_hard_state(at(1), hard_state(2, None));
    oracle.on_progress(at(1), 1, progress(Role::Follower, 2, 1));
    oracle.on_progress(at(2), 1, progress(Role::Leader, 2, 1));
    oracle.on_append(at(2), &[entry(2, 2, 3)]);
    oracle.on_shown(at(1), LogIndex(1), LogIndex(1));
    oracle.on_truncate(at(1), LogIndex(2));
    oracle.on_append(at(1), &[entry(2, 2, 3)]);
    for (node, role) in [(1, Role::Follower), (2, Role::Leader)] {
        oracle.on_progress(at(node), 1, progress(role, 2, 2));
        oracle.on_apply(at(node), &entry(2, 2, 3), 78);
    }
    oracle.on_outcome(at(1), id(2), &Outcome::NotCommitted(ProposeError::Closed));
    oracle.on_outcome(at(2), id(3), &acknowledged(2, 2));
    oracle.check_logs();
    oracle.check_acked();
    assert_eq!(oracle.violations(), []);
    assert_eq!(oracle.newest_acked(GROUP), LogIndex(2));
}

#[test]
fn elections_that_break_a_clause_are_named() {
    broken("CS-ELE-01", |oracle| {
        oracle.on_progress(at(2), 1, progress(Role::Leader, 1, 1));
    });
    broken("CS-ELE-02", |oracle| {
        oracle.on_hard_state(at(2), hard_state(1, Some(102)))
    });
    broken("CS-LOG-03", |oracle| {
        oracle.on_open(at(3), HardState::default(), BTreeMap::new());
        oracle.on_append(at(3), &[entry(2, 1, 9)]);
        oracle.on_progress(at(3), 1, progress(Role::Leader, 2, 0));
    });
    broken("CS-ORD-01", |oracle| {
        oracle.on_progress(at(2), 1, progress(Role::Follower, 1, 0));
    });
}

#[test]
fn logs_that_break_a_clause_are_named() {
    broken("CS-LOG-01", |oracle| {
        oracle.on_append(at(2), &[entry(1, 2, 5)]);
    });
    broken("CS-LOG-02", |oracle| {
        oracle.on_truncate(at(1), LogIndex(2));
        oracle.on_append(at(1), &[entry(1, 2, 2)]);
    });
    broken("CS-LOG-04", |oracle| {
        oracle.on_open(at(3), HardState::default(), BTreeMap::new());
        oracle.on_append(at(3), &[entry(2, 1, 9)]);
        oracle.on_progress(at(3), 1, progress(Role::Follower, 2, 1));
    });
    broken("CS-LOG-07", |oracle| oracle.on_truncate(at(2), LogIndex(1)));
    broken("CS-SM-01", |oracle| oracle.on_apply(at(2), &entry(1, 1, 1), 78));
    broken("CS-SM-01", |oracle| {
        oracle.on_shown(at(2), LogIndex(2), LogIndex(1))
    });
    broken("CS-SM-02", |oracle| {
        oracle.on_progress(at(2), 1, progress(Role::Follower, 1, 3));
    });
    broken("CS-SNP-01", |oracle| oracle.on_restore(at(2), LogIndex(1), 76));
}

#[test]
fn outcomes_that_break_a_clause_are_named() {
    broken("CS-LIN-04", |oracle| {
        oracle.on_outcome(at(1), id(2), &Outcome::NotCommitted(ProposeError::Closed));
        oracle.on_apply(at(1), &entry(1, 2, 2), 78);
    });
    broken("CS-LIN-04", |oracle| oracle.on_refused(GROUP, id(1)));
    broken("CS-LIN-05", |oracle| {
        oracle.on_apply(at(1), &entry(1, 2, 4), 78);
        oracle.on_apply(at(1), &entry(1, 3, 3), 79);
    });
    broken("CS-STO-01", |oracle| {
        oracle.on_outcome(at(1), id(2), &acknowledged(1, 2));
        oracle.check_acked();
    });
}
