//! Step 4: consumers get slices of the log's own bytes.

use bytes::Bytes;
use chronik_core::{Entry, LogError, Offset};

use crate::kafka::record::BatchView;

use super::epochs::EpochEnd;
use super::error::PartitionError;
use super::notify::View;
use super::open::Partition;
use super::stamp::term_of;

/// Which records a consumer may see (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All that are committed to the log.
    ReadUncommitted,
    /// Those of which every transaction is decided.
    ReadCommitted,
}

/// What a consumer asks of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchQuery {
    /// The first offset that is wanted.
    pub offset: i64,
    /// The most bytes of records.
    pub max_bytes: u64,
    /// Whether the first batch is returned whole even if it alone is larger than `max_bytes`, so that a consumer
    /// never stands still (KIP-74).
    pub min_one_batch: bool,
    /// Which records may be seen.
    pub isolation: Isolation,
    /// The leader epoch that the consumer knows, if it sent one (KIP-320).
    pub leader_epoch: Option<i32>,
    /// The epoch of the last batch that the consumer has, if it sent one (KIP-595).
    pub last_fetched_epoch: Option<i32>,
    /// Whether a follower may answer (KIP-392); otherwise only the leader does.
    pub follower_read: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Record batches in order, the first of which contains the offset; empty if there is none yet. Slices of the
    /// log: keep them no longer than the answer takes to be written.
    pub records: Vec<Bytes>,
    /// The sum of the slices' lengths.
    pub size_bytes: u64,
    /// The offset after the last committed record.
    pub high_watermark: i64,
    /// The offset after the last record of which every transaction is decided.
    pub last_stable_offset: i64,
    /// The first offset that is served.
    pub log_start_offset: i64,
    /// Set if the consumer's last epoch ends before its offset: it must truncate to there. There are no records then.
    pub diverging: Option<EpochEnd>,
}

impl FetchQuery {
    /// The offset before which this consumer may read.
    fn end(&self, view: &View) -> Offset {
        match self.isolation {
            Isolation::ReadUncommitted => view.high_watermark,
            Isolation::ReadCommitted => view.last_stable_offset,
        }
    }
}

impl Partition {
    /// Reads what is there; waiting for more is the caller's part, by [`Partition::subscribe`].
    ///
    /// # Errors
    /// `OffsetOutOfRange` below the log start and above the end of the log; an offset between the high watermark and
    /// the end of the log is not one: there is only nothing to read yet. On a follower `OffsetNotAvailable` above the
    /// end of its log, because the leader's may be longer; `NotLeader` on a leader that was deposed and learns it now.
    pub async fn fetch(&self, query: FetchQuery) -> Result<Fetched, PartitionError> {
        let view = self.readable_view(query.leader_epoch, query.follower_read)?;
        let mut fetched = Fetched {
            records: Vec::new(),
            size_bytes: 0,
            high_watermark: view.high_watermark.0,
            last_stable_offset: view.last_stable_offset.0,
            log_start_offset: view.log_start.0,
            diverging: None,
        };
        if let Some(epoch) = query.last_fetched_epoch {
            fetched.diverging = self.diverging(epoch, query.offset, &view);
            if fetched.diverging.is_some() {
                return Ok(fetched);
            }
        }
        if query.offset < view.log_start.0 {
            return Err(PartitionError::OffsetOutOfRange);
        }
        if query.offset > self.log_end() {
            return Err(self.beyond_the_end(&view).await);
        }
        let end = query.end(&view);
        if query.offset >= end.0 || (query.max_bytes == 0 && !query.min_one_batch) {
            return Ok(fetched);
        }
        let entries = self.read(Offset(query.offset)..end, query.max_bytes).await?;
        fetched.take(&entries, &query)?;
        Ok(fetched)
    }

    /// What a consumer is told that asks beyond the end of this replica's log.
    async fn beyond_the_end(&self, view: &View) -> PartitionError {
        if !view.serving {
            return PartitionError::OffsetNotAvailable;
        }
        match term_of(view.leader_epoch) {
            Some(term) => self.confirmed(PartitionError::OffsetOutOfRange, term).await,
            None => PartitionError::NotLeader { leader: None },
        }
    }

    /// Reads data entries from the log.
    pub(super) async fn read(
        &self,
        offsets: std::ops::Range<Offset>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, PartitionError> {
        // The start of the log may have moved since the caller looked.
        let moved = |error| match error {
            LogError::Compacted { .. } => PartitionError::OffsetOutOfRange,
            other => PartitionError::Storage(other),
        };
        let read = match self.log().read_offsets(offsets, max_bytes) {
            Ok(read) => read.get().await,
            Err(error) => Err(error),
        };
        self.check_not_deleted()?;
        read.map_err(moved)
    }
}

impl Fetched {
    /// Takes whole batches from the one that contains the offset on, as far as the size allows.
    fn take(&mut self, entries: &[Entry], query: &FetchQuery) -> Result<(), PartitionError> {
        for entry in entries {
            let mut payload = entry.payload.clone();
            if entry.base_offset.0 < query.offset {
                payload = from_offset(payload, query.offset)?;
            }
            let left = query.max_bytes - self.size_bytes.min(query.max_bytes);
            let whole = payload.len() as u64 <= left;
            if !whole {
                let must = query.min_one_batch && self.records.is_empty();
                payload = fitting(payload, left, must)?;
            }
            if !payload.is_empty() {
                self.size_bytes += payload.len() as u64;
                self.records.push(payload);
            }
            if !whole {
                break;
            }
        }
        Ok(())
    }
}

/// Drops the batches of an entry that end before `offset`.
fn from_offset(payload: Bytes, offset: i64) -> Result<Bytes, PartitionError> {
    let mut start = 0;
    while let Some(rest) = payload.get(start..).filter(|rest| !rest.is_empty()) {
        let batch = BatchView::parse(rest).map_err(damaged)?;
        if batch.last_offset() >= offset {
            break;
        }
        start += batch.size();
    }
    Ok(payload.slice(start..))
}

/// The batches at the front of an entry that fit into `max_bytes`; the first one in any case if it `must` be there.
fn fitting(payload: Bytes, max_bytes: u64, must: bool) -> Result<Bytes, PartitionError> {
    let mut end = 0;
    while let Some(rest) = payload.get(end..).filter(|rest| !rest.is_empty()) {
        let size = BatchView::parse(rest).map_err(damaged)?.size();
        let fits = (end + size) as u64 <= max_bytes;
        let may_exceed = must && end == 0;
        if !fits && !may_exceed {
            break;
        }
        end += size;
    }
    Ok(payload.slice(..end))
}

/// An entry that was validated when it was appended does not parse any more.
pub(super) fn damaged(error: impl std::fmt::Display) -> PartitionError {
    PartitionError::Unreadable(format!("an entry of the log cannot be read: {error}").into())
}
