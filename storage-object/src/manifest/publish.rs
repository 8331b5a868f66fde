//! Writing a manifest: pages first, then the head, by compare-and-swap under a fence.

use super::read::{head_object, read_head};
use super::{Fence, HEAD_SEGMENTS_MAX, Head, Manifest, PAGE_SEGMENTS, PageRef, aside_key, head_key, page};
use crate::bucket::{Bucket, Condition, StoreErrorKind, Version};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::{SegmentMeta, TierCommand, TierState};
use bytes::Bytes;
use chronik_core::Env;
use std::sync::Arc;

/// How often a head is read again after somebody else wrote it.
const ROUNDS: u32 = 4;

/// Publishes the states of one partition, as its leader in one term.
#[derive(Debug)]
pub struct Publisher {
    bucket: Arc<dyn Bucket>,
    env: Env,
    partition: PartitionKey,
    fence: Fence,
    /// The head that we wrote or read last; none before the first look.
    known: Option<Option<(Head, Version)>>,
}

impl Publisher {
    /// A publisher under `fence`. The bucket must settle unknown outcomes, as [`Retrying`](crate::bucket::Retrying)
    /// does.
    #[must_use]
    pub fn new(bucket: Arc<dyn Bucket>, env: Env, partition: PartitionKey, fence: Fence) -> Self {
        Self {
            bucket,
            env,
            partition,
            fence,
            known: None,
        }
    }

    /// The right under which it writes.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Writes what was read once more, under this publisher's fence, so that whoever wrote it can not do so again; where
    /// nothing was there, an empty manifest. False where somebody wrote since it was read: then it is to be read again.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written.
    pub async fn take_over(&mut self, read: Option<&Manifest>) -> Result<bool, TierError> {
        let nothing = TierState::default();
        let (current, state) = match read {
            Some(manifest) => {
                self.check(&manifest.head, &manifest.state)?;
                let current = (manifest.head.clone(), manifest.version.clone());
                (Some(current), &manifest.state)
            }
            None => (None, &nothing),
        };
        let written = self.replace(current, state).await?;
        let done = written.is_some();
        self.known = written.map(Some);
        Ok(done)
    }

