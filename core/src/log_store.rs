//! The contract of a node's log store: many groups in one directory, durable together.
//!
//! Clauses (`LS-...`) stand in `docs/contract/log-store.md`. The store is one per data directory
//! ([`LogStore`]); an open group has one writer ([`LogWriter`]) and any number of readers ([`LogReader`]).

use crate::entry::{Entry, EntryKind, EntryMeta};
use crate::error::LogError;
use crate::ids::{GroupId, LogId, LogIndex, Offset, ReplicaId, Term};
use crate::ticket::Ticket;
use crate::{BoxFuture, watch::Watch};
use bytes::Bytes;
use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

/// How a group's data is laid out; a change takes effect with the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPolicy {
    /// A segment takes no further entry once it holds this many bytes of entries; every replica of a group cuts
    /// at the same entries, because the rule looks at nothing but the entries.
    pub segment_bytes: u64,
}

/// The term and the vote of a replica. Durable before anything that depends on it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
}

/// The state of a group's state machine as of one entry: what a replica needs that starts after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that the state covers.
    pub at: LogId,
    /// The Kafka offset after that entry.
    pub next_offset: Offset,
    /// The state, opaque to a store.
    pub data: Bytes,
    /// The consensus engine's part (the membership as of `at`), opaque to a store and to the state machine. Who
    /// asks an engine to store a checkpoint leaves it empty; the engine fills it in.
    pub consensus: Bytes,
}

/// How far a group's prefix may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// The last entry that consensus does not need any more; its term is kept (LS-TRN-05). Beyond the end of
    /// the log only where a checkpoint of exactly this id is stored: the log is then empty after it (LS-TRN-07).
    pub through: LogId,
    /// The first Kafka offset that stays readable. Data is dropped where both this and `through` allow it.
    pub offset_start: Offset,
}

/// Where a group's log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The last purged entry; index 0 where nothing was purged.
    pub purged: LogId,
    /// The last entry, or `purged` where the log is empty.
    pub last: LogId,
    /// The last entry that is durable; falls with a truncation.
    pub durable: LogIndex,
    /// The first Kafka offset that is readable.
    pub offset_start: Offset,
    /// The Kafka offset that the next record gets.
    pub offset_end: Offset,
    /// Term and vote.
    pub hard_state: HardState,
    /// A lower bound of the commit index, persisted lazily; survives a restart as far as it was durable.
    pub commit_hint: LogIndex,
    /// Bytes of entries that are readable.
    pub size_bytes: u64,
}

impl LogState {
    /// The first index that can be read by index.
    #[must_use]
    pub fn index_start(&self) -> LogIndex {
        self.purged.index.next()
    }
}

/// A read that is answered from memory, or one that needs the disk (or the object store) first.
pub enum Read<T> {
    /// The answer.
    Ready(T),
    /// The answer, later. Dropping the future leaves the store usable (LS-READ-08).
    Pending(BoxFuture<'static, Result<T, LogError>>),
}

impl<T> Read<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// What the pending read failed with.
    pub async fn get(self) -> Result<T, LogError> {
        match self {
            Self::Ready(value) => Ok(value),
            Self::Pending(later) => later.await,
        }
    }
}

impl<T: Debug> Debug for Read<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(value) => f.debug_tuple("Ready").field(value).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// What to look for in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeQuery {
    /// The first data entry whose largest timestamp is at or after this many milliseconds.
    AtOrAfter(i64),
    /// The first data entry that holds the largest timestamp.
    Maximum,
}

/// A part of the log that takes no further entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its first entry.
    pub first: LogId,
    /// Its last entry.
    pub last: LogId,
    /// The Kafka offsets in it.
    pub offsets: Range<Offset>,
    /// The largest record timestamp, or -1.
    pub max_timestamp_ms: i64,
    /// Bytes of entries.
    pub size_bytes: u64,
    /// False for the segment that still takes entries.
    pub sealed: bool,
}

/// Whether the store still works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Working,
    /// Space is short: appends answer [`LogError::Full`], hard state still has its reserve.
    Full,
    /// A write or sync failed. Nothing is acknowledged any more; the process must end (LS-DUR-11).
    Poisoned(Arc<str>),
}

