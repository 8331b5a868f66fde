//! Bytes to messages.

use super::bytes::Reader;
use super::{BATCH_HEAD, DERIVED, Envelope, PING, PONG, Ping, VERSION, checkpoint_of, kind_of};
use crate::membership::{decode_membership, why_invalid};
use crate::raft_rs::conf::conf_state;
use crate::raft_rs::entry::{Draft, to_raft};
use bytes::Bytes;
use chronik_core::transport::Channel;
use chronik_core::{EntryKind, GroupId, Offset, ReplicaId};
use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::{self, MessageType};

/// Terms beyond this are damage: nothing ever counts so far, and sums with them would overflow.
const TERM_MAX: u64 = 1 << 62;
/// As [`TERM_MAX`], for indices.
const INDEX_MAX: u64 = 1 << 62;
/// The longest context of a heartbeat or a read.
const CONTEXT_MAX: usize = 64;
/// Bytes of an entry without its payload.
const ENTRY_HEAD: usize = 8 + 1 + 8 + 4 + 8 + 4;

/// What a batch held.
#[derive(Debug, Default)]
pub(in crate::raft_rs) struct Batch {
    pub(in crate::raft_rs) messages: Vec<Envelope>,
    pub(in crate::raft_rs) pings: Vec<Ping>,
    /// Messages that were not what they should be; the rest of the batch after the last one that could be told
    /// apart counts as one.
    pub(in crate::raft_rs) malformed: u64,
}

/// Reads a batch.
pub(in crate::raft_rs) fn read_batch(bytes: &Bytes) -> Batch {
    let mut batch = Batch::default();
    if bytes.first_chunk::<BATCH_HEAD>() != Some(&[Channel::Consensus as u8, VERSION]) {
        batch.malformed = 1;
        return batch;
    }
    let mut from = Reader::new(bytes.slice(BATCH_HEAD..));
    while from.remaining() > 0 {
        let Some(body) = from.prefixed() else {
            batch.malformed += 1;
            return batch;
        };
        if read_item(Reader::new(body), &mut batch).is_none() {
            batch.malformed += 1;
        }
    }
    batch
}

fn read_item(mut from: Reader, batch: &mut Batch) -> Option<()> {
    match from.u8()? {
        kind @ (PING | PONG) => {
            let ping = Ping {
                epoch: from.u64()?,
                stamp_us: from.u64()?,
                is_answer: kind == PONG,
            };
            (from.remaining() == 0).then(|| batch.pings.push(ping))
        }
        kind => read_message(from, kind_of(kind)?).map(|envelope| batch.messages.push(envelope)),
    }
}

fn read_message(mut from: Reader, kind: MessageType) -> Option<Envelope> {
    let group = GroupId(from.u64()?);
    let (to, sender) = (ReplicaId(from.u64()?), ReplicaId(from.u64()?));
    let term = from.u64()?;
    let stamp_us = from.u64()?;
    if to.0 == 0 || sender.0 == 0 || term > TERM_MAX || (term == 0) != (kind == MessageType::MsgReadIndex) {
        return None;
    }
    let mut message = eraftpb::Message::default();
    message.set_msg_type(kind);
    message.to = to.0;
    message.from = sender.0;
    message.term = term;
    let asleep = read_body(&mut from, &mut message)?;
    (from.remaining() == 0).then_some(Envelope {
        group,
        to,
        from: sender,
        stamp_us,
        asleep,
        message,
    })
}

/// Reads what its type carries; whether a heartbeat or its answer speaks of sleep.
fn read_body(from: &mut Reader, message: &mut eraftpb::Message) -> Option<bool> {
    let mut asleep = false;
    match message.get_msg_type() {
        MessageType::MsgAppend => read_append(from, message)?,
        MessageType::MsgAppendResponse => {
            message.index = index(from)?;
            message.commit = index(from)?;
            message.reject = flag(from)?;
            message.reject_hint = index(from)?;
            message.log_term = index(from)?;
        }
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
            message.commit = index(from)?;
            asleep = flag(from)?;
            message.context = context(from)?;
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            message.index = index(from)?;
            message.log_term = index(from)?;
            message.commit = index(from)?;
            message.commit_term = index(from)?;
            if flag(from)? {
                message.context = Bytes::from_static(CAMPAIGN_TRANSFER);
            }
        }
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            message.reject = flag(from)?;
            message.commit = index(from)?;
            message.commit_term = index(from)?;
        }
        MessageType::MsgSnapshot => read_snapshot(from, message)?,
        MessageType::MsgReadIndex => read_context_entry(from, message)?,
        MessageType::MsgReadIndexResp => {
            message.index = index(from)?;
            read_context_entry(from, message)?;
        }
        _ => {}
    }
    Some(asleep)
}

fn index(from: &mut Reader) -> Option<u64> {
    from.u64().filter(|index| *index <= INDEX_MAX)
}

fn flag(from: &mut Reader) -> Option<bool> {
    match from.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn context(from: &mut Reader) -> Option<Bytes> {
    from.prefixed().filter(|context| context.len() <= CONTEXT_MAX)
}

fn read_context_entry(from: &mut Reader, message: &mut eraftpb::Message) -> Option<()> {
    let entry = eraftpb::Entry {
        data: context(from).filter(|context| !context.is_empty())?,
        ..Default::default()
    };
    message.set_entries(vec![entry].into());
    Some(())
}

fn read_append(from: &mut Reader, message: &mut eraftpb::Message) -> Option<()> {
    message.index = index(from)?;
    message.log_term = index(from)?;
    message.commit = index(from)?;
    let count = usize::try_from(from.u32()?).ok()?;
    if count > from.remaining() / ENTRY_HEAD {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    let (mut last_term, mut next_index) = (message.log_term, message.index);
    for _ in 0..count {
        next_index += 1;
        let term = index(from)?;
        if term < last_term || term > message.term || term == 0 {
            return None;
        }
        last_term = term;
        let mut entry = read_entry(from)?;
        entry.term = term;
        entry.index = next_index;
        entries.push(entry);
    }
    message.set_entries(entries.into());
    Some(())
}

fn read_entry(from: &mut Reader) -> Option<eraftpb::Entry> {
    let draft = Draft {
        kind: EntryKind::from_u8(from.u8()?)?,
        base_offset: Offset(from.i64()?),
        record_count: from.u32()?,
        max_timestamp_ms: from.i64()?,
        payload: from.prefixed()?,
    };
    if (draft.kind == EntryKind::Data) != (draft.record_count > 0) {
        return None;
    }
    if draft.kind == EntryKind::Membership && decode_membership(&draft.payload).is_none() {
        return None;
    }
    if draft.base_offset.0 == DERIVED {
        let blank = draft.kind == EntryKind::Blank && draft.payload.is_empty();
        return blank.then(eraftpb::Entry::default);
    }
    (draft.base_offset.0 >= 0).then(|| to_raft(draft))
}

fn read_snapshot(from: &mut Reader, message: &mut eraftpb::Message) -> Option<()> {
    let mut snapshot = eraftpb::Snapshot::default();
    snapshot.mut_metadata().index = index(from).filter(|index| *index > 0)?;
    snapshot.mut_metadata().term = index(from).filter(|term| *term > 0 && *term <= message.term)?;
    snapshot.data = from.prefixed()?;
    let checkpoint = checkpoint_of(&snapshot)?;
    let membership = decode_membership(&checkpoint.consensus)?;
    if checkpoint.next_offset.0 < 0 || why_invalid(&membership).is_some() {
        return None;
    }
    snapshot.mut_metadata().set_conf_state(conf_state(&membership));
    message.set_snapshot(snapshot);
    Some(())
}