    /// Puts an empty manifest in the place of one that cannot be read, or that is gone. What was there is kept beside it, as
    /// [`aside_key`]: as long as that object is there, nothing of the partition is deleted as an orphan. False where
    /// somebody wrote meanwhile: then it is to be done again.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written.
    pub async fn set_aside(&mut self) -> Result<bool, TierError> {
        let found = head_object(&*self.bucket, self.partition).await?;
        let (body, condition, sequence) = match found {
            Some((_, object)) => {
                let head = Head::parse(&object.data, self.partition).ok();
                if let Some(head) = head.as_ref().filter(|head| !self.fence.may_replace(&head.fence)) {
                    return Err(TierError::Fenced {
                        owner: head.fence.to_string().into(),
                    });
                }
                let sequence = head.map_or(0, |head| head.sequence);
                (object.data, Condition::Unchanged(object.version), sequence)
            }
            None => (Bytes::new(), Condition::Absent, 0),
        };
        let aside = self
            .bucket
            .put(&aside_key(self.partition), vec![body], Condition::Absent);
        match aside.await {
            Ok(_) => {}
            // Done before, and interrupted: what was kept then is what was damaged.
            Err(error) if error.kind == StoreErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
        let place = (condition, sequence + 1, Vec::new());
        let written = self.write(place, &TierState::default()).await?;
        let done = written.is_some();
        self.known = written.map(Some);
        Ok(done)
    }

    /// Writes a manifest of `state`. Returns the command that tells the state so, or none where that version was there
    /// already and the state knows it.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written: this publisher will never succeed again.
    /// [`TierError::Refused`] where nothing is left of what was published before: in another bucket, or one that is not
    /// mounted, a manifest would name segments that are not there.
    pub async fn publish(&mut self, state: &TierState) -> Result<Option<TierCommand>, TierError> {
        for _ in 0..ROUNDS {
            let current = match self.known.take() {
                Some(known) => known,
                None => read_head(&*self.bucket, self.partition).await?,
            };
            if let Some((head, _)) = &current {
                self.check(head, state)?;
                if head.state_version == state.version() && head.fence == self.fence {
                    self.known = Some(current);
                    return Ok(self.published(state));
                }
            } else if state.published() > 0 {
                return Err(self.gone());
            }
            if let Some(written) = self.replace(current, state).await? {
                self.known = Some(Some(written));
                return Ok(self.published(state));
            }
        }
        Err(TierError::Refused(
            format!(
                "the manifest of {} is written by others again and again",
                self.partition
            )
            .into(),
        ))
    }

    /// Whether the bucket still has the manifest that this publisher wrote, read now.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written.
    pub async fn is_current(&mut self, state: &TierState) -> Result<bool, TierError> {
        let current = read_head(&*self.bucket, self.partition).await?;
        let Some((head, _)) = &current else {
            return Ok(false);
        };
        self.check(head, state)?;
        let ours = head.fence == self.fence && head.state_version >= state.published();
        self.known = Some(current);
        Ok(ours)
    }

    fn gone(&self) -> TierError {
        let what = format!(
            "the manifest of {} was published, and is not in {} any more: check that tier.url names the same place as \
             before, and that it is mounted",
            self.partition,
            self.bucket.describe()
        );
        TierError::Refused(what.into())
    }

    fn published(&self, state: &TierState) -> Option<TierCommand> {
        (state.published() < state.version()).then(|| TierCommand::Published {
            version: state.version(),
            at_ms: self.env.clock.wall_ms(),
        })
    }

    /// Whether we may replace `head`.
    fn check(&self, head: &Head, state: &TierState) -> Result<(), TierError> {
        let older_state = head.fence.claim == self.fence.claim && head.state_version > state.version();
        if self.fence.may_replace(&head.fence) && !older_state {
            return Ok(());
        }
        Err(TierError::Fenced {
            owner: head.fence.to_string().into(),
        })
    }

    /// Replaces the head; none where somebody else wrote meanwhile.
    async fn replace(
        &self,
        current: Option<(Head, Version)>,
        state: &TierState,
    ) -> Result<Option<(Head, Version)>, TierError> {
        let place = match current {
            Some((head, version)) => (Condition::Unchanged(version), head.sequence + 1, head.pages),
            None => (Condition::Absent, 1, Vec::new()),
        };
        self.write(place, state).await
    }

    /// Writes a head on a condition, as the one with this number and upon these pages; none where the condition does not
    /// hold.
    async fn write(
        &self,
        (condition, sequence, old_pages): (Condition, u64, Vec<PageRef>),
        state: &TierState,
    ) -> Result<Option<(Head, Version)>, TierError> {
        let start = state.offsets().start;
        let (pages, held) = self.layout(old_pages, state).await?;
        let head = Head {
            fence: self.fence,
            sequence,
            nonce: self.env.rng.next_u64(),
            partition: self.partition,
            state_version: state.version(),
            end: state.end(),
            start,
            pages,
            segments: held,
        };
        let key = head_key(self.partition);
        match self.bucket.put(&key, vec![head.encode()], condition).await {
            Ok(version) => Ok(Some((head, version))),
            Err(error) if error.kind == StoreErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Which pages stay, which are made, and which segments the head holds.
    async fn layout(
        &self,
        mut pages: Vec<PageRef>,
        state: &TierState,
    ) -> Result<(Vec<PageRef>, Vec<Arc<SegmentMeta>>), TierError> {
        let live = state.offsets();
        pages.retain(|page| page.offsets.end > live.start && page.offsets.end <= live.end);
        let after = pages.last().map_or(live.start, |page| page.offsets.end);
        let at = state
            .segments()
            .partition_point(|segment| segment.offsets.end <= after);
        let mut held = state.segments().get(at..).unwrap_or_default();
        // A page of another history would not meet a segment's border: then all pages are made again.
        if held.first().is_some_and(|segment| segment.offsets.start != after) {
            pages.clear();
            held = state.segments();
        }
        while held.len() > HEAD_SEGMENTS_MAX {
            let (now, later) = held.split_at(PAGE_SEGMENTS);
            let (reference, bytes) = page::encode(self.partition, now);
            let key = reference.key(self.partition);
            self.bucket.put(&key, vec![bytes], Condition::Always).await?;
            pages.push(reference);
            held = later;
        }
        Ok((pages, held.to_vec()))
    }
}
