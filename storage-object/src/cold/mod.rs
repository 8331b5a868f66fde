//! The read path: entries out of objects, by blocks that are fetched once, checked, and kept for a while.
//!
//! A read finds its segment in the tier's state, its place in the segment by the footer, and takes blocks from memory,
//! from the disk cache, or from the store, in this order. Readers of the same block wait for one request. Who reads on
//! gets larger and larger requests ahead of him, across the end of an object into the next.

mod blocks;
mod disk;
mod fetch;
mod object;
mod scan;
mod streams;

pub use disk::DiskCache;

use crate::bucket::Bucket;
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::metrics::TierMetrics;
use crate::state::SegmentMeta;
use async_lock::Semaphore;
use blocks::Blocks;
use chronik_core::log_store::TimeQuery;
use chronik_core::{Entry, EntryKind, EntryMeta, Env, Offset};
pub(crate) use object::Object;
use object::Objects;
use scan::Scan;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use streams::{Streams, Window};

/// Bytes of a block: what is cached and waited for as one. Whole chunks of the format.
pub(crate) const BLOCK_BYTES: u64 = 1 << 20;
/// How many segments behind the one that is read are looked at for reading ahead.
pub(crate) const SEGMENTS_AHEAD: usize = 8;

/// How cold reads behave; one set a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdOptions {
    /// Bytes of blocks that are kept in memory; seven eighths of them bound what is read ahead of all readers.
    pub memory_bytes: u64,
    /// The most bytes of one request.
    pub request_bytes_max: u64,
    /// Requests at a time.
    pub requests_max: usize,
    /// A request that is not answered after this long gets a second one beside it.
    pub hedge_after: Duration,
}

impl Default for ColdOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            request_bytes_max: 16 << 20,
            requests_max: 8,
            hedge_after: Duration::from_millis(500),
        }
    }
}

/// Reads the objects of all partitions of a node.
#[derive(Debug)]
pub struct ColdReader {
    bucket: Arc<dyn Bucket>,
    env: Env,
    options: ColdOptions,
    disk: Arc<DiskCache>,
    blocks: Arc<Blocks>,
    objects: Objects,
    streams: Streams,
    requests: Semaphore,
    metrics: Arc<TierMetrics>,
}

impl ColdReader {
    /// Reads from `bucket`, which repeats requests itself.
    #[must_use]
    pub fn new(
        bucket: Arc<dyn Bucket>,
        env: Env,
        options: ColdOptions,
        disk: Arc<DiskCache>,
        metrics: Arc<TierMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            bucket,
            env,
            options,
            disk,
            blocks: Arc::new(Blocks::new(options.memory_bytes)),
            objects: Objects::default(),
            streams: Streams::new(&options),
            requests: Semaphore::new(options.requests_max.max(1)),
            metrics,
        })
    }

    /// Blocks that the disk cache could not keep.
    #[must_use]
    pub fn cache_failures(&self) -> u64 {
        self.disk.failures()
    }

    /// Data entries that overlap `offsets`, from the one that holds its start on, out of the first of `segments`,
    /// which holds that start; those after it follow it in the tier. The bounds are those of
    /// [`LogReader::read_offsets`](chronik_core::LogReader::read_offsets).
    ///
    /// # Errors
    /// [`TierError::Damaged`] where the bytes are wrong on every try; [`TierError::Store`].
    pub async fn read(
        self: &Arc<Self>,
        partition: PartitionKey,
        segments: &[Arc<SegmentMeta>],
        offsets: Range<Offset>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, TierError> {
        let Some(segment) = segments.first() else {
            return Ok(Vec::new());
        };
        let object = Object::new(partition, Arc::clone(segment));
        let window = self
            .streams
            .window(partition, offsets.start, self.env.clock.now());
        if offsets.start == segment.offsets.start {
            // The place is known without the footer: both requests leave together.
            let end = if window.blocks > 1 { window.end(0, 0) } else { 1 };
            self.start(&object, 0..end);
        }
        let footer = self.footer(&object).await?;
        let position = footer.point_of_offset(offsets.start).position;
        let wanted = u32::try_from(max_bytes / BLOCK_BYTES).unwrap_or(u32::MAX);
        let together = window.blocks.max(wanted).min(self.streams.request_blocks());
        let mut scan = Scan::new(Arc::clone(self), object, position, together);
        let from = scan.block();
        self.read_ahead(partition, segments, from, &window);
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = scan.next().await? {
            if entry.kind != EntryKind::Data || entry.end_offset() <= offsets.start {
                continue;
            }
            let size = entry.payload.len() as u64;
            let full = !entries.is_empty() && bytes + size > max_bytes;
            if entry.base_offset >= offsets.end || full {
                break;
            }
            bytes += size;
            let enough = bytes >= max_bytes;
            entries.push(entry);
            if enough {
                break;
            }
            if window.blocks > 1 && scan.left_a_block() {
                self.read_ahead(partition, segments, scan.block(), &window);
            }
        }
        if let Some(last) = entries.last() {
            let end = last.end_offset();
            match segments.last().is_some_and(|last| last.offsets.end <= end) {
                // What comes behind is on the local disk.
                true => self.streams.end(window.id),
                false => self
                    .streams
                    .note(window.id, end, scan.block().saturating_sub(from)),
            }
            self.read_ahead(partition, segments, scan.block(), &window);
        }
        Ok(entries)
    }

    /// Finds an entry by time in one segment, among those that start below `before`.
    ///
    /// # Errors
    /// As for [`ColdReader::read`].
    pub async fn find_time(
        self: &Arc<Self>,
        partition: PartitionKey,
        segment: &Arc<SegmentMeta>,
        query: TimeQuery,
        before: Offset,
    ) -> Result<Option<EntryMeta>, TierError> {
        let object = Object::new(partition, Arc::clone(segment));
        let footer = self.footer(&object).await?;
        let whole = before >= segment.offsets.end;
        let (floor, from) = match query {
            TimeQuery::AtOrAfter(time) => (time, footer.point_of_time(time)),
            TimeQuery::Maximum if whole => {
                let maximum = segment.max_timestamp_ms;
                (maximum, footer.point_of_time(maximum))
            }
            TimeQuery::Maximum => (i64::MAX, footer.index.first()),
        };
        let Some(from) = from else {
            return Ok(None);
        };
        let mut scan = Scan::new(Arc::clone(self), object, from.position, 1);
        let mut best: Option<EntryMeta> = None;
        while let Some(entry) = scan.next().await? {
            if entry.base_offset >= before {
                break;
            }
            if entry.kind != EntryKind::Data {
                continue;
            }
            if entry.max_timestamp_ms >= floor {
                return Ok(Some(entry.meta()));
            }
            if best.is_none_or(|best| entry.max_timestamp_ms > best.max_timestamp_ms) {
                best = Some(entry.meta());
            }
        }
        Ok(best.filter(|_| query == TimeQuery::Maximum))
    }

    /// Asks for what a reader that goes on will want.
    fn read_ahead(
        self: &Arc<Self>,
        partition: PartitionKey,
        segments: &[Arc<SegmentMeta>],
        block: u32,
        window: &Window,
    ) {
        if window.blocks <= 1 {
            return;
        }
        let (mut from, mut used) = (block, 0);
        for segment in segments {
            let object = Object::new(partition, Arc::clone(segment));
            let end = window.end(from, used);
            self.start(&object, from..end);
            if end <= object.blocks() {
                break;
            }
            used += object.blocks().saturating_sub(from);
            from = 0;
        }
    }
}
