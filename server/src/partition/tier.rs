//! Step 5: cold segments go to the object tier and are read back from there.
//!
//! Every replica applies what is in the tier (`state`); the leader uploads, publishes, deletes and decides what local
//! data can go, in rounds that never wait for each other and that nothing waits for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronik_core::log_store::SegmentInfo;
use chronik_core::{LogReader, Offset};
use chronik_storage_object::manifest::{Fence, Publisher};
use chronik_storage_object::offline::Finding;
use chronik_storage_object::orphans::OrphanSweep;
use chronik_storage_object::upload::{Work, lag_bytes, next_work};
use chronik_storage_object::{
    PartitionKey, SegmentMeta, TierCommand, TierError, TierState, TierView, TieredReader,
};

use super::command::Command;
use super::config::PartitionConfig;
use super::error::PartitionError;
use super::node_tier::NodeTier;
use super::notify::View;
use super::open::Partition;
use super::retention::expired;

/// A partition's place in the tier.
#[derive(Debug, Clone)]
pub struct TierSpec {
    /// The node's tier.
    pub node: Arc<NodeTier>,
    /// The partition, as objects are named.
    pub key: PartitionKey,
}

/// The tier of one partition.
pub(super) struct PartitionTier {
    view: Arc<TierView>,
    remote: Option<Remote>,
}

/// What a node with a tier has for each partition.
struct Remote {
    spec: TierSpec,
    reader: Arc<dyn LogReader>,
    /// What this replica does while it leads. Locked while a round runs.
    led: async_lock::Mutex<Option<Led>>,
    /// What was uploaded last and is not in the state: its command was refused, or nobody knows.
    unnamed: Mutex<Option<Unnamed>>,
    /// Why the last round was not finished.
    trouble: Mutex<Option<Trouble>>,
}

/// An object that no state names yet.
struct Unnamed {
    /// Whose bucket it is: another owner may delete it.
    claim: u64,
    work: Work,
    segment: Arc<SegmentMeta>,
    uploaded: Duration,
}

/// Rounds that are not finished, one after the other.
struct Trouble {
    why: Arc<str>,
    rounds: u64,
}

/// What a leader works with, in one term.
struct Led {
    publisher: Publisher,
    orphans: OrphanSweep,
}

/// A round begins under a claim that is not older than this: what a cluster lost it does not write to for long.
const CLAIM_AGE_MAX: Duration = Duration::from_secs(10);

/// An object that no state names is trusted to be there for so long. Nobody of this cluster deletes one that starts at the end
/// of the tier, and others than the cluster are not expected to.
const UNNAMED_AGE_MAX: Duration = Duration::from_secs(3600);

/// A leader that cannot keep up publishes what it uploaded this often, and drops local data then: a bucket that is slower
/// than the producers would fill the disk otherwise. It looks as often whose the bucket is.
const STRETCH: Duration = Duration::from_secs(10);

/// Why a round was not finished; the next one goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum TierRoundError {
    /// The tier said so.
    Tier(TierError),
    /// The partition said so.
    Partition(PartitionError),
}

impl From<TierError> for TierRoundError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl From<PartitionError> for TierRoundError {
    fn from(error: PartitionError) -> Self {
        Self::Partition(error)
    }
}

impl fmt::Display for TierRoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::Partition(error) => write!(f, "{error}"),
        }
    }
}

/// Where a partition stands between disk and tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierStatus {
    /// Whether the partition's segments go to the tier, or did.
    pub used: bool,
    /// Offsets that can be read out of the tier.
    pub tiered: std::ops::Range<Offset>,
    /// The first offset on the local disk.
    pub local_start: Offset,
    /// Bytes of objects.
    pub tiered_bytes: u64,
    /// Bytes of sealed segments that wait for their upload.
    pub lag_bytes: u64,
    /// Whether the manifest in the bucket says all of this; what it does not say, a restore does not find.
    pub published: bool,
    /// Objects that wait for their deletion.
    pub garbage: usize,
    /// Why the last round of this replica, as the leader, was not finished.
    pub failure: Option<Arc<str>>,
}

