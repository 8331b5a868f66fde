//! Reading messages; `None` for bytes that are not one.

use super::bytes::Reader;
use super::encode::{APPEND, COMMITTED, ENTRY_BYTES, INSTALL, PROBE, READ_INDEX, VERSION, VOTE};
use super::{Append, AppendAnswer, Envelope, Request, Vote, VoteAnswer};
use bytes_crate::Bytes;
use chronik_core::log_store::Checkpoint;
use chronik_core::transport::Channel;
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogIndex, Offset, ReplicaId, Term};

use ::bytes as bytes_crate;

/// Terms and indexes beyond this are refused, so that counting on from them cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

fn number(from: &mut Reader) -> Option<u64> {
    from.u64().filter(|number| *number <= NUMBER_MAX)
}

fn id(from: &mut Reader) -> Option<LogId> {
    let (term, index) = (number(from)?, number(from)?);
    Some(LogId::new(term, index))
}

fn flag(from: &mut Reader) -> Option<bool> {
    match from.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn entry(from: &mut Reader) -> Option<Entry> {
    Some(Entry {
        id: id(from)?,
        kind: EntryKind::from_u8(from.u8()?)?,
        base_offset: Offset(from.i64()?),
        record_count: from.u32()?,
        max_timestamp_ms: from.i64()?,
        payload: from.prefixed()?,
    })
}

fn append(from: &mut Reader) -> Option<Append> {
    let term = Term(number(from)?);
    let previous = id(from)?;
    let (commit, floor) = (LogIndex(number(from)?), LogIndex(number(from)?));
    let fenced = flag(from)?;
    let count = usize::try_from(from.u32()?).ok()?;
    if count > from.remaining() / ENTRY_BYTES {
        return None;
    }
    let entries: Vec<Entry> = (0..count).map(|_| entry(from)).collect::<Option<_>>()?;
    let terms_hold = entries
        .iter()
        .all(|entry| entry.id.term <= term && entry.id.index.0 > 0);
    terms_hold.then_some(Append {
        term,
        previous,
        commit,
        floor,
        fenced,
        entries,
    })
}

fn install(from: &mut Reader) -> Option<Request> {
    let term = Term(number(from)?);
    let at = id(from)?;
    let next_offset = Offset(from.i64()?);
    let consensus = from.prefixed()?;
    let data = from.prefixed()?;
    let checkpoint = Checkpoint {
        at,
        next_offset,
        data,
        consensus,
    };
    Some(Request::Install { term, checkpoint })
}

/// A request.
pub(in crate::async_raft) fn envelope(bytes: Bytes) -> Option<Envelope> {
    let mut from = Reader::new(bytes);
    if from.u8()? != Channel::Consensus as u8 || from.u8()? != VERSION {
        return None;
    }
    let kind = from.u8()?;
    let group = GroupId(from.u64()?);
    let (to, sender) = (ReplicaId(from.u64()?), ReplicaId(from.u64()?));
    let request = match kind {
        APPEND => Request::Append(append(&mut from)?),
        VOTE => Request::Vote(Vote {
            term: Term(number(&mut from)?),
            last: id(&mut from)?,
        }),
        PROBE => Request::Probe(Term(number(&mut from)?)),
        READ_INDEX => Request::ReadIndex,
        COMMITTED => Request::Committed {
            term: Term(number(&mut from)?),
            commit: LogIndex(number(&mut from)?),
        },
        INSTALL => install(&mut from)?,
        _ => return None,
    };
    (from.remaining() == 0).then_some(Envelope {
        group,
        to,
        from: sender,
        request,
    })
}

/// An answer to an append or an install.
pub(in crate::async_raft) fn append_answer(bytes: Bytes) -> Option<AppendAnswer> {
    let mut from = Reader::new(bytes);
    let (term, success, confirmed) = (
        Term(number(&mut from)?),
        flag(&mut from)?,
        LogIndex(number(&mut from)?),
    );
    let (has_conflict, conflict) = (flag(&mut from)?, id(&mut from)?);
    (from.remaining() == 0).then_some(AppendAnswer {
        term,
        success,
        confirmed,
        conflict: has_conflict.then_some(conflict),
    })
}

/// An answer to a vote.
pub(in crate::async_raft) fn vote_answer(bytes: Bytes) -> Option<VoteAnswer> {
    let mut from = Reader::new(bytes);
    let (term, granted) = (Term(number(&mut from)?), flag(&mut from)?);
    (from.remaining() == 0).then_some(VoteAnswer { term, granted })
}

/// A number.
pub(in crate::async_raft) fn number_answer(bytes: Bytes) -> Option<u64> {
    let mut from = Reader::new(bytes);
    let number = number(&mut from)?;
    (from.remaining() == 0).then_some(number)
}

/// An answer to a read: the inner `None` from a replica that does not lead.
pub(in crate::async_raft) fn read_answer(bytes: Bytes) -> Option<Option<LogIndex>> {
    let mut from = Reader::new(bytes);
    let (leads, index) = (flag(&mut from)?, LogIndex(number(&mut from)?));
    (from.remaining() == 0).then_some(leads.then_some(index))
}
