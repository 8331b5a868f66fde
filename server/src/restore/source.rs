//! What a bucket says of the cluster that wrote it.

use super::RestoreError;
use super::damage::{Damage, DamagedCopy, DamagedPartition};
use super::offsets::{Committed, reset};
use crate::cluster::state::{OFFSETS_TOPIC, State, Topic};
use crate::group::backup::{METADATA_BACKUP, offsets_backup};
use bytes::Bytes;
use chronik_core::{Env, LogIndex, Offset, Term};
use chronik_storage_object::manifest::{
    Fence, Manifest, Publisher, aside_key, head_key, is_set_aside, read_manifest,
};
use chronik_storage_object::offline::partitions;
use chronik_storage_object::{
    Backup, BackupWriter, Bucket, Claim, PartitionKey, TierError, TierState, backup_aside_key,
    is_backup_set_aside, read_backup,
};
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// By how much the new cluster's terms are beyond all that the bucket knows: more elections than the old one can have had
/// since it wrote there last.
const TERMS_BEYOND: u64 = 10_000;
/// Requests at a time.
pub(super) const REQUESTS: usize = 32;
/// After so many partitions, the log says how far it is.
const PROGRESS: usize = 1000;
/// How often a manifest is read again after somebody else wrote it.
const ROUNDS: u32 = 16;

/// A partition, and what of it can be had again.
#[derive(Clone, Debug)]
pub struct RecoveredPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub index: u32,
    /// The partition, as objects are named.
    pub key: PartitionKey,
    /// What is in the tier; nothing where the partition was never published there.
    pub tier: TierState,
}

impl RecoveredPartition {
    /// The offsets that can be read again.
    #[must_use]
    pub fn offsets(&self) -> std::ops::Range<Offset> {
        self.tier.offsets()
    }
}

/// What a bucket holds of a cluster.
#[derive(Debug)]
pub struct Source {
    /// The cluster that has the claim.
    pub claim: Claim,
    /// The metadata as it was copied last.
    pub state: State,
    /// When that was, in wall milliseconds.
    pub metadata_at_ms: i64,
    /// The last entry of the old metadata group that it covers.
    pub applied: LogIndex,
    /// Every partition of every topic but the broker's own.
    pub partitions: Vec<RecoveredPartition>,
    /// What cannot be read: nothing can be had of those of the partitions and of the groups that are named here.
    pub damage: Damage,
    /// Partitions with objects that no topic in the metadata has: created after the last copy, or deleted.
    pub unknown: Vec<PartitionKey>,
    /// The records of `__consumer_offsets`, by partition.
    pub offsets: BTreeMap<u32, Bytes>,
    /// What was committed and what can be had again of it.
    pub committed: Vec<Committed>,
    /// The new logs begin in this term.
    pub term: Term,
}

fn key(topic: &Topic, index: u32) -> PartitionKey {
    PartitionKey {
        topic_id: u128::from_be_bytes(topic.id.to_wire().0),
        partition: index,
    }
}

async fn metadata(bucket: &dyn Bucket) -> Result<(Claim, Backup, State), RestoreError> {
    let claim = Claim::read(bucket).await?;
    let Some((claim, _)) = claim else {
        let what = format!(
            "{} belongs to no cluster: there is nothing to restore from",
            bucket.describe()
        );
        return Err(RestoreError::Refused(what));
    };
    let backup = match read_backup(bucket, METADATA_BACKUP).await {
        Err(error @ TierError::Damaged { .. }) => {
            let what = format!(
                "{error}: put it back from a copy of the bucket; without the names of topics nothing can be restored, and \
                 tier cat reads single partitions"
            );
            return Err(RestoreError::Refused(what));
        }
        backup => backup?,
    };
    let Some(backup) = backup else {
        let what = format!(
            "{} has no copy of the metadata: without the names of topics nothing can be restored; tier cat reads single \
             partitions",
            bucket.describe()
        );
        return Err(RestoreError::Refused(what));
    };
    let state = State::from_bytes(&backup.data);
    let state = state.map_err(|error| RestoreError::Refused(format!("the copy of the metadata: {error}")))?;
    Ok((claim, backup, state))
}

