//! Deletes what nothing refers to: uploads that did not come to their end, and what a cluster left that lost the bucket.
//!
//! An object goes that nothing referred to in two looks in a row, so that readers of an older manifest have the time
//! between them, and only if it starts before the end of what is in the tier: what is added starts at that end, which
//! never moves back, so that no leader, of the past or to come, can refer to it again. The leader looks, under its
//! manifest: whoever lost the bucket deletes nothing. Nor does anybody where a manifest was put aside because it could not be
//! read: what it named may still be wanted.

use crate::bucket::{Bucket, StoreErrorKind, Want};
use crate::error::TierError;
use crate::key::{PartitionKey, SegmentKey};
use crate::manifest::{Publisher, is_set_aside};
use crate::metrics::TierMetrics;
use crate::offline::{Finding, ScrubReport, scrub};
use crate::state::TierState;
use chronik_core::Env;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The first look comes after this part of the interval, so that a node which starts is not busy with it.
const FIRST_PART: u32 = 24;

/// The looks at one partition by its leader.
#[derive(Debug)]
pub struct OrphanSweep {
    interval: Duration,
    due: Duration,
    /// The orphans of the last look.
    seen: BTreeSet<Arc<str>>,
}

impl OrphanSweep {
    /// Looks every so often; `now` is the monotonic time.
    #[must_use]
    pub fn new(interval: Duration, now: Duration) -> Self {
        Self {
            interval,
            due: now + interval / FIRST_PART,
            seen: BTreeSet::new(),
        }
    }

    /// Looks, if it is time, and deletes what is due. Returns what was found; none where it is not time. `state` is the
    /// applied state of the leader, which `publisher` published.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where another owner writes; [`TierError::Store`]. The next look is an interval later.
    pub async fn round(
        &mut self,
        (bucket, env): (&dyn Bucket, &Env),
        partition: PartitionKey,
        state: &TierState,
        publisher: &mut Publisher,
        metrics: &TierMetrics,
    ) -> Result<Option<ScrubReport>, TierError> {
        let now = env.clock.now();
        if now < self.due {
            return Ok(None);
        }
        self.due = now + self.interval;
        let before = std::mem::take(&mut self.seen);
        let found = scrub(bucket, partition, false).await?;
        let mut due = found.clone();
        due.findings.retain(|finding| match finding {
            Finding::Orphan { key, .. } => {
                self.seen.insert(Arc::clone(key));
                before.contains(key)
            }
            _ => false,
        });
        let none = due.findings.is_empty() || is_set_aside(bucket, partition).await?;
        if !none && publisher.is_current(state).await? {
            let age_ms = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
            delete_orphans(bucket, env, &due, state, age_ms, metrics).await?;
        }
        Ok(Some(found))
    }
}

/// Deletes the orphans that are older than `age_ms`, each looked at once more, if no state that follows `state` can refer
/// to them. `state` is an applied state of the partition that was published. Segments that start at its end or later may
/// be on their way to be referenced, and stay; so do objects that are no segments. Returns how many were deleted.
///
/// # Errors
/// [`TierError::Store`].
pub async fn delete_orphans(
    bucket: &dyn Bucket,
    env: &Env,
    report: &ScrubReport,
    state: &TierState,
    age_ms: i64,
    metrics: &TierMetrics,
) -> Result<u64, TierError> {
    let mut deleted = 0;
    for finding in &report.findings {
        let Finding::Orphan { key, modified_ms, .. } = finding else {
            continue;
        };
        if env.clock.wall_ms().saturating_sub(*modified_ms) < age_ms {
            continue;
        }
        // What is no segment is left alone: a page can be referenced again, and of the rest nothing is known.
        let past = key.parse::<SegmentKey>().is_ok_and(|key| state.is_past(&key));
        if !past {
            continue;
        }
        let unchanged = match bucket.get(key, Want::Meta).await {
            Ok(now) => now.meta.modified_ms == *modified_ms,
            Err(error) if error.kind == StoreErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if !unchanged {
            continue;
        }
        bucket.delete(key).await?;
        metrics.segments_deleted.one();
        deleted += 1;
    }
    Ok(deleted)
}
