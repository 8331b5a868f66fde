//! Deleting the objects of removed segments: the second of two phases.
//!
//! First a segment leaves the state (the log start moved), and a manifest without it is published. Only when that is a
//! grace period ago, and the bucket still has our manifest, its object is deleted: readers that followed an older
//! manifest have had that long to finish, and no owner but the current one ever deletes.

use crate::bucket::Bucket;
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::manifest::Publisher;
use crate::metrics::TierMetrics;
use crate::state::{TierCommand, TierState};
use chronik_core::Env;
use std::sync::Arc;

/// Objects that one round deletes at most.
const ROUND: usize = 100;

/// Deletes what is not referenced any more.
#[derive(Debug)]
pub struct Collector {
    bucket: Arc<dyn Bucket>,
    env: Env,
    grace_ms: i64,
    metrics: Arc<TierMetrics>,
}

impl Collector {
    /// Deletes objects whose removal was published `grace_ms` ago.
    #[must_use]
    pub fn new(bucket: Arc<dyn Bucket>, env: Env, grace_ms: i64, metrics: Arc<TierMetrics>) -> Self {
        Self {
            bucket,
            env,
            grace_ms,
            metrics,
        }
    }

    /// Deletes what is due. Returns the command that says so; none where nothing was.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where another owner writes; [`TierError::Store`] where nothing could be deleted.
    pub async fn collect(
        &self,
        partition: PartitionKey,
        state: &TierState,
        publisher: &mut Publisher,
    ) -> Result<Option<TierCommand>, TierError> {
        let now_ms = self.env.clock.wall_ms();
        let due = state.garbage().iter().filter(|garbage| {
            let since = garbage.unpublished_since_ms;
            since.is_some_and(|since| now_ms.saturating_sub(since) >= self.grace_ms)
        });
        let due: Vec<_> = due.take(ROUND).collect();
        if due.is_empty() || !publisher.is_current(state).await? {
            return Ok(None);
        }
        let mut segments = Vec::new();
        for garbage in due {
            let segment = &garbage.segment;
            let key = segment.key(partition);
            if state.references(&key) {
                log::error!("event=delete_refused key={key} reason=\"it is referenced\"");
                continue;
            }
            match self.bucket.delete(&key.to_string()).await {
                Ok(()) => segments.push((segment.last, segment.crc, segment.salt)),
                Err(error) if segments.is_empty() => return Err(error.into()),
                Err(error) => {
                    log::warn!("event=delete_failed key={key} error=\"{error}\"");
                    break;
                }
            }
            self.metrics.segments_deleted.one();
        }
        Ok((!segments.is_empty()).then_some(TierCommand::Cleanup { segments }))
    }
}
