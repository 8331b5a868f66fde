//! The object tier of a node, which its partitions share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronik_core::Env;
use chronik_storage_object::{Bucket, Claim, ColdReader, Collector, TierError, TierMetrics, Uploader};

/// What a node's tier is made of.
#[derive(Debug)]
pub struct NodeTierParts {
    /// The bucket; it repeats requests itself.
    pub bucket: Arc<dyn Bucket>,
    /// Time and randomness.
    pub env: Env,
    /// The cluster that owns the bucket.
    pub cluster_id: Arc<str>,
    /// What uploads.
    pub uploader: Uploader,
    /// What reads.
    pub cold: Arc<ColdReader>,
    /// What deletes.
    pub collector: Collector,
    /// What was done.
    pub metrics: Arc<TierMetrics>,
    /// How often a partition's leader looks for what nothing refers to.
    pub scrub_interval: Duration,
}

/// The object tier of a node, shared by its partitions.
#[derive(Debug)]
pub struct NodeTier {
    parts: NodeTierParts,
    /// The claim, and when it was read.
    claim: Mutex<Option<(Claim, Duration)>>,
    /// Held while the claim is read: whoever comes meanwhile takes that answer.
    reading: async_lock::Mutex<()>,
    failures: AtomicU64,
    /// Why tasks of the node's failed last, by task.
    troubles: Mutex<BTreeMap<&'static str, String>>,
}

impl NodeTier {
    /// A tier of these parts. Nothing is asked of the bucket yet: a node starts while its store is down.
    #[must_use]
    pub fn new(parts: NodeTierParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            claim: Mutex::default(),
            reading: async_lock::Mutex::new(()),
            failures: AtomicU64::new(0),
            troubles: Mutex::default(),
        })
    }

    /// What was done since the process started.
    #[must_use]
    pub fn metrics(&self) -> &Arc<TierMetrics> {
        &self.parts.metrics
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.parts.bucket
    }

    /// The claim as it was read last; none before the first use, and after another owner was met.
    #[must_use]
    pub fn known_claim(&self) -> Option<Claim> {
        lock(&self.claim).as_ref().map(|(claim, _)| claim.clone())
    }

    /// How often a round of work on the tier was not finished.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) const fn uploader(&self) -> &Uploader {
        &self.parts.uploader
    }

    /// What reads out of the bucket.
    #[must_use]
    pub const fn cold(&self) -> &Arc<ColdReader> {
        &self.parts.cold
    }

    pub(super) const fn collector(&self) -> &Collector {
        &self.parts.collector
    }

    /// Counts a round that was not finished. Where another owner has written, the claim is looked at again.
    pub fn note_failure(&self, error: &TierError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if matches!(error, TierError::Fenced { .. }) {
            *lock(&self.claim) = None;
        }
    }

    /// Notes how a task of the node's ended that is no partition's round.
    pub fn note_task(&self, task: &'static str, failure: Option<String>) {
        let mut troubles = lock(&self.troubles);
        match failure {
            Some(why) => troubles.insert(task, why),
            None => troubles.remove(task),
        };
    }

    /// Why tasks of the node's failed when they ran last; nothing of those that did not.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let troubles = lock(&self.troubles);
        troubles
            .iter()
            .map(|(task, why)| format!("{task}: {why}"))
            .collect()
    }

    pub(super) const fn scrub_interval(&self) -> Duration {
        self.parts.scrub_interval
    }

    /// The cluster's claim on the bucket, read within the last `age_max`. Taken where nobody has one.
    ///
    /// # Errors
    /// [`TierError::Refused`] where the bucket is another cluster's.
    pub async fn claim(&self, age_max: Duration) -> Result<Claim, TierError> {
        let parts = &self.parts;
        if let Some(claim) = self.fresh_claim(age_max) {
            return Ok(claim);
        }
        let _reading = self.reading.lock().await;
        if let Some(claim) = self.fresh_claim(age_max) {
            return Ok(claim);
        }
        let now = parts.env.clock.now();
        let known = lock(&self.claim).clone();
        let claim = Claim::acquire(&*parts.bucket, &parts.env, &parts.cluster_id).await?;
        if known.is_none_or(|(known, _)| known != claim) {
            log::info!(
                "event=tier_claimed bucket={} generation={}",
                parts.bucket.describe(),
                claim.generation
            );
        }
        *lock(&self.claim) = Some((claim.clone(), now));
        Ok(claim)
    }

    fn fresh_claim(&self, age_max: Duration) -> Option<Claim> {
        let now = self.parts.env.clock.now();
        let known = lock(&self.claim);
        let (claim, read_at) = known.as_ref()?;
        (now.saturating_sub(*read_at) <= age_max).then(|| claim.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