impl Source {
    /// Reads the bucket and changes nothing. `wall_ms` is the time that copied records get.
    ///
    /// # Errors
    /// [`RestoreError`]: the bucket cannot be read, or holds nothing to restore from.
    pub async fn read(bucket: &dyn Bucket, wall_ms: i64) -> Result<Self, RestoreError> {
        let (claim, backup, state) = metadata(bucket).await?;
        let wanted = wanted(&state);
        let known: BTreeSet<PartitionKey> = wanted.iter().map(|(_, _, key)| *key).collect();
        let count = wanted.len();
        // Listed before the manifests are read: what is listed was written before.
        let listed = partitions(bucket).await?;
        let listed = &listed;
        let read = |(topic, index, key)| async move {
            let there = listed.binary_search(&key).is_ok();
            let manifest = readable_manifest(bucket, key, there).await?;
            Ok::<_, TierError>((topic, index, key, manifest))
        };
        let mut reads = stream::iter(wanted).map(read).buffered(REQUESTS);
        let (mut found, mut term) = (Vec::with_capacity(count), backup.fence.term);
        let mut damage = Damage::default();
        while let Some(read) = reads.next().await {
            let (topic, index, key, manifest) = read?;
            let manifest = manifest.unwrap_or_else(|reason| {
                damage.partitions.push(DamagedPartition {
                    topic: Arc::clone(&topic),
                    index,
                    key,
                    reason,
                });
                None
            });
            if let Some(head) = manifest.as_ref().map(|manifest| &manifest.head) {
                term = term.max(head.fence.term).max(head.end.last.term);
            }
            let tier = manifest.map(|manifest| manifest.state).unwrap_or_default();
            found.push(RecoveredPartition {
                topic,
                index,
                key,
                tier,
            });
            if found.len().is_multiple_of(PROGRESS) {
                log::info!("event=restore_read partitions={} of={count}", found.len());
            }
        }
        drop(reads);
        let unknown = listed.iter().filter(|partition| !known.contains(partition));
        let unknown = unknown.copied().collect();
        let mut source = Self {
            claim,
            state,
            metadata_at_ms: backup.at_ms,
            applied: LogIndex(backup.version),
            partitions: found,
            damage,
            unknown,
            offsets: BTreeMap::new(),
            committed: Vec::new(),
            term,
        };
        source.read_offsets(bucket, wall_ms).await?;
        source.term = Term(source.term.0.saturating_add(TERMS_BEYOND));
        Ok(source)
    }

    /// Agrees to leave out what is damaged, or says what that is.
    ///
    /// # Errors
    /// [`RestoreError::Damaged`] unless it `may_skip`, or nothing is.
    pub fn check_damage(&self, may_skip: bool) -> Result<(), RestoreError> {
        match self.damage.is_none() || may_skip {
            true => Ok(()),
            false => Err(RestoreError::Damaged(self.damage.clone())),
        }
    }

    async fn read_offsets(&mut self, bucket: &dyn Bucket, wall_ms: i64) -> Result<(), RestoreError> {
        let ends: BTreeMap<(&str, i32), Offset> = self
            .partitions
            .iter()
            .map(|partition| {
                let place = (
                    &*partition.topic,
                    i32::try_from(partition.index).unwrap_or(i32::MAX),
                );
                (place, partition.offsets().end)
            })
            .collect();
        let shards = self.state.topic(OFFSETS_TOPIC);
        let shards = shards.map_or(0, |topic| topic.partitions.len());
        let read = |index| async move {
            let name = offsets_backup(index);
            let copy = readable_copy(bucket, &name).await?;
            Ok::<_, TierError>((index, name, copy))
        };
        let mut reads = stream::iter((0..).take(shards)).map(read).buffered(REQUESTS);
        while let Some(read) = reads.next().await {
            let (index, name, copy) = read?;
            let reset = copy.and_then(|copy| {
                let Some(copy) = copy else {
                    return Ok(None);
                };
                self.term = self.term.max(copy.fence.term);
                let reset = reset(&copy.data, copy.at_ms, wall_ms, &ends);
                reset
                    .map(Some)
                    .map_err(|error| format!("the copy {name}: {error}"))
            });
            match reset {
                Ok(None) => {}
                Ok(Some((records, committed))) => {
                    self.offsets.insert(index, records);
                    self.committed.extend(committed);
                }
                Err(reason) => self.damage.copies.push(DamagedCopy { index, name, reason }),
            }
        }
        Ok(())
    }