/// A segment as retention sees it, wherever it is.
pub(super) struct Piece {
    pub(super) end: Offset,
    pub(super) max_timestamp_ms: i64,
    pub(super) size_bytes: u64,
    /// It takes no further records and, where there is a tier, is in it.
    pub(super) is_complete: bool,
}

impl Remote {
    fn unnamed(&self) -> MutexGuard<'_, Option<Unnamed>> {
        self.unnamed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how a round ended where that is another end than the last one's: a store that is down fails every round.
    fn note_round(&self, name: &str, error: Option<&TierRoundError>) {
        let mut trouble = self.trouble();
        let rounds = trouble.as_ref().map_or(0, |trouble| trouble.rounds);
        let Some(error) = error else {
            if rounds > 0 {
                log::info!("event=tier_round_recovered partition={name} failed_rounds={rounds}");
            }
            *trouble = None;
            return;
        };
        let why: Arc<str> = error.to_string().into();
        if trouble.as_ref().is_none_or(|trouble| trouble.why != why) {
            log::warn!(
                "event=tier_round_failed partition={name} error=\"{error}\" failed_rounds_before={rounds}"
            );
        }
        *trouble = Some(Trouble {
            why,
            rounds: rounds + 1,
        });
    }
}

impl PartitionTier {
    pub(super) fn new(spec: Option<TierSpec>, hot: &Arc<dyn LogReader>) -> Self {
        let view = Arc::new(TierView::default());
        let remote = spec.map(|spec| {
            let cold = Arc::clone(spec.node.cold());
            let reader = TieredReader::new(Arc::clone(hot), cold, spec.key, Arc::clone(&view));
            Remote {
                spec,
                reader: Arc::new(reader),
                led: async_lock::Mutex::new(None),
                unnamed: Mutex::default(),
                trouble: Mutex::default(),
            }
        });
        Self { view, remote }
    }

    /// Shows a new state to readers.
    pub(super) fn show(&self, state: &TierState) {
        self.view.set(state.clone());
    }
}

impl Partition {
    /// The whole log: the local part, and the tier behind it.
    pub(super) fn log(&self) -> &Arc<dyn LogReader> {
        match &self.tier.remote {
            Some(remote) => &remote.reader,
            None => &self.reader,
        }
    }

    /// Shows what is in the tier to readers, before any local data goes.
    pub(super) fn show_tier(&self) {
        let state = self.ledger().state.tier.clone();
        self.tier.view.set(state);
    }

    /// Below this offset the tier has what was dropped here.
    pub(super) fn local_start(&self) -> Offset {
        self.tier.view.get().local_start()
    }

    pub(super) fn latest_tiered(&self) -> Option<Offset> {
        let end = self.tier.view.get().end().offset;
        (end.0 > 0).then(|| Offset(end.0 - 1))
    }

    pub(super) fn earliest_pending(&self, view: &View) -> Option<Offset> {
        let state = self.tier.view.get();
        self.config()
            .remote_storage
            .then(|| state.end().offset.max(view.log_start))
    }

    /// Where the partition stands between disk and tier; none on a node without one.
    #[must_use]
    pub fn tier_status(&self) -> Option<TierStatus> {
        let remote = self.tier.remote.as_ref()?;
        let state = self.tier.view.get();
        let log_start = self.view().log_start;
        Some(TierStatus {
            used: self.config().remote_storage || state.version() > 0,
            tiered: state.offsets(),
            local_start: self.reader.state().offset_start.max(log_start),
            tiered_bytes: state.size_bytes(),
            lag_bytes: match self.config().remote_storage {
                true => lag_bytes(&self.reader.segments(), &state, log_start),
                false => 0,
            },
            published: state.published() == state.version(),
            garbage: state.garbage().len(),
            failure: remote.trouble().as_ref().map(|trouble| Arc::clone(&trouble.why)),
        })
    }

    /// Whether this replica has anything to do with the tier.
    pub(crate) fn wants_tier_round(&self) -> bool {
        let touched = self.config().remote_storage || self.tier.view.get().version() > 0;
        self.tier.remote.is_some() && touched && self.serving_view(None).is_ok()
    }

