//! The write path: sealed, committed segments become objects, oldest first.
//!
//! One upload is: encode the segment once to learn its name; write the object; hand back what the caller proposes
//! through the partition's log. A crash or a change of leaders at any place leaves an object that nobody refers to, at
//! most. The same segment gets the same name again, so that a repeated upload replaces it by itself.

mod pace;
mod sink;
mod source;
mod work;

pub use pace::Pace;
pub use work::{Work, lag_bytes, next_work};

use crate::bucket::{Bucket, Condition, StoreErrorKind, Want};
use crate::error::TierError;
use crate::format::{Encoder, Finished};
use crate::key::PartitionKey;
use crate::metrics::TierMetrics;
use crate::state::{SegmentMeta, TierState};
use async_lock::Semaphore;
use bytes::Bytes;
use chronik_core::{Env, LogReader};
use futures_lite::FutureExt;
use futures_lite::future;
use sink::{Keep, Send, Sink};
use source::Source;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An upload that takes longer leaves its place to others, and goes on beside them: the store may not take this one object.
const PATIENCE: Duration = Duration::from_secs(5);

/// How uploads behave; one set a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// Objects up to this size are written by one request, from the pieces that the log handed out.
    pub single_put_bytes_max: u64,
    /// The size of the parts of larger ones.
    pub part_bytes: u64,
    /// The most bytes that are read from the log at a time.
    pub read_bytes: u64,
    /// Uploads at a time. One more goes on beside them that takes long, or failed while others did not.
    pub uploads_max: usize,
    /// Bytes a second, over all uploads.
    pub bytes_per_s_max: u64,
    /// An object of the same name that is older than this gets no companion: it may be about to be deleted.
    pub leftover_ms: i64,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            single_put_bytes_max: 64 << 20,
            part_bytes: 64 << 20,
            read_bytes: 1 << 20,
            uploads_max: 2,
            bytes_per_s_max: u64::MAX,
            leftover_ms: 6 * 3_600_000,
        }
    }
}

/// Uploads segments of all partitions of a node, within the node's limits.
#[derive(Debug)]
pub struct Uploader {
    bucket: Arc<dyn Bucket>,
    env: Env,
    options: UploadOptions,
    slots: Semaphore,
    /// For those that take long, and those that failed while others did not: they keep nobody else waiting.
    late: Semaphore,
    suspects: Mutex<BTreeSet<PartitionKey>>,
    pace: Pace,
    metrics: Arc<TierMetrics>,
}

impl Uploader {
    /// Uploads to `bucket`, which repeats requests itself.
    #[must_use]
    pub fn new(bucket: Arc<dyn Bucket>, env: Env, options: UploadOptions, metrics: Arc<TierMetrics>) -> Self {
        Self {
            bucket,
            slots: Semaphore::new(options.uploads_max.max(1)),
            late: Semaphore::new(1),
            suspects: Mutex::default(),
            pace: Pace::new(env.clone(), options.bytes_per_s_max),
            env,
            options,
            metrics,
        }
    }

    /// Uploads one piece of work. What it returns is to be proposed as [`TierCommand::Add`](crate::TierCommand).
    ///
    /// Cancel safety: dropped, it leaves an object that nobody refers to, at most.
    ///
    /// # Errors
    /// [`TierError::Log`] where the log cannot be read, [`LogError::Compacted`](chronik_core::LogError) above all:
    /// retention was faster; [`TierError::Store`].
    pub async fn upload(
        &self,
        partition: PartitionKey,
        reader: &Arc<dyn LogReader>,
        state: &TierState,
        work: &Work,
    ) -> Result<Arc<SegmentMeta>, TierError> {
        let (slots, suspect) = match self.suspects().contains(&partition) {
            true => (&self.late, true),
            false => (&self.slots, false),
        };
        let slot = slots.acquire().await;
        let before = self.metrics.segments_up.get();
        let mut stored = pin!(self.store(partition, reader, state, work));
        let taking_long = async {
            if suspect {
                return future::pending().await;
            }
            self.env.clock.sleep(PATIENCE).await;
            self.late.acquire().await
        };
        let done = async { Ok(stored.as_mut().await) };
        let result = match done.or(async { Err(taking_long.await) }).await {
            Ok(result) => result,
            Err(_late) => {
                drop(slot);
                stored.await
            }
        };
        let mut suspects = self.suspects();
        if result.is_ok() {
            suspects.remove(&partition);
        } else if self.metrics.segments_up.get() > before {
            // Where nothing at all is taken, it is not this partition's fault.
            suspects.insert(partition);
        }
        drop(suspects);
        result
    }