/// A group that has been opened.
#[derive(Debug)]
pub struct GroupLog {
    /// The one writer.
    pub writer: Box<dyn LogWriter>,
    /// A reader; clone the `Arc` for more.
    pub reader: Arc<dyn LogReader>,
}

/// A node's store of logs.
pub trait LogStore: Send + Sync + Debug {
    /// Opens a group, creating it where there is none (the creation is durable with the group's first ticket).
    ///
    /// # Guarantees
    /// - LS-BAS-01: a new group is empty; reads of it are empty answers, not errors.
    /// - LS-DUR-02: after a crash the log is what was acknowledged, followed by zero or more entries that were
    ///   appended and not acknowledged, in order, without a hole.
    /// - LS-DUR-09: damage inside the acknowledged area is [`LogError::Damaged`], never wrong bytes and never a
    ///   shorter log.
    /// # Errors
    /// [`LogError::GroupBusy`], [`LogError::Damaged`], [`LogError::Io`], [`LogError::Poisoned`].
    fn open_group(&self, group: GroupId, policy: SegmentPolicy) -> Result<GroupLog, LogError>;

    /// Removes a group and its data; it must not be open. Resolves when the removal survives a crash; space
    /// returns later.
    ///
    /// # Errors
    /// [`LogError::NoGroup`], [`LogError::GroupBusy`], [`LogError::Poisoned`].
    fn remove_group(&self, group: GroupId) -> Result<Ticket, LogError>;

    /// The groups that exist, sorted.
    fn groups(&self) -> Vec<GroupId>;

    /// Whether the store works; changes are seen by those who wait.
    fn health(&self) -> Watch<StoreHealth>;

    /// Syncs what was appended and releases the directory (LS-OPS-01). Later calls answer [`LogError::Closed`].
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    fn close(&self) -> Result<(), LogError>;
}

/// The writing side of one group. Calls do not block on the disk; durability arrives by tickets, which resolve
/// in the order of the calls (LS-DUR-03).
pub trait LogWriter: Send + Debug {
    /// Appends entries; they are readable when the call returns (LS-READ-01) and durable when the ticket
    /// resolves (LS-DUR-01).
    ///
    /// # Guarantees
    /// - LS-BAS-04, LS-BAS-05, LS-BAS-06: entries continue the log by index, term and offset, or nothing changes.
    /// - LS-BAS-07: appending nothing changes nothing.
    /// - LS-BAS-08: payloads are opaque; one that is too large is refused whole.
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::TermRegression`], [`LogError::OffsetMismatch`],
    /// [`LogError::TooLarge`], [`LogError::Full`], [`LogError::Poisoned`], [`LogError::Closed`].
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError>;

    /// Removes the entries from `from` on. One past the end is a no-op (LS-TRN-02).
    ///
    /// # Guarantees
    /// - LS-TRN-01: entries before `from` stay as they are; the next offset is that of the first removed entry.
    /// - LS-DUR-06: once the ticket resolved, the removed entries never come back.
    /// - LS-READ-05: bytes that readers hold stay as they were.
    /// # Errors
    /// [`LogError::Compacted`] at or below the purge point, [`LogError::OutOfOrder`] past the end.
    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError>;

    /// Moves the start of the log; never back (LS-TRN-06).
    ///
    /// # Guarantees
    /// - LS-DUR-07: after a crash the log starts at the old or the new start, and is contiguous.
    /// - LS-TRN-05: the term of `through` stays known.
    /// # Errors
    /// [`LogError::OutOfOrder`] beyond the end without a checkpoint, [`LogError::Poisoned`].
    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError>;

    /// Stores term and vote, atomically, before later writes (LS-DUR-04, LS-DUR-05). Works when the disk is full.
    ///
    /// # Errors
    /// [`LogError::TermRegression`], [`LogError::Poisoned`].
    fn save_hard_state(&mut self, state: HardState) -> Result<Ticket, LogError>;

    /// Stores a checkpoint beside the log; both of its parts together are bounded as one payload is. The newest at or below the purge point and all above it are kept.
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::Full`], [`LogError::Poisoned`].
    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Ticket, LogError>;

    /// Notes how far entries are known to be committed; persisted with a later write, never on its own account.
    fn commit_hint(&mut self, index: LogIndex);

    /// Ends the active segment after the last entry where `now` is set, and sets the policy of later ones. An
    /// empty active segment is not ended.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], [`LogError::Closed`].
    fn roll(&mut self, policy: SegmentPolicy, now: bool) -> Result<(), LogError>;

    /// Makes sure that `bytes` more of entries of `kind` fit, so that a proposal is refused before it is admitted and
    /// not after. A store may keep space from records that it gives to others: a command may be what frees some.
    ///
    /// # Errors
    /// [`LogError::Full`], [`LogError::Poisoned`].
    fn reserve(&mut self, kind: EntryKind, bytes: u64) -> Result<(), LogError>;

    /// Says whether readers are expected of what is appended from now on, as at a leader; they are until somebody says
    /// no. It changes no answer: a store may leave less of it in memory.
    fn expect_readers(&mut self, expected: bool) {
        let _ = expected;
    }
}

