//! Copies of the metadata and of the consumer groups' offsets in the bucket, so that a cluster can be built from it alone.
//!
//! The leader of the metadata group writes the metadata whenever it changed; the leader of each partition of
//! `__consumer_offsets` writes the newest record of every key of it. Format: `docs/format/tier-object.md`.

use super::lineage::Lineage;
use super::{CLAIM_AGE_MAX, Parts, lineage};
use crate::cluster::ClusterImage;
use crate::cluster::state::OFFSETS_TOPIC;
use crate::group::backup::{METADATA_BACKUP, Newest, offsets_backup};
use crate::partition::{FetchQuery, Isolation, Partition};
use bytes::Bytes;
use chronik_core::{GroupId, Term};
use chronik_storage_object::manifest::Fence;
use chronik_storage_object::{BackupWriter, Claim, TierError, backup_aside_key};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How much of a log is read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Why a copy was not made; the next round tries again.
enum BackupError {
    Tier(TierError),
    Other(String),
}

impl From<TierError> for BackupError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => error.fmt(f),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A copy that this node keeps up to date while it leads.
#[derive(Debug)]
struct Copy {
    term: Term,
    writer: BackupWriter,
    /// The version that was written last.
    written: Option<u64>,
    /// What a log said up to `read_to`, where the copy is one of a log.
    newest: Newest,
    read_to: i64,
}

impl Copy {
    /// Writes the whole state, over a copy that cannot be read, too: nothing of that is needed while the cluster lives.
    async fn write(&mut self, name: &str, version: u64, data: &Bytes) -> Result<(), TierError> {
        let error = match self.writer.write(version, data).await {
            Err(error @ TierError::Damaged { .. }) => error,
            done => return done,
        };
        if self.writer.write_over_damage(version, data).await? {
            log::error!(
                "event=tier_backup_damaged key=b/{name} error=\"{error}\" action=\"it was written anew, and what was there is \
                 kept\" kept_as={}",
                backup_aside_key(name)
            );
            return Ok(());
        }
        self.writer.write(version, data).await
    }
}

/// Keeps the copies up to date.
#[derive(Debug)]
pub(super) struct Backups {
    parts: Parts,
    interval: Duration,
    offsets_interval: Duration,
    metadata: Option<Copy>,
    /// The image that was looked at last, and the bytes that were written last.
    seen: Option<(Arc<ClusterImage>, Bytes)>,
    offsets: BTreeMap<GroupId, Copy>,
    /// The claim under which the bucket was seen to be of this cluster's past.
    own: Option<Claim>,
}

impl Backups {
    pub(super) const fn new(parts: Parts, interval: Duration, offsets_interval: Duration) -> Self {
        Self {
            parts,
            interval,
            offsets_interval,
            metadata: None,
            seen: None,
            offsets: BTreeMap::new(),
            own: None,
        }
    }

    /// Runs until the process ends.
    pub(super) async fn run(mut self) {
        let clock = Arc::clone(&self.parts.env.clock);
        let mut offsets_due = clock.now();
        loop {
            clock.sleep(self.interval).await;
            let failure = match self.copy_metadata().await {
                Ok(()) => None,
                Err(error) => {
                    self.failed("metadata", &error);
                    (self.metadata, self.seen) = (None, None);
                    Some(error.to_string())
                }
            };
            self.parts.tier.note_task("copying the metadata", failure);
            if clock.now() >= offsets_due {
                offsets_due = clock.now() + self.offsets_interval;
                self.copy_all_offsets().await;
            }
        }
    }

    fn failed(&self, what: &str, error: &BackupError) {
        log::warn!("event=tier_backup_failed what={what} error=\"{error}\"");
        if let BackupError::Tier(error) = error {
            self.parts.tier.note_failure(error);
        }
    }

    async fn copy(&mut self, name: String, term: Term) -> Result<Copy, TierError> {
        let tier = &self.parts.tier;
        let claim = tier.claim(CLAIM_AGE_MAX).await?;
        if self.own.as_ref() != Some(&claim) {
            match lineage::look(&self.parts, &claim).await? {
                // Whoever leads the metadata puts it aside, and says so; all other copies wait for that.
                Lineage::Damaged(_) if name == METADATA_BACKUP => {}
                Lineage::Damaged(error) => return Err(error),
                Lineage::Absent | Lineage::Ancestor | Lineage::Own(_) => self.own = Some(claim.clone()),
            }
        }
        let fence = Fence::new(claim.generation, term, claim.cluster());
        let writer = BackupWriter::new(Arc::clone(tier.bucket()), self.parts.env.clone(), name, fence);
        Ok(Copy {
            term,
            writer,
            written: None,
            newest: Newest::default(),
            read_to: 0,
        })
    }

