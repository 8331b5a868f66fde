//! Entries as the log keeps them, and as raft-rs sees them.
//!
//! raft-rs decides by index, term and type alone. Its `data` is our payload, a shared slice and never a copy; its
//! `context` holds the numbers that raft-rs has no field for, and for a membership change the payload too, because
//! raft-rs reads the `data` of those.

use bytes::Bytes;
use chronik_core::{Entry, EntryKind, LogId, Offset};
use raft::eraftpb;

/// Kind, base offset, record count, timestamp.
const CONTEXT_BYTES: usize = 1 + 8 + 4 + 8;

/// An entry on its way through raft-rs, before it has a place.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: EntryKind,
    pub(super) base_offset: Offset,
    pub(super) record_count: u32,
    pub(super) max_timestamp_ms: i64,
    pub(super) payload: Bytes,
}

fn context(draft: &Draft, extra: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(CONTEXT_BYTES + extra.len());
    out.push(draft.kind as u8);
    out.extend_from_slice(&draft.base_offset.0.to_le_bytes());
    out.extend_from_slice(&draft.record_count.to_le_bytes());
    out.extend_from_slice(&draft.max_timestamp_ms.to_le_bytes());
    out.extend_from_slice(extra);
    out.into()
}

/// The draft as an entry of raft-rs, of the kind that changes nothing in raft-rs.
pub(super) fn to_raft(draft: Draft) -> eraftpb::Entry {
    let mut entry = eraftpb::Entry::default();
    if draft.kind == EntryKind::Membership {
        entry.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        entry.context = context(&draft, &draft.payload);
    } else {
        entry.context = context(&draft, &[]);
        entry.data = draft.payload;
    }
    entry
}

/// The context of a membership change that raft-rs shall decide on.
pub(super) fn change_context(draft: &Draft) -> Vec<u8> {
    context(draft, &draft.payload).to_vec()
}

/// An entry of the log as raft-rs sees it.
pub(super) fn stored_to_raft(entry: Entry) -> eraftpb::Entry {
    let id = entry.id;
    let mut out = to_raft(Draft {
        kind: entry.kind,
        base_offset: entry.base_offset,
        record_count: entry.record_count,
        max_timestamp_ms: entry.max_timestamp_ms,
        payload: entry.payload,
    });
    out.index = id.index.0;
    out.term = id.term.0;
    out
}

/// Whether an entry holds records.
pub(super) fn has_records(entry: &eraftpb::Entry) -> bool {
    entry.context.first() == Some(&(EntryKind::Data as u8))
}

/// What raft-rs gives to store, as an entry of the log; `next_offset` is where the log ends. An entry without our
/// context is the blank one with which raft-rs starts a term, or the one that it puts in place of a change that it
/// refuses.
pub(super) fn from_raft(entry: &eraftpb::Entry, next_offset: Offset) -> Option<Entry> {
    let id = LogId::new(entry.term, entry.index);
    let Some((head, extra)) = entry.context.split_at_checked(CONTEXT_BYTES) else {
        return entry.context.is_empty().then(|| Entry {
            id,
            kind: EntryKind::Blank,
            base_offset: next_offset,
            record_count: 0,
            max_timestamp_ms: -1,
            payload: Bytes::new(),
        });
    };
    let (kind, rest) = head.split_first()?;
    let (base_offset, rest) = rest.split_first_chunk::<8>()?;
    let (record_count, rest) = rest.split_first_chunk::<4>()?;
    let (max_timestamp_ms, _) = rest.split_first_chunk::<8>()?;
    let kind = EntryKind::from_u8(*kind)?;
    let payload = match kind {
        EntryKind::Membership => entry.context.slice_ref(extra),
        _ => entry.data.clone(),
    };
    Some(Entry {
        id,
        kind,
        base_offset: Offset(i64::from_le_bytes(*base_offset)),
        record_count: u32::from_le_bytes(*record_count),
        max_timestamp_ms: i64::from_le_bytes(*max_timestamp_ms),
        payload,
    })
}