    fn suspects(&self) -> MutexGuard<'_, BTreeSet<PartitionKey>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn store(
        &self,
        partition: PartitionKey,
        reader: &Arc<dyn LogReader>,
        state: &TierState,
        work: &Work,
    ) -> Result<Arc<SegmentMeta>, TierError> {
        let mut keep = Keep::new(self.options.single_put_bytes_max);
        let finished = self.encode(partition, reader, work, &mut keep).await?;
        let salt = self.salt(partition, state, &finished).await?;
        let segment = SegmentMeta::of(&finished, salt);
        let key = segment.key(partition).to_string();
        match keep.into_body() {
            Some(body) => {
                self.pace.wait(segment.object_bytes).await;
                self.bucket.put(&key, body, Condition::Always).await?;
            }
            None => {
                self.upload_in_parts(&key, partition, reader, work, &finished)
                    .await?
            }
        }
        self.metrics.segments_up.one();
        log::debug!("event=segment_uploaded key={key} bytes={}", segment.object_bytes);
        Ok(Arc::new(segment))
    }

    /// Encodes the segment into a sink.
    async fn encode(
        &self,
        partition: PartitionKey,
        reader: &Arc<dyn LogReader>,
        work: &Work,
        sink: &mut impl Sink,
    ) -> Result<Finished, TierError> {
        let mut source = Source::new(Arc::clone(reader), work, self.options.read_bytes);
        let mut out = Vec::new();
        let mut encoder = Encoder::new(partition, &mut out);
        let broken =
            |error: &dyn std::fmt::Display| TierError::damaged(&format!("segment of {partition}"), error);
        loop {
            let entries = source.next().await?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                encoder.entry(entry, &mut out).map_err(|error| broken(&error))?;
            }
            sink.take(&mut out).await?;
            // A segment that is in memory would be read in one go: others have work, too.
            future::yield_now().await;
        }
        encoder.end_with(work.last).map_err(|error| broken(&error))?;
        let checkpoint = reader.checkpoint(work.last.index)?;
        let checkpoint = checkpoint.filter(|checkpoint| checkpoint.at.index >= work.first);
        let finished = encoder
            .finish(checkpoint, Vec::new(), &mut out)
            .map_err(|error| broken(&error))?;
        sink.take(&mut out).await?;
        if finished.footer.offsets.end != work.offsets.end {
            return Err(broken(&"the log has fewer records than its segment says"));
        }
        Ok(finished)
    }

    /// 0, or a number that makes the name a new one, where an object of the plain name may be about to be deleted.
    async fn salt(
        &self,
        partition: PartitionKey,
        state: &TierState,
        finished: &Finished,
    ) -> Result<u32, TierError> {
        let plain = SegmentMeta::of(finished, 0).key(partition);
        let doomed = state.is_garbage(&plain)
            || match self.bucket.get(&plain.to_string(), Want::Meta).await {
                Ok(found) => {
                    let age_ms = self.env.clock.wall_ms().saturating_sub(found.meta.modified_ms);
                    age_ms > self.options.leftover_ms
                }
                Err(error) if error.kind == StoreErrorKind::NotFound => false,
                Err(error) => return Err(error.into()),
            };
        Ok(match doomed {
            true => (self.env.rng.next_u64() as u32).max(1),
            false => 0,
        })
    }

    /// Encodes a second time, straight into the parts of an object: it is too large to be held.
    async fn upload_in_parts(
        &self,
        key: &str,
        partition: PartitionKey,
        reader: &Arc<dyn LogReader>,
        work: &Work,
        expected: &Finished,
    ) -> Result<(), TierError> {
        let mut send = Send::begin(&*self.bucket, &self.pace, key, self.options.part_bytes).await?;
        let sent = match self.encode(partition, reader, work, &mut send).await {
            Ok(finished) if finished == *expected => send.complete(expected.trailer.object_bytes()).await,
            Ok(_) => Err(TierError::damaged(key, "the log changed while it was uploaded")),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            send.abort().await;
        }
        sent
    }
}

/// The pieces of a body.
type Body = Vec<Bytes>;
