//! What replicas say to each other.

use crate::reference::codec::{Decoder, Encoder};
use bytes::Bytes;
use chronik_core::consensus::{Member, Membership};
use chronik_core::log_store::Checkpoint;
use chronik_core::transport::{Channel, Lane};
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, NodeId, Offset, ReplicaId, Term};

/// A message between two replicas of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Asks for a vote in `term`; a trial asks whether it would be given.
    Ask {
        term: Term,
        last: LogId,
        trial: bool,
        /// The leader wants this election.
        wanted: bool,
    },
    Vote {
        term: Term,
        granted: bool,
        trial: bool,
    },
    Append {
        term: Term,
        prev: LogId,
        entries: Vec<Entry>,
        commit: LogIndex,
        /// Counts read barriers.
        round: u64,
    },
    /// The log agrees with the leader's up to `upto` where `ok`; otherwise it can agree up to there at most.
    Appended {
        term: Term,
        ok: bool,
        upto: LogIndex,
        round: u64,
    },
    Install {
        term: Term,
        checkpoint: Checkpoint,
    },
    Campaign {
        term: Term,
    },
}

/// A message with where it is from and for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) group: GroupId,
    pub(super) from: Member,
    pub(super) to: ReplicaId,
    pub(super) message: Message,
}

impl Message {
    pub(super) const fn term(&self) -> Term {
        match self {
            Self::Ask { term, .. }
            | Self::Vote { term, .. }
            | Self::Append { term, .. }
            | Self::Appended { term, .. }
            | Self::Install { term, .. }
            | Self::Campaign { term } => *term,
        }
    }

    pub(super) const fn lane(&self) -> Lane {
        match self {
            Self::Append { .. } | Self::Appended { .. } => Lane::Replication,
            Self::Install { .. } => Lane::Bulk,
            _ => Lane::Control,
        }
    }

    fn encode(&self, to: &mut Encoder) {
        match self {
            Self::Ask {
                term,
                last,
                trial,
                wanted,
            } => {
                let flags = u8::from(*trial) | u8::from(*wanted) << 1;
                to.u8(1).u64(term.0).u64(last.term.0).u64(last.index.0).u8(flags);
            }
            Self::Vote { term, granted, trial } => {
                to.u8(2)
                    .u64(term.0)
                    .u8(u8::from(*trial) | u8::from(*granted) << 1);
            }
            Self::Append {
                term,
                prev,
                entries,
                commit,
                round,
            } => {
                to.u8(3).u64(term.0).u64(prev.term.0).u64(prev.index.0);
                to.u64(commit.0).u64(*round);
                entries.iter().for_each(|entry| put_entry(to, entry));
            }
            Self::Appended {
                term,
                ok,
                upto,
                round,
            } => {
                to.u8(4).u64(term.0).u8(u8::from(*ok)).u64(upto.0).u64(*round);
            }
            Self::Install { term, checkpoint } => {
                to.u8(5).u64(term.0);
                to.u64(checkpoint.at.term.0).u64(checkpoint.at.index.0);
                to.i64(checkpoint.next_offset.0).prefixed(&checkpoint.consensus);
                to.rest(&checkpoint.data);
            }
            Self::Campaign { term } => {
                to.u8(6).u64(term.0);
            }
        }
    }

    fn decode(from: &mut Decoder) -> Option<Self> {
        let (kind, term) = (from.u8()?, Term(from.u64()?));
        Some(match kind {
            1 => {
                let last = LogId::new(from.u64()?, from.u64()?);
                let flags = from.u8()?;
                Self::Ask {
                    term,
                    last,
                    trial: flags & 1 != 0,
                    wanted: flags & 2 != 0,
                }
            }
            2 => {
                let flags = from.u8()?;
                Self::Vote {
                    term,
                    trial: flags & 1 != 0,
                    granted: flags & 2 != 0,
                }
            }
            3 => {
                let prev = LogId::new(from.u64()?, from.u64()?);
                let (commit, round) = (LogIndex(from.u64()?), from.u64()?);
                let mut entries = Vec::new();
                while !from.bytes.is_empty() {
                    entries.push(take_entry(from)?);
                }
                Self::Append {
                    term,
                    prev,
                    entries,
                    commit,
                    round,
                }
            }
            4 => Self::Appended {
                term,
                ok: from.u8()? == 1,
                upto: LogIndex(from.u64()?),
                round: from.u64()?,
            },
            5 => Self::Install {
                term,
                checkpoint: Checkpoint {
                    at: LogId::new(from.u64()?, from.u64()?),
                    next_offset: Offset(from.i64()?),
                    consensus: from.prefixed()?,
                    data: from.rest(),
                },
            },
            6 => Self::Campaign { term },
            _ => return None,
        })
    }
}

impl Envelope {
    pub(super) fn encode(&self) -> Bytes {
        let mut to = Encoder::default();
        to.u8(Channel::Consensus as u8).u64(self.group.0);
        to.u64(self.from.replica.0).u64(self.from.node.0).u64(self.to.0);
        self.message.encode(&mut to);
        Bytes::from(to.bytes)
    }

    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let mut from = Decoder { bytes };
        if Channel::from_u8(from.u8()?)? != Channel::Consensus {
            return None;
        }
        Some(Self {
            group: GroupId(from.u64()?),
            from: take_member(&mut from)?,
            to: ReplicaId(from.u64()?),
            message: Message::decode(&mut from)?,
        })
    }
}

fn put_entry(to: &mut Encoder, entry: &Entry) {
    to.u64(entry.id.term.0).u64(entry.id.index.0).u8(entry.kind as u8);
    to.i64(entry.base_offset.0).u32(entry.record_count);
    to.i64(entry.max_timestamp_ms).prefixed(&entry.payload);
}

fn take_entry(from: &mut Decoder) -> Option<Entry> {
    Some(Entry {
        id: LogId::new(from.u64()?, from.u64()?),
        kind: EntryKind::from_u8(from.u8()?)?,
        base_offset: Offset(from.i64()?),
        record_count: from.u32()?,
        max_timestamp_ms: from.i64()?,
        payload: from.prefixed()?,
    })
}

fn take_member(from: &mut Decoder) -> Option<Member> {
    Some(Member {
        replica: ReplicaId(from.u64()?),
        node: NodeId(from.u64()?),
    })
}

/// A membership as it stands in entries and checkpoints.
pub(super) fn encode_membership(membership: &Membership) -> Bytes {
    let mut to = Encoder::default();
    for members in [
        &membership.voters,
        &membership.outgoing_voters,
        &membership.learners,
    ] {
        to.u64(members.len() as u64);
        for member in members {
            to.u64(member.replica.0).u64(member.node.0);
        }
    }
    Bytes::from(to.bytes)
}

pub(super) fn decode_membership(bytes: &Bytes) -> Option<Membership> {
    let mut from = Decoder { bytes: bytes.clone() };
    let mut members = || -> Option<Vec<Member>> {
        let count = from.u64()?;
        (0..count).map(|_| take_member(&mut from)).collect()
    };
    Some(Membership {
        voters: members()?,
        outgoing_voters: members()?,
        learners: members()?,
    })
}
