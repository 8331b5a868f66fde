//! The log behind one partition of `__consumer_offsets`, as far as the coordinator needs it.

use bytes::{Bytes, BytesMut};
use chronik_core::{BoxFuture, Offset, Watch};
use std::fmt;

/// What this node is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRole {
    /// It may not append.
    Follower,
    /// It leads, and everything that was committed under earlier leaders is committed here and can be read.
    Leader {
        /// Greater for every time that a node becomes the leader.
        epoch: u64,
    },
    /// The log is not on this node any more.
    Closed,
}

/// Why a batch was not appended, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// Not appended: this node does not lead in that epoch.
    NotLeader,
    /// Not appended: the log cannot take it now (disk full, overloaded, too few replicas).
    Unavailable,
    /// Not appended: the batch is larger than the log takes.
    TooLarge,
    /// Nobody knows.
    Unknown,
}

/// Why the log could not be read or shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLogError(pub String);

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "not the leader",
            Self::Unavailable => "the log cannot take it now",
            Self::TooLarge => "the batch is too large",
            Self::Unknown => "the outcome is unknown",
        })
    }
}

impl std::error::Error for AppendError {}

impl fmt::Display for StateLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StateLogError {}

/// One partition's log.
///
/// The coordinator of the leader's epoch is its only writer. An implementation must not call back into the coordinator from
/// within these methods.
pub trait StateLog: Send + Sync + fmt::Debug {
    /// What this node is to the log, now and later.
    fn role(&self) -> Watch<LogRole>;

    /// Appends one record batch. It takes its place in the log when this is called, behind every batch that was passed
    /// before, whether or not the future is polled.
    ///
    /// The future resolves once the batch is committed and can be read, with the offset of its first record. Dropping it
    /// cancels nothing.
    ///
    /// # Errors
    /// See [`AppendError`]. A batch that is appended in another epoch than `epoch` is refused.
    fn append(&self, epoch: u64, batch: BytesMut) -> BoxFuture<'static, Result<Offset, AppendError>>;

    /// The offset of the first record that can be read.
    fn start(&self) -> Offset;

    /// The offset after the last committed record.
    fn end(&self) -> Offset;

    /// Committed batches from the one that holds the record at `from` on: about `max_bytes` of them, at least one if there
    /// is one. Every slice holds whole batches.
    ///
    /// # Errors
    /// The log could not be read.
    fn read(&self, from: Offset, max_bytes: usize) -> BoxFuture<'_, Result<Vec<Bytes>, StateLogError>>;

    /// Removes the records before the offset, at once or later, wholly or as far as is practical.
    ///
    /// # Errors
    /// They could not be removed.
    fn delete_before(&self, offset: Offset) -> BoxFuture<'_, Result<(), StateLogError>>;
}
