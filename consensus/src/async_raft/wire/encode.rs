//! Writing messages.

use super::bytes::Put;
use super::{AppendAnswer, Envelope, Request, VoteAnswer};
use bytes_crate::Bytes;
use chronik_core::transport::Channel;
use chronik_core::{Entry, LogId, LogIndex};

use ::bytes as bytes_crate;

/// The engine and the version of its messages; those of another engine carry another number here, and are dropped.
pub(super) const VERSION: u8 = 0xa1;

pub(super) const APPEND: u8 = 1;
pub(super) const VOTE: u8 = 2;
pub(super) const PROBE: u8 = 3;
pub(super) const READ_INDEX: u8 = 4;
pub(super) const COMMITTED: u8 = 5;
pub(super) const INSTALL: u8 = 6;

/// Bytes of an entry besides its payload.
pub(super) const ENTRY_BYTES: usize = 8 + 8 + 1 + 8 + 4 + 8 + 4;

fn put_id(out: &mut Vec<u8>, id: LogId) {
    out.u64(id.term.0).u64(id.index.0);
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_id(out, entry.id);
    out.u8(entry.kind as u8)
        .i64(entry.base_offset.0)
        .u32(entry.record_count)
        .i64(entry.max_timestamp_ms)
        .prefixed(&entry.payload);
}

/// The bytes of a request.
pub(in crate::async_raft) fn encode_envelope(envelope: &Envelope) -> Bytes {
    let mut out = Vec::with_capacity(size_hint(&envelope.request));
    let kind = match &envelope.request {
        Request::Append(_) => APPEND,
        Request::Vote(_) => VOTE,
        Request::Probe(_) => PROBE,
        Request::ReadIndex => READ_INDEX,
        Request::Committed { .. } => COMMITTED,
        Request::Install { .. } => INSTALL,
    };
    out.u8(Channel::Consensus as u8)
        .u8(VERSION)
        .u8(kind)
        .u64(envelope.group.0)
        .u64(envelope.to.0)
        .u64(envelope.from.0);
    match &envelope.request {
        Request::Append(append) => {
            out.u64(append.term.0);
            put_id(&mut out, append.previous);
            out.u64(append.commit.0)
                .u64(append.floor.0)
                .u8(u8::from(append.fenced));
            let count = u32::try_from(append.entries.len()).expect("an append is bounded in bytes");
            out.u32(count);
            append.entries.iter().for_each(|entry| put_entry(&mut out, entry));
        }
        Request::Vote(vote) => {
            out.u64(vote.term.0);
            put_id(&mut out, vote.last);
        }
        Request::Probe(term) => {
            out.u64(term.0);
        }
        Request::ReadIndex => {}
        Request::Committed { term, commit } => {
            out.u64(term.0).u64(commit.0);
        }
        Request::Install { term, checkpoint } => {
            out.u64(term.0);
            put_id(&mut out, checkpoint.at);
            out.i64(checkpoint.next_offset.0)
                .prefixed(&checkpoint.consensus)
                .prefixed(&checkpoint.data);
        }
    }
    out.into()
}

fn size_hint(request: &Request) -> usize {
    let body = match request {
        Request::Append(append) => append
            .entries
            .iter()
            .map(|entry| ENTRY_BYTES + entry.payload.len())
            .sum(),
        Request::Install { checkpoint, .. } => checkpoint.data.len() + checkpoint.consensus.len(),
        _ => 0,
    };
    96 + body
}

/// The bytes of an answer to an append or an install.
pub(in crate::async_raft) fn encode_append_answer(answer: &AppendAnswer) -> Bytes {
    let mut out = Vec::with_capacity(34);
    out.u64(answer.term.0)
        .u8(u8::from(answer.success))
        .u64(answer.confirmed.0);
    out.u8(u8::from(answer.conflict.is_some()));
    put_id(&mut out, answer.conflict.unwrap_or_default());
    out.into()
}

/// The bytes of an answer to a vote.
pub(in crate::async_raft) fn encode_vote_answer(answer: VoteAnswer) -> Bytes {
    let mut out = Vec::with_capacity(9);
    out.u64(answer.term.0).u8(u8::from(answer.granted));
    out.into()
}

/// The bytes of a number: a term.
pub(in crate::async_raft) fn encode_number(number: u64) -> Bytes {
    let mut out = Vec::with_capacity(8);
    out.u64(number);
    out.into()
}

/// The bytes of an answer to a read; `None` from a replica that does not lead.
pub(in crate::async_raft) fn encode_read_answer(index: Option<LogIndex>) -> Bytes {
    let mut out = Vec::with_capacity(9);
    out.u8(u8::from(index.is_some())).u64(index.unwrap_or_default().0);
    out.into()
}