    async fn copy_metadata(&mut self) -> Result<(), BackupError> {
        let Some(term) = self.parts.leads_metadata() else {
            (self.metadata, self.seen) = (None, None);
            return Ok(());
        };
        if self.metadata.as_ref().is_none_or(|copy| copy.term != term) {
            self.metadata = Some(self.copy(METADATA_BACKUP.to_owned(), term).await?);
            self.seen = None;
        }
        let image = self.parts.controller.image();
        if self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| Arc::ptr_eq(seen, &image))
        {
            return Ok(());
        }
        let bytes: Bytes = image.state.to_bytes().into();
        if let (Some(copy), false) = (
            &mut self.metadata,
            self.seen.as_ref().is_some_and(|(_, old)| *old == bytes),
        ) {
            copy.write(METADATA_BACKUP, image.applied.0, &bytes).await?;
        }
        self.seen = Some((image, bytes));
        Ok(())
    }

    async fn copy_all_offsets(&mut self) {
        let image = self.parts.controller.image();
        let Some(topic) = image.state.topic(OFFSETS_TOPIC) else {
            return;
        };
        let mut failure = None;
        for (index, placed) in (0..).zip(&topic.partitions) {
            let led = self.parts.table.get(placed.group());
            let led = led.filter(|partition| partition.view().serving);
            let Some(partition) = led else {
                self.offsets.remove(&placed.group());
                continue;
            };
            if let Err(error) = self.copy_offsets(placed.group(), index, &partition).await {
                self.failed(partition.name(), &error);
                self.offsets.remove(&placed.group());
                failure = Some(error.to_string());
            }
        }
        self.parts.tier.note_task("copying offsets of groups", failure);
    }

    async fn copy_offsets(
        &mut self,
        group: GroupId,
        index: u32,
        partition: &Partition,
    ) -> Result<(), BackupError> {
        let view = partition.view();
        let Ok(term) = u64::try_from(view.leader_epoch).map(Term) else {
            return Ok(());
        };
        let version = view.high_watermark.0.unsigned_abs();
        let known = self.offsets.remove(&group).filter(|copy| copy.term == term);
        // Nothing was ever committed here, or nothing since.
        if version == 0 || known.as_ref().is_some_and(|copy| copy.written == Some(version)) {
            if let Some(known) = known {
                self.offsets.insert(group, known);
            }
            return Ok(());
        }
        let mut copy = match known {
            Some(copy) => copy,
            None => self.copy(offsets_backup(index), term).await?,
        };
        copy.read_to = copy.read_to.max(view.log_start.0);
        read_on(partition, &mut copy, view.high_watermark.0).await?;
        let wall_ms = self.parts.env.clock.wall_ms();
        let data = copy.newest.pack(wall_ms, Some);
        let data = data.map_err(|error| BackupError::Other(error.to_string()))?;
        copy.write(&offsets_backup(index), version, &data.freeze())
            .await?;
        copy.written = Some(version);
        self.offsets.insert(group, copy);
        Ok(())
    }
}

/// Takes in what the log has up to `end`.
async fn read_on(partition: &Partition, copy: &mut Copy, end: i64) -> Result<(), BackupError> {
    while copy.read_to < end {
        let query = FetchQuery {
            offset: copy.read_to,
            max_bytes: READ_BYTES,
            min_one_batch: true,
            isolation: Isolation::ReadUncommitted,
            leader_epoch: None,
            last_fetched_epoch: None,
            follower_read: false,
        };
        let fetched = partition.fetch(query).await;
        let fetched = fetched.map_err(|error| BackupError::Other(error.to_string()))?;
        let before = copy.read_to;
        for records in fetched.records {
            let read = copy.newest.add(&records, copy.read_to);
            copy.read_to = read.map_err(|error| BackupError::Other(error.to_string()))?;
        }
        if copy.read_to == before {
            return Err(BackupError::Other(format!(
                "nothing can be read at offset {before} of {end}"
            )));
        }
    }
    Ok(())
}
