//! What replicas of this engine say to each other. The format stands in `docs/format/async-raft-messages.md`.

mod bytes;
mod decode;
mod encode;

pub(super) use decode::{append_answer, envelope, number_answer, read_answer, vote_answer};
pub(super) use encode::{
    encode_append_answer, encode_envelope, encode_number, encode_read_answer, encode_vote_answer,
};

use chronik_core::log_store::Checkpoint;
use chronik_core::{Entry, GroupId, LogId, LogIndex, ReplicaId, Term};

/// A request of one replica to another of its group.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) group: GroupId,
    pub(super) to: ReplicaId,
    pub(super) from: ReplicaId,
    pub(super) request: Request,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Entries of a leader, or none.
    Append(Append),
    /// A candidate asks for a vote.
    Vote(Vote),
    /// A leader asks whether its term is still the newest.
    Probe(Term),
    /// Anybody asks the leader for the index that a read must wait for.
    ReadIndex,
    /// A leader says how far entries are committed.
    Committed {
        /// Its term.
        term: Term,
        /// The last committed entry.
        commit: LogIndex,
    },
    /// A leader's checkpoint for a replica that needs entries that are gone.
    Install {
        /// Its term.
        term: Term,
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
}

/// Entries, and what they follow.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) term: Term,
    pub(super) previous: LogId,
    pub(super) commit: LogIndex,
    /// What every replica holds: a log may be purged so far.
    pub(super) floor: LogIndex,
    /// The leader doubts that it leads.
    pub(super) fenced: bool,
    pub(super) entries: Vec<Entry>,
}

/// A candidate's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) term: Term,
    pub(super) last: LogId,
}

/// How an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AppendAnswer {
    pub(super) term: Term,
    pub(super) success: bool,
    /// The last entry that is durable and surely the leader's.
    pub(super) confirmed: LogIndex,
    /// Where the logs may part.
    pub(super) conflict: Option<LogId>,
}

/// How a vote went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VoteAnswer {
    pub(super) term: Term,
    pub(super) granted: bool,
}