    /// One round of the leader: uploads what is due, publishes the manifest, deletes what nobody needs, and drops local
    /// data that the tier has. Returns at once where a round is under way, or this replica does not lead.
    ///
    /// # Errors
    /// [`TierRoundError`]; the next round goes on.
    pub async fn tier_round(&self) -> Result<(), TierRoundError> {
        let Some(remote) = &self.tier.remote else {
            return Ok(());
        };
        let Some(mut slot) = remote.led.try_lock() else {
            return Ok(());
        };
        let done = self.led_round(remote, &mut slot).await;
        if let Err(TierRoundError::Tier(error)) = &done {
            remote.spec.node.note_failure(error);
            // A publisher that was fenced never succeeds again; the next one asks whose the bucket is.
            if matches!(error, TierError::Fenced { .. }) {
                *slot = None;
            }
        }
        remote.note_round(&self.name, done.as_ref().err());
        done
    }

    async fn led_round(&self, remote: &Remote, slot: &mut Option<Led>) -> Result<(), TierRoundError> {
        while self.led_stretch(remote, slot).await? {}
        Ok(())
    }

    /// Everything of a round but those uploads that a stretch has no time for; true where such are left.
    async fn led_stretch(&self, remote: &Remote, slot: &mut Option<Led>) -> Result<bool, TierRoundError> {
        let term = self.progress.with(|progress| progress.term);
        if self.serving_view(None).is_err() {
            *slot = None;
            return Ok(false);
        }
        let node = &remote.spec.node;
        let claim = node.claim(CLAIM_AGE_MAX).await?;
        let fence = Fence::new(claim.generation, term, claim.cluster());
        if slot.as_ref().is_none_or(|led| led.publisher.fence() != fence) {
            let (bucket, env) = (Arc::clone(node.bucket()), self.env.clone());
            *slot = Some(Led {
                publisher: Publisher::new(bucket, env, remote.spec.key, fence),
                orphans: OrphanSweep::new(node.scrub_interval(), self.env.clock.now()),
            });
        }
        let uploaded = match self.config().remote_storage {
            true => self.upload_due(remote, claim.generation).await,
            false => Ok(false),
        };
        // A segment that does not go holds up nothing of those before it.
        let uploaded = match uploaded {
            Err(TierRoundError::Tier(error)) => Err(error),
            uploaded => Ok(uploaded?),
        };
        let Some(led) = slot else {
            return Ok(uploaded?);
        };
        let state = self.tier.view.get();
        if state.version() == 0 {
            return Ok(uploaded?);
        }
        if let Some(command) = led.publisher.publish(&state).await? {
            self.propose_tier(command).await?;
        }
        let (key, state) = (remote.spec.key, self.tier.view.get());
        let collector = remote.spec.node.collector();
        let collected = collector.collect(key, &state, &mut led.publisher).await;
        // A bucket from which nothing may be deleted takes uploads all the same: the local disk must not fill.
        self.drop_local().await?;
        if let Some(command) = collected? {
            self.propose_tier(command).await?;
        }
        let state = self.tier.view.get();
        if state.published() == state.version() {
            self.scrub(remote, led, &state).await?;
        }
        Ok(uploaded?)
    }

    /// Looks from time to time at what the bucket has of this partition, and names what should not be.
    async fn scrub(&self, remote: &Remote, led: &mut Led, state: &TierState) -> Result<(), TierRoundError> {
        let (node, key) = (&remote.spec.node, remote.spec.key);
        let bucket = (&**node.bucket(), &self.env);
        let found = led
            .orphans
            .round(bucket, key, state, &mut led.publisher, node.metrics())
            .await?;
        for finding in found.iter().flat_map(|report| &report.findings) {
            match finding {
                Finding::Orphan { .. } => {
                    log::info!("event=tier_scrub partition={} found=\"{finding}\"", self.name)
                }
                _ => log::error!("event=tier_scrub partition={} found=\"{finding}\"", self.name),
            }
        }
        Ok(())
    }

    /// Uploads sealed segments until none is left, which is false, or a stretch is over.
    async fn upload_due(&self, remote: &Remote, claim: u64) -> Result<bool, TierRoundError> {
        let end = self.env.clock.now() + STRETCH;
        while self.env.clock.now() < end {
            let view = self.serving_view(None)?;
            let state = self.tier.view.get();
            let segments = self.reader.segments();
            let Some(work) = next_work(&segments, &state, view.applied, view.log_start) else {
                return Ok(false);
            };
            let segment = self.uploaded(remote, claim, &state, work).await?;
            self.propose_tier(TierCommand::Add(segment)).await?;
        }
        Ok(true)
    }

