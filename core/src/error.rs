//! Errors of the contracts, sorted by what the caller does about them.

use crate::fs::FsError;
use crate::ids::{GroupId, LogIndex, Term};
use std::fmt;
use std::sync::Arc;

/// What a caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same call may succeed later.
    Retry,
    /// Another place has what was asked for.
    Redirect,
    /// The call was wrong and will stay wrong.
    CallerBug,
    /// Stored bytes are not what was written; a replica heals from its peers.
    Corrupt,
    /// This store can no longer promise anything; the process must end.
    Fatal,
}

/// What a [`LogStore`](crate::LogStore) answers when it cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// The entries do not continue the log. Nothing was changed.
    OutOfOrder {
        /// The index that the log takes next.
        expected: LogIndex,
        /// The index that was offered.
        got: LogIndex,
    },
    /// An entry's term is below the last entry's, or a hard state's below the stored one. Nothing was changed.
    TermRegression {
        /// The term that stands.
        current: Term,
        /// The term that was offered.
        got: Term,
    },
    /// The offsets of the entries do not continue the log's. Nothing was changed.
    OffsetMismatch {
        /// The offset that the log takes next.
        expected: i64,
        /// The offset that was offered.
        got: i64,
    },
    /// One entry or checkpoint is larger than the store takes. Nothing was changed.
    TooLarge {
        /// The largest payload.
        limit_bytes: u64,
        /// The payload offered.
        got_bytes: u64,
    },
    /// What was asked for is below the start of the log.
    Compacted {
        /// The first index that can be read.
        first: LogIndex,
    },
    /// What was asked for was truncated while it was read, or lies above the end of the log.
    Truncated,
    /// The disk is full. Nothing was acknowledged; what is stored stays readable; a later call may succeed.
    Full,
    /// There is no such group.
    NoGroup(GroupId),
    /// The group is open already; a group has one writer.
    GroupBusy(GroupId),
    /// Another process, or another store in this one, holds the directory.
    Locked(String),
    /// Stored bytes are damaged: not a torn tail, but something that had been durable.
    Damaged(Arc<Damage>),
    /// The directory was written by a newer format.
    UnsupportedFormat(String),
    /// A read failed; what is stored may be intact.
    Io(FsError),
    /// An earlier write or sync failed; nothing will be acknowledged any more.
    Poisoned(Arc<str>),
    /// The store or the group was closed. Whether a waiting write became durable is unknown.
    Closed,
}

/// Where stored bytes are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the data directory.
    pub file: String,
    /// The first damaged byte.
    pub from_byte: u64,
    /// The byte after the last damaged one.
    pub to_byte: u64,
    /// The group whose data it is, where that is known.
    pub group: Option<GroupId>,
    /// What is wrong.
    pub reason: String,
}

impl LogError {
    /// What the caller does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::OutOfOrder { .. }
            | Self::TermRegression { .. }
            | Self::OffsetMismatch { .. }
            | Self::TooLarge { .. }
            | Self::NoGroup(_)
            | Self::GroupBusy(_) => ErrorClass::CallerBug,
            Self::Compacted { .. } | Self::Truncated => ErrorClass::Redirect,
            Self::Full | Self::Io(_) => ErrorClass::Retry,
            Self::Damaged(_) => ErrorClass::Corrupt,
            Self::Locked(_) | Self::UnsupportedFormat(_) | Self::Poisoned(_) | Self::Closed => {
                ErrorClass::Fatal
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {}..{}", self.file, self.from_byte, self.to_byte)?;
        if let Some(group) = self.group {
            write!(f, " (group {group})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { expected, got } => write!(f, "entry index {got} where {expected} is next"),
            Self::TermRegression { current, got } => write!(f, "term {got} after term {current}"),
            Self::OffsetMismatch { expected, got } => write!(f, "base offset {got} where {expected} is next"),
            Self::TooLarge {
                limit_bytes,
                got_bytes,
            } => {
                write!(f, "{got_bytes} bytes where at most {limit_bytes} fit")
            }
            Self::Compacted { first } => write!(f, "the log starts at index {first}"),
            Self::Truncated => write!(f, "the entries were truncated or were never written"),
            Self::Full => write!(f, "the disk is full"),
            Self::NoGroup(group) => write!(f, "no group {group}"),
            Self::GroupBusy(group) => write!(f, "group {group} is open already"),
            Self::Locked(holder) => write!(f, "the data directory is in use: {holder}"),
            Self::Damaged(damage) => write!(f, "damaged: {damage}"),
            Self::UnsupportedFormat(what) => write!(f, "unsupported format: {what}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Poisoned(cause) => write!(f, "the store is poisoned: {cause}"),
            Self::Closed => write!(f, "closed"),
        }
    }
}

impl std::error::Error for LogError {}