    /// Writes every manifest and every copy under the new claim, so that the old cluster can replace none of them any more.
    /// What it published since this source was read is taken along.
    ///
    /// # Errors
    /// [`RestoreError`]; done again, it goes on.
    pub async fn fence(
        &mut self,
        bucket: &Arc<dyn Bucket>,
        env: &Env,
        claim: &Claim,
    ) -> Result<(), RestoreError> {
        let fence = Fence::new(claim.generation, self.term, claim.cluster());
        let writer = |name: String| BackupWriter::new(Arc::clone(bucket), env.clone(), name, fence);
        let state: Bytes = self.state.to_bytes().into();
        writer(METADATA_BACKUP.to_owned())
            .write(self.applied.0, &state)
            .await?;
        for (index, records) in &self.offsets {
            writer(offsets_backup(*index)).write(0, records).await?;
        }
        for copy in &self.damage.copies {
            set_aside(&mut writer(copy.name.clone())).await?;
        }
        let keys: Vec<_> = wanted(&self.state).into_iter().map(|(_, _, key)| key).collect();
        let count = keys.len();
        let damaged: BTreeSet<PartitionKey> = self.damage.partitions.iter().map(|one| one.key).collect();
        let damaged = &damaged;
        let taken = |key| take_over(bucket, env, key, fence, damaged.contains(&key));
        let mut states = stream::iter(keys).map(taken).buffered(REQUESTS).enumerate();
        while let Some((number, state)) = states.next().await {
            let state = state?;
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.tier = state;
            }
            if (number + 1).is_multiple_of(PROGRESS) {
                log::info!("event=restore_fenced partitions={} of={count}", number + 1);
            }
        }
        log::info!("event=restore_fenced partitions={count}");
        Ok(())
    }
}

/// Every partition of every topic but the broker's own.
fn wanted(state: &State) -> Vec<(Arc<str>, u32, PartitionKey)> {
    let topics = state.topics().values().filter(|topic| !topic.is_internal());
    let partitions = topics.flat_map(|topic| {
        let indexes = (0..).take(topic.partitions.len());
        indexes.map(|index| (Arc::clone(&topic.name), index, key(topic, index)))
    });
    partitions.collect()
}

/// A partition's manifest; the inner error says why there is none that can be read. `there` says that the partition has
/// objects.
async fn readable_manifest(
    bucket: &dyn Bucket,
    key: PartitionKey,
    there: bool,
) -> Result<Result<Option<Manifest>, String>, TierError> {
    let manifest = match read_manifest(bucket, key).await {
        Ok(manifest) => manifest,
        Err(error @ (TierError::Damaged { .. } | TierError::Missing { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let gone = || format!("the manifest {} is gone, and objects are there", head_key(key));
    match &manifest {
        None if there => Ok(Err(gone())),
        // Nothing was written since it was put aside.
        Some(found) if there && found.state.version() == 0 && is_set_aside(bucket, key).await? => {
            let reason = format!("a restore before this one put {} aside", aside_key(key));
            Ok(Err(reason))
        }
        _ => Ok(Ok(manifest)),
    }
}

/// The copy of this name; the inner error says why there is none that can be read.
async fn readable_copy(bucket: &dyn Bucket, name: &str) -> Result<Result<Option<Backup>, String>, TierError> {
    match read_backup(bucket, name).await {
        Ok(Some(copy))
            if copy.version == 0 && copy.data.is_empty() && is_backup_set_aside(bucket, name).await? =>
        {
            let aside = backup_aside_key(name);
            Ok(Err(format!("a restore before this one put {aside} aside")))
        }
        Ok(copy) => Ok(Ok(copy)),
        Err(error @ TierError::Damaged { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Puts an empty copy in the place of one that cannot be read, whatever the old cluster does meanwhile.
async fn set_aside(writer: &mut BackupWriter) -> Result<(), RestoreError> {
    for _ in 0..ROUNDS {
        if writer.set_aside().await? {
            return Ok(());
        }
    }
    let what = "a copy of committed offsets is written by others again and again: stop the old cluster";
    Err(RestoreError::Refused(what.to_owned()))
}

/// Puts a partition's manifest under `fence`, whatever the old cluster does meanwhile; returns what it says.
async fn take_over(
    bucket: &Arc<dyn Bucket>,
    env: &Env,
    key: PartitionKey,
    fence: Fence,
    damaged: bool,
) -> Result<TierState, RestoreError> {
    for _ in 0..ROUNDS {
        let mut publisher = Publisher::new(Arc::clone(bucket), env.clone(), key, fence);
        if damaged {
            match publisher.set_aside().await? {
                true => return Ok(TierState::default()),
                false => continue,
            }
        }
        let manifest = read_manifest(&**bucket, key).await?;
        if publisher.take_over(manifest.as_ref()).await? {
            return Ok(manifest.map(|manifest| manifest.state).unwrap_or_default());
        }
    }
    Err(RestoreError::Refused(format!(
        "the manifest of {key} is written by others again and again: stop the old cluster"
    )))
}