    /// The object that holds a piece of work. What was uploaded before is not uploaded again because its command was refused:
    /// on a full disk, or without a quorum, that may be so for hours.
    async fn uploaded(
        &self,
        remote: &Remote,
        claim: u64,
        state: &TierState,
        work: Work,
    ) -> Result<Arc<SegmentMeta>, TierRoundError> {
        let now = self.env.clock.now();
        let known = remote.unnamed().take().filter(|unnamed| {
            let fresh = now.saturating_sub(unnamed.uploaded) < UNNAMED_AGE_MAX;
            fresh && unnamed.claim == claim && unnamed.work == work
        });
        let unnamed = match known {
            Some(unnamed) => unnamed,
            None => {
                let (node, key) = (&remote.spec.node, remote.spec.key);
                let uploader = node.uploader();
                let segment = uploader.upload(key, &self.reader, state, &work).await?;
                log::info!(
                    "event=segment_tiered partition={} offsets={}..{} bytes={}",
                    self.name,
                    segment.offsets.start,
                    segment.offsets.end,
                    segment.object_bytes
                );
                let uploaded = self.env.clock.now();
                Unnamed {
                    claim,
                    work,
                    segment,
                    uploaded,
                }
            }
        };
        let segment = Arc::clone(&unnamed.segment);
        *remote.unnamed() = Some(unnamed);
        Ok(segment)
    }

    async fn propose_tier(&self, command: TierCommand) -> Result<(), TierRoundError> {
        let handle = self.propose_command(&Command::Tier(command))?;
        let appended = self.settled(handle.outcome().await)?;
        Ok(self.applied(appended.id.index).await?)
    }

    /// Drops local segments beyond `local.retention.ms` and `local.retention.bytes`, as far as the tier has them and a
    /// manifest in the bucket says so.
    async fn drop_local(&self) -> Result<(), TierRoundError> {
        let config = self.config();
        let state = self.tier.view.get();
        if !config.remote_storage || state.published() != state.version() {
            return Ok(());
        }
        let segments = self.reader.segments();
        let below = local_cut(&config, &segments, &state, self.env.clock.wall_ms());
        if below > self.reader.state().offset_start && below > state.local_start() {
            self.propose_tier(TierCommand::DropLocal { below }).await?;
        }
        Ok(())
    }

    /// All segments of the log, oldest first, for retention: those that are in the tier alone, then the local ones.
    pub(super) fn pieces(&self, config: &PartitionConfig, segments: &[SegmentInfo]) -> Vec<Piece> {
        let state = self.tier.view.get();
        let hot_start = self.reader.state().offset_start;
        let cold = state
            .segments()
            .iter()
            .filter(|segment| segment.offsets.end <= hot_start);
        let cold = cold.map(|segment| Piece {
            end: segment.offsets.end,
            max_timestamp_ms: segment.max_timestamp_ms,
            size_bytes: segment.footer_position,
            is_complete: true,
        });
        let local = segments.iter().map(|segment| Piece {
            end: segment.offsets.end,
            max_timestamp_ms: segment.max_timestamp_ms,
            size_bytes: segment.size_bytes,
            is_complete: segment.sealed
                && (!config.remote_storage || segment.offsets.end <= state.end().offset),
        });
        cold.chain(local).collect()
    }
}

/// Where local retention cuts: whole segments that are in the tier.
fn local_cut(config: &PartitionConfig, segments: &[SegmentInfo], state: &TierState, now_ms: i64) -> Offset {
    let total: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let keep = config.local_retention_bytes;
    let mut excess = keep.map_or(0, |keep| total.saturating_sub(keep));
    let mut cut = Offset(0);
    for segment in segments {
        let by_size = excess > 0 && excess >= segment.size_bytes;
        let old = expired(segment.max_timestamp_ms, config.local_retention_ms, now_ms);
        if !segment.sealed || segment.offsets.end > state.end().offset || !(by_size || old) {
            break;
        }
        excess = excess.saturating_sub(segment.size_bytes);
        cut = segment.offsets.end;
    }
    cut
}
