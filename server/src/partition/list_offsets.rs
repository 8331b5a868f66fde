//! Questions about offsets: ends of the log, and records by time, found inside of batches.

use chronik_core::log_store::TimeQuery;
use chronik_core::{Entry, Offset};

use crate::kafka::record::batch::Batches;
use crate::kafka::record::time_lookup::{find_by_time, find_greatest};

use super::error::PartitionError;
use super::fetch::{Isolation, damaged};
use super::notify::View;
use super::open::Partition;

/// The bytes that a scan reads at a time.
const SCAN_BYTES: u64 = 1 << 20;

/// What ListOffsets asks for, by its special timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The end, as the isolation shows it (-1).
    Latest,
    /// The first offset (-2).
    Earliest,
    /// The record with the greatest timestamp (-3, KIP-734).
    MaxTimestamp,
    /// The first offset on this node's own disk (-4, KIP-405).
    EarliestLocal,
    /// The last offset in the object tier (-5, KIP-1005).
    LatestTiered,
    /// The first offset that waits for the object tier (-6, KIP-1023).
    EarliestPendingUpload,
    /// The first record at or after this time in milliseconds.
    AtOrAfter(i64),
}

impl OffsetQuery {
    /// The meaning of the request's timestamp, none for a number that has no meaning.
    pub const fn from_timestamp(timestamp: i64) -> Option<Self> {
        match timestamp {
            -1 => Some(Self::Latest),
            -2 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            -4 => Some(Self::EarliestLocal),
            -5 => Some(Self::LatestTiered),
            -6 => Some(Self::EarliestPendingUpload),
            0.. => Some(Self::AtOrAfter(timestamp)),
            _ => None,
        }
    }
}

/// The answer. All fields are -1 if there is no such record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: i64,
    /// The record's timestamp in milliseconds, -1 for an offset that was not found by time.
    pub timestamp_ms: i64,
    /// The leader epoch of the offset, -1 if it is not known.
    pub leader_epoch: i32,
}

impl FoundOffset {
    /// There is no such record.
    pub const NONE: Self = Self {
        offset: -1,
        timestamp_ms: -1,
        leader_epoch: -1,
    };
}

impl Partition {
    /// Answers one question. `client_epoch` is the leader epoch that the client knows.
    ///
    /// # Errors
    /// `NotLeader`, `FencedLeaderEpoch`, `UnknownLeaderEpoch`; `Storage` and `Unreadable`.
    pub async fn list_offsets(
        &self,
        query: OffsetQuery,
        isolation: Isolation,
        client_epoch: Option<i32>,
    ) -> Result<FoundOffset, PartitionError> {
        let view = self.serving_view(client_epoch)?;
        let end = match isolation {
            Isolation::ReadUncommitted => view.high_watermark,
            Isolation::ReadCommitted => view.last_stable_offset,
        };
        let place = |offset: Offset, leader_epoch| FoundOffset {
            offset: offset.0,
            timestamp_ms: -1,
            leader_epoch,
        };
        match query {
            OffsetQuery::Latest => Ok(place(end, view.leader_epoch)),
            OffsetQuery::Earliest => Ok(place(view.log_start, self.epoch_at(view.log_start, &view))),
            OffsetQuery::EarliestLocal => {
                let local = view.log_start.max(self.reader.state().offset_start);
                Ok(place(local, self.epoch_at(local, &view)))
            }
            OffsetQuery::LatestTiered => Ok(self.latest_tiered().map_or(FoundOffset::NONE, |offset| {
                place(offset, self.epoch_at(offset, &view))
            })),
            OffsetQuery::EarliestPendingUpload => {
                Ok(self.earliest_pending(&view).map_or(FoundOffset::NONE, |offset| {
                    place(offset, self.epoch_at(offset, &view))
                }))
            }
            OffsetQuery::MaxTimestamp => self.find_time(TimeQuery::Maximum, &view, end).await,
            OffsetQuery::AtOrAfter(time) => self.find_time(TimeQuery::AtOrAfter(time), &view, end).await,
        }
    }

    /// Finds a record by time: the store finds the entry, its batches tell the record.
    async fn find_time(
        &self,
        query: TimeQuery,
        view: &View,
        end: Offset,
    ) -> Result<FoundOffset, PartitionError> {
        let found = match self.log().find_time(query, end) {
            Ok(read) => read.get().await,
            Err(error) => Err(error),
        };
        self.check_not_deleted()?;
        let Some(meta) = found? else {
            return Ok(FoundOffset::NONE);
        };
        if meta.max_timestamp_ms < 0 {
            return Ok(FoundOffset::NONE);
        }
        let from = meta.base_offset.max(view.log_start);
        if meta.base_offset >= view.log_start {
            let entries = self.read(from..meta.end_offset(), 0).await?;
            if let Some(found) = search(&entries, query, from)? {
                return Ok(found);
            }
        }
        // The entry lies in part below the log start, which can cut off the very record. Rare enough for a scan.
        self.scan(query, view.log_start, end).await
    }

    /// Looks at every record from `from` to `end`.
    async fn scan(&self, query: TimeQuery, from: Offset, end: Offset) -> Result<FoundOffset, PartitionError> {
        let mut best: Option<FoundOffset> = None;
        let mut next = from;
        while next < end {
            let entries = self.read(next..end, SCAN_BYTES).await?;
            let Some(last) = entries.last() else {
                break;
            };
            next = last.end_offset();
            let Some(found) = search(&entries, query, from)? else {
                continue;
            };
            if matches!(query, TimeQuery::AtOrAfter(_)) {
                return Ok(found);
            }
            if best.is_none_or(|best| found.timestamp_ms > best.timestamp_ms) {
                best = Some(found);
            }
        }
        Ok(best.unwrap_or(FoundOffset::NONE))
    }
}

/// The first record of these entries at or after `from` that the query means.
fn search(entries: &[Entry], query: TimeQuery, from: Offset) -> Result<Option<FoundOffset>, PartitionError> {
    let mut best: Option<FoundOffset> = None;
    for batch in entries.iter().flat_map(|entry| Batches::new(&entry.payload)) {
        let batch = batch.map_err(damaged)?;
        let found = match query {
            TimeQuery::AtOrAfter(time) => find_by_time(&batch, time, from.0),
            TimeQuery::Maximum => find_greatest(&batch, from.0),
        };
        let Some(found) = found.map_err(damaged)? else {
            continue;
        };
        if best.is_none_or(|best| found.timestamp_ms > best.timestamp_ms) {
            let (offset, timestamp_ms) = (found.offset, found.timestamp_ms);
            best = Some(FoundOffset {
                offset,
                timestamp_ms,
                leader_epoch: batch.leader_epoch(),
            });
        }
        if matches!(query, TimeQuery::AtOrAfter(_)) {
            return Ok(best);
        }
    }
    Ok(best)
}