/// The reading side of one group. Readers run beside the writer and see at each call the log as it stood at one
/// instant inside the call (LS-READ-04).
pub trait LogReader: Send + Sync + Debug {
    /// Where the log stands. Never touches the disk.
    fn state(&self) -> LogState;

    /// The term of the entry at `index`, from the purge point to the last entry. Never touches the disk.
    ///
    /// # Errors
    /// [`LogError::Compacted`] below the purge point, [`LogError::Truncated`] above the end.
    fn term_at(&self, index: LogIndex) -> Result<Term, LogError>;

    /// Entries of a half-open range, clipped at the end of the log (LS-READ-02): a contiguous run from its start,
    /// at least one where there is one, and no more than `max_bytes` of payload beyond that (LS-READ-03).
    ///
    /// # Errors
    /// [`LogError::Compacted`] where the range starts below the log; [`LogError::Damaged`]; [`LogError::Io`].
    fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError>;

    /// Data entries that overlap the half-open range of offsets, from the entry that holds its start on, with the
    /// same bounds as [`LogReader::entries`]. Slices of the log's own bytes: no copy of mapped data (LS-READ-05).
    ///
    /// # Errors
    /// [`LogError::Compacted`] where the range starts below the offset start; [`LogError::Damaged`]; [`LogError::Io`].
    fn read_offsets(&self, offsets: Range<Offset>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError>;

    /// Finds a data entry by time among those that start below `before`.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`].
    fn find_time(&self, query: TimeQuery, before: Offset) -> Result<Read<Option<EntryMeta>>, LogError>;

    /// The largest term at or below `term` that has data entries, and the offset after its last data entry
    /// (Kafka: OffsetForLeaderEpoch). Never touches the disk.
    fn end_of_term(&self, term: Term) -> Option<(Term, Offset)>;

    /// The newest checkpoint at or below `index`.
    ///
    /// # Errors
    /// [`LogError::Damaged`], [`LogError::Io`].
    fn checkpoint(&self, index: LogIndex) -> Result<Option<Checkpoint>, LogError>;

    /// The segments, oldest first; the last is the active one where it has entries.
    fn segments(&self) -> Vec<SegmentInfo>;
}

/// Whether `entry` may follow a log that stands at `state`: the checks that every store makes before it changes
/// anything (LS-BAS-04 to LS-BAS-06).
///
/// # Errors
/// [`LogError::OutOfOrder`], [`LogError::TermRegression`], [`LogError::OffsetMismatch`].
pub fn check_follows(last: LogId, offset_end: Offset, entry: &Entry) -> Result<(), LogError> {
    if entry.id.index != last.index.next() {
        return Err(LogError::OutOfOrder {
            expected: last.index.next(),
            got: entry.id.index,
        });
    }
    if entry.id.term < last.term {
        return Err(LogError::TermRegression {
            current: last.term,
            got: entry.id.term,
        });
    }
    let counted = (entry.kind == EntryKind::Data) == (entry.record_count > 0);
    if entry.base_offset != offset_end
        || !counted
        || entry.base_offset.checked_add(entry.record_count).is_none()
    {
        return Err(LogError::OffsetMismatch {
            expected: offset_end.0,
            got: entry.base_offset.0,
        });
    }
    Ok(())
}
