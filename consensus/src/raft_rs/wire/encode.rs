//! Messages to bytes.

use super::bytes::Put;
use super::{DERIVED, Envelope, PING, PONG, Ping, number};
use crate::raft_rs::entry::from_raft;
use bytes::Bytes;
use chronik_core::Offset;
use chronik_core::log_store::Checkpoint;
use raft::eraftpb::{self, MessageType};

pub(super) fn checkpoint_data(checkpoint: &Checkpoint) -> Bytes {
    let mut out = Vec::with_capacity(12 + checkpoint.consensus.len() + checkpoint.data.len());
    out.i64(checkpoint.next_offset.0).prefixed(&checkpoint.consensus);
    out.extend_from_slice(&checkpoint.data);
    out.into()
}

/// Appends a message behind its length. False, and nothing was appended, for one that never leaves a node.
pub(in crate::raft_rs) fn put_message(out: &mut Vec<u8>, envelope: &Envelope) -> bool {
    let message = &envelope.message;
    let Some(kind) = number(message.get_msg_type()) else {
        return false;
    };
    let start = out.len();
    out.u32(0)
        .u8(kind)
        .u64(envelope.group.0)
        .u64(envelope.to.0)
        .u64(envelope.from.0)
        .u64(message.term)
        .u64(envelope.stamp_us);
    put_body(out, message, envelope.asleep);
    let length = u32::try_from(out.len() - start - 4).expect("messages are bounded by the options");
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    true
}

/// Appends a ping behind its length.
pub(in crate::raft_rs) fn put_ping(out: &mut Vec<u8>, ping: Ping) {
    out.u32(1 + 8 + 8)
        .u8(if ping.is_answer { PONG } else { PING })
        .u64(ping.epoch)
        .u64(ping.stamp_us);
}

fn put_body(out: &mut Vec<u8>, message: &eraftpb::Message, asleep: bool) {
    match message.get_msg_type() {
        MessageType::MsgAppend => put_append(out, message),
        MessageType::MsgAppendResponse => {
            out.u64(message.index)
                .u64(message.commit)
                .u8(u8::from(message.reject))
                .u64(message.reject_hint)
                .u64(message.log_term);
        }
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
            out.u64(message.commit)
                .u8(u8::from(asleep))
                .prefixed(&message.context);
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            out.u64(message.index)
                .u64(message.log_term)
                .u64(message.commit)
                .u64(message.commit_term)
                .u8(u8::from(!message.context.is_empty()));
        }
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            out.u8(u8::from(message.reject))
                .u64(message.commit)
                .u64(message.commit_term);
        }
        MessageType::MsgSnapshot => {
            let snapshot = message.get_snapshot();
            out.u64(snapshot.get_metadata().index)
                .u64(snapshot.get_metadata().term)
                .prefixed(&snapshot.data);
        }
        MessageType::MsgReadIndex => {
            out.prefixed(context_of(message));
        }
        MessageType::MsgReadIndexResp => {
            out.u64(message.index).prefixed(context_of(message));
        }
        _ => {}
    }
}

/// raft-rs keeps the context of a read in the data of an entry.
fn context_of(message: &eraftpb::Message) -> &[u8] {
    message.get_entries().first().map_or(&[], |entry| &entry.data)
}

fn put_append(out: &mut Vec<u8>, message: &eraftpb::Message) {
    let entries = message.get_entries();
    out.u64(message.index).u64(message.log_term).u64(message.commit);
    let count = u32::try_from(entries.len()).expect("an append is bounded by the options");
    out.u32(count);
    for entry in entries {
        let stored = from_raft(entry, Offset(DERIVED)).expect("a leader's entries have the contexts it made");
        out.u64(entry.term)
            .u8(stored.kind as u8)
            .i64(stored.base_offset.0)
            .u32(stored.record_count)
            .i64(stored.max_timestamp_ms)
            .prefixed(&stored.payload);
    }
}
