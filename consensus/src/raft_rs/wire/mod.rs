//! The engine's messages as bytes, written down in `docs/format/consensus-messages.md`.
//!
//! A batch is the channel byte, a version, and messages behind their lengths. Nothing that a peer sends makes
//! decoding panic or allocate more than it sent; what does not parse is dropped and counted.

mod bytes;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use chronik_core::log_store::Checkpoint;
use chronik_core::transport::Lane;
use chronik_core::{GroupId, LogId, Offset, ReplicaId};
use raft::eraftpb::{self, MessageType};

pub(super) use decode::read_batch;
pub(super) use encode::{put_message, put_ping};

/// The version of the messages.
pub(super) const VERSION: u8 = 1;
/// Bytes before the first message of a batch: channel and version.
pub(super) const BATCH_HEAD: usize = 2;
/// The base offset of an entry whose receiver derives it: the blank entry that starts a term.
const DERIVED: i64 = -1;

/// A message of a group with its addresses.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) group: GroupId,
    pub(super) to: ReplicaId,
    pub(super) from: ReplicaId,
    /// The sender's monotonic clock in microseconds when a leader sent a request; a follower's answer carries it
    /// back.
    pub(super) stamp_us: u64,
    /// On a heartbeat: the leader is about to sleep. On its answer: the follower sleeps.
    pub(super) asleep: bool,
    pub(super) message: eraftpb::Message,
}

/// A word from node to node, for all groups that sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ping {
    /// Changes when the sender was started anew or had stood still.
    pub(super) epoch: u64,
    /// The asking node's monotonic clock in microseconds; an answer carries it back.
    pub(super) stamp_us: u64,
    pub(super) is_answer: bool,
}

/// The types of a ping and of its answer.
const PING: u8 = 13;
const PONG: u8 = 14;

/// The number of a type of message, or `None` for one that never leaves a node.
fn number(kind: MessageType) -> Option<u8> {
    Some(match kind {
        MessageType::MsgAppend => 1,
        MessageType::MsgAppendResponse => 2,
        MessageType::MsgHeartbeat => 3,
        MessageType::MsgHeartbeatResponse => 4,
        MessageType::MsgRequestVote => 5,
        MessageType::MsgRequestVoteResponse => 6,
        MessageType::MsgRequestPreVote => 7,
        MessageType::MsgRequestPreVoteResponse => 8,
        MessageType::MsgSnapshot => 9,
        MessageType::MsgTimeoutNow => 10,
        MessageType::MsgReadIndex => 11,
        MessageType::MsgReadIndexResp => 12,
        _ => return None,
    })
}

fn kind_of(number: u8) -> Option<MessageType> {
    Some(match number {
        1 => MessageType::MsgAppend,
        2 => MessageType::MsgAppendResponse,
        3 => MessageType::MsgHeartbeat,
        4 => MessageType::MsgHeartbeatResponse,
        5 => MessageType::MsgRequestVote,
        6 => MessageType::MsgRequestVoteResponse,
        7 => MessageType::MsgRequestPreVote,
        8 => MessageType::MsgRequestPreVoteResponse,
        9 => MessageType::MsgSnapshot,
        10 => MessageType::MsgTimeoutNow,
        11 => MessageType::MsgReadIndex,
        12 => MessageType::MsgReadIndexResp,
        _ => return None,
    })
}

/// The lane on which a message travels.
pub(super) fn lane_of(kind: MessageType) -> Lane {
    match kind {
        MessageType::MsgAppend | MessageType::MsgAppendResponse => Lane::Replication,
        MessageType::MsgSnapshot => Lane::Bulk,
        _ => Lane::Control,
    }
}

/// A checkpoint as the data of raft-rs's snapshot.
pub(super) fn checkpoint_data(checkpoint: &Checkpoint) -> ::bytes::Bytes {
    encode::checkpoint_data(checkpoint)
}

/// The checkpoint in a snapshot of raft-rs; `None` where it is not one.
pub(super) fn checkpoint_of(snapshot: &eraftpb::Snapshot) -> Option<Checkpoint> {
    let meta = snapshot.get_metadata();
    let mut from = bytes::Reader::new(snapshot.data.clone());
    let next_offset = Offset(from.i64()?);
    let consensus = from.prefixed()?;
    Some(Checkpoint {
        at: LogId::new(meta.term, meta.index),
        next_offset,
        data: from.rest(),
        consensus,
    })
}
