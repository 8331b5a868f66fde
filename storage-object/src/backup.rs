//! Copies of what no segment carries: the cluster's metadata, and the state behind consumer groups.
//!
//! A backup is one object that is replaced as a whole, by compare-and-swap under the same fence as a manifest, so that
//! neither a leader of the past nor a cluster that lost its claim overwrites a newer copy. What is in it is opaque here.
//! Byte layout: `docs/format/tier-object.md`.

use crate::bucket::{Bucket, Condition, Object, StoreErrorKind, Version, Want};
use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use crate::error::TierError;
use crate::manifest::Fence;
use crate::offline::list_all;
use bytes::{BufMut, Bytes};
use chronik_core::Env;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CHRTBKP1";
/// The largest backup that is read.
const BYTES_MAX: u64 = 256 << 20;
/// More than an object has beside its state.
const HEADER_BYTES_MAX: u64 = 1024;
/// How often a backup is read again after somebody else wrote it.
const ROUNDS: u32 = 4;

/// A copy of some state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Under which right it was written.
    pub fence: Fence,
    /// The state's version: rises with every change of it, whoever leads.
    pub version: u64,
    /// When it was written, in wall milliseconds of the writer.
    pub at_ms: i64,
    /// The state.
    pub data: Bytes,
    /// Drawn for every write: no two writers ever write the same bytes.
    nonce: u64,
}

impl Backup {
    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128 + self.data.len());
        out.put_slice(MAGIC);
        self.fence.put(&mut out);
        out.put_u64_le(self.version);
        out.put_i64_le(self.at_ms);
        out.put_u64_le(self.nonce);
        out.put_count(self.data.len());
        out.put_slice(&self.data);
        sealed(out)
    }

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        if decoder.bytes(MAGIC.len())?.as_ref() != MAGIC {
            return Err(Malformed("it is no backup"));
        }
        let fence = Fence::take(&mut decoder)?;
        let (version, at_ms, nonce) = (decoder.u64()?, decoder.i64()?, decoder.u64()?);
        let len = decoder.count(1)?;
        let data = decoder.bytes(len)?;
        decoder.end()?;
        Ok(Self {
            fence,
            version,
            at_ms,
            data,
            nonce,
        })
    }
}

/// What the name of a backup ends with that could not be read and was put aside.
const ASIDE: &str = ".damaged";

fn key(name: &str) -> String {
    format!("b/{name}")
}

/// The key of a backup of this name that could not be read and was put aside.
#[must_use]
pub fn backup_aside_key(name: &str) -> String {
    format!("b/{name}{ASIDE}")
}

/// Whether the backup of this name was put aside ([`BackupWriter::set_aside`]).
///
/// # Errors
/// [`TierError::Store`].
pub async fn is_backup_set_aside(bucket: &dyn Bucket, name: &str) -> Result<bool, TierError> {
    match bucket.get(&backup_aside_key(name), Want::Meta).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads the backup of this name; none where there is none.
///
/// # Errors
/// [`TierError::Damaged`], [`TierError::Store`].
pub async fn read_backup(bucket: &dyn Bucket, name: &str) -> Result<Option<Backup>, TierError> {
    Ok(read(bucket, name).await?.map(|(backup, _)| backup))
}

/// The names of the backups that there are, but for those that were put aside.
///
/// # Errors
/// [`TierError::Store`].
pub async fn list_backups(bucket: &dyn Bucket) -> Result<Vec<String>, TierError> {
    let all = list_all(bucket, "b").await?;
    let names = all.iter().filter_map(|object| object.key.strip_prefix("b/"));
    let names = names.filter(|name| !name.ends_with(ASIDE));
    Ok(names.map(str::to_owned).collect())
}

async fn read(bucket: &dyn Bucket, name: &str) -> Result<Option<(Backup, Version)>, TierError> {
    let Some(object) = object(bucket, name).await? else {
        return Ok(None);
    };
    let backup = Backup::decode(&object.data).map_err(TierError::malformed(&key(name)))?;
    Ok(Some((backup, object.version)))
}

async fn object(bucket: &dyn Bucket, name: &str) -> Result<Option<Object>, TierError> {
    match bucket.get(&key(name), Want::All { max_bytes: BYTES_MAX }).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a writer knows of the object that it replaces.
#[derive(Debug)]
struct Known {
    fence: Fence,
    version: u64,
    object: Version,
}

/// Writes one backup, as its owner in one term.
#[derive(Debug)]
pub struct BackupWriter {
    bucket: Arc<dyn Bucket>,
    env: Env,
    name: String,
    fence: Fence,
    /// The object that we wrote or read last; none before the first look.
    known: Option<Option<Known>>,
}

impl BackupWriter {
    /// A writer under `fence` of the backup `name`, which is a plain name. The bucket must settle unknown outcomes, as
    /// [`Retrying`](crate::bucket::Retrying) does.
    #[must_use]
    pub fn new(bucket: Arc<dyn Bucket>, env: Env, name: String, fence: Fence) -> Self {
        Self {
            bucket,
            env,
            name,
            fence,
            known: None,
        }
    }

    /// The right under which it writes.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Writes the state of this version, unless that is there already.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written, or the state is older than what is there.
    pub async fn write(&mut self, version: u64, data: &Bytes) -> Result<(), TierError> {
        for _ in 0..ROUNDS {
            let current = match self.known.take() {
                Some(known) => known,
                None => self.look().await?,
            };
            if let Some(known) = &current {
                self.check(known, version)?;
                if known.fence == self.fence && known.version == version {
                    self.known = Some(current);
                    return Ok(());
                }
            }
            if let Some(written) = self.replace(current, version, data).await? {
                self.known = Some(Some(written));
                return Ok(());
            }
        }
        Err(TierError::Refused(
            format!("the backup {} is written by others again and again", self.name).into(),
        ))
    }

    /// Writes the state over a backup that cannot be read, for a writer who has the whole state and needs nothing of what was
    /// there; that is kept beside it, as [`backup_aside_key`], unless something is there already. False where it can be read
    /// after all, or somebody wrote meanwhile: then it is to be written as ever.
    ///
    /// # Errors
    /// [`TierError::Store`].
    pub async fn write_over_damage(&mut self, version: u64, data: &Bytes) -> Result<bool, TierError> {
        self.known = None;
        let (first, second) = (
            object(&*self.bucket, &self.name).await?,
            object(&*self.bucket, &self.name).await?,
        );
        // Bytes that are wrong on their way here are others the next time.
        let (Some(first), Some(found)) = (first, second) else {
            return Ok(false);
        };
        if first.data != found.data || Backup::decode(&found.data).is_ok() {
            return Ok(false);
        }
        self.keep_aside(found.data).await?;
        let current = Known {
            fence: self.fence,
            version: 0,
            object: found.version,
        };
        let written = self.replace(Some(current), version, data).await?;
        let done = written.is_some();
        self.known = written.map(Some);
        Ok(done)
    }

    /// Keeps what is to be replaced beside the backup. What is damaged takes the place of what was kept earlier, which has
    /// been written anew since; anything else does not, as it may be the empty one of an attempt before this.
    async fn keep_aside(&self, data: Bytes) -> Result<(), TierError> {
        let aside = backup_aside_key(&self.name);
        let condition = match Backup::decode(&data) {
            Ok(_) => Condition::Absent,
            Err(_) => Condition::Always,
        };
        match self.bucket.put(&aside, vec![data], condition).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::Conflict => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts an empty backup in the place of one that cannot be read, or not be understood. What was there is kept beside it,
    /// as [`backup_aside_key`]. False where somebody wrote meanwhile: then it is to be done again.
    ///
    /// # Errors
    /// [`TierError::Fenced`] where a newer owner has written.
    pub async fn set_aside(&mut self) -> Result<bool, TierError> {
        let found = object(&*self.bucket, &self.name).await?;
        let current = match found {
            Some(object) => {
                let fence = Backup::decode(&object.data).ok().map(|backup| backup.fence);
                if let Some(fence) = fence.filter(|fence| !self.fence.may_replace(fence)) {
                    return Err(TierError::Fenced {
                        owner: fence.to_string().into(),
                    });
                }
                self.keep_aside(object.data).await?;
                Some(Known {
                    fence: self.fence,
                    version: 0,
                    object: object.version,
                })
            }
            None => None,
        };
        let written = self.replace(current, 0, &Bytes::new()).await?;
        let done = written.is_some();
        self.known = written.map(Some);
        Ok(done)
    }

    async fn look(&self) -> Result<Option<Known>, TierError> {
        let found = read(&*self.bucket, &self.name).await?;
        Ok(found.map(|(backup, object)| Known {
            fence: backup.fence,
            version: backup.version,
            object,
        }))
    }

    fn check(&self, known: &Known, version: u64) -> Result<(), TierError> {
        let older = known.fence.claim == self.fence.claim && known.version > version;
        if self.fence.may_replace(&known.fence) && !older {
            return Ok(());
        }
        Err(TierError::Fenced {
            owner: known.fence.to_string().into(),
        })
    }

    /// Replaces the object; none where somebody else wrote meanwhile.
    async fn replace(
        &self,
        current: Option<Known>,
        version: u64,
        data: &Bytes,
    ) -> Result<Option<Known>, TierError> {
        if data.len() as u64 > BYTES_MAX - HEADER_BYTES_MAX {
            return Err(TierError::Refused(
                format!(
                    "the backup {} has {} bytes, more than can be read again",
                    self.name,
                    data.len()
                )
                .into(),
            ));
        }
        let backup = Backup {
            fence: self.fence,
            version,
            at_ms: self.env.clock.wall_ms(),
            data: data.clone(),
            nonce: self.env.rng.next_u64(),
        };
        let condition = current.map_or(Condition::Absent, |known| Condition::Unchanged(known.object));
        match self
            .bucket
            .put(&key(&self.name), vec![backup.encode()], condition)
            .await
        {
            Ok(object) => Ok(Some(Known {
                fence: self.fence,
                version,
                object,
            })),
            Err(error) if error.kind == StoreErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::MemoryBucket;
    use chronik_conformance::world::{Seed, SimEnv};
    use chronik_core::Term;

    #[test]
    fn the_newest_owner_and_the_newest_state_stay() {
        let sim = SimEnv::new(Seed(5));
        let bucket: Arc<dyn Bucket> = Arc::new(MemoryBucket::new(sim.env().clock));
        let writer = |claim: u64, term: u64| {
            let fence = Fence::new(claim, Term(term), u128::from(claim));
            BackupWriter::new(Arc::clone(&bucket), sim.env(), "metadata".to_owned(), fence)
        };
        let write = |writer: &mut BackupWriter, version: u64, data: &'static str| {
            sim.block_on(writer.write(version, &Bytes::from_static(data.as_bytes())))
                .unwrap()
        };
        let read = || {
            let backup = sim.block_on(read_backup(&*bucket, "metadata")).unwrap().unwrap();
            backup.map(|backup| backup.data)
        };
        assert_eq!(read(), None);
        let (mut old, mut new) = (writer(1, 1), writer(1, 2));
        write(&mut old, 1, "a").unwrap();
        write(&mut old, 1, "a").unwrap();
        write(&mut new, 2, "b").unwrap();
        assert!(matches!(write(&mut old, 3, "c"), Err(TierError::Fenced { .. })));
        assert!(matches!(
            write(&mut writer(1, 3), 1, "c"),
            Err(TierError::Fenced { .. })
        ));
        assert_eq!(read(), Some(Bytes::from_static(b"b")));
        // Another cluster took the bucket over; its state counts from its own start.
        write(&mut writer(2, 1), 1, "d").unwrap();
        assert!(matches!(write(&mut new, 9, "e"), Err(TierError::Fenced { .. })));
        assert_eq!(read(), Some(Bytes::from_static(b"d")));
    }

    #[test]
    fn a_backup_that_cannot_be_read_is_put_aside_and_replaced() {
        let sim = SimEnv::new(Seed(6));
        let bucket: Arc<dyn Bucket> = Arc::new(MemoryBucket::new(sim.env().clock));
        let writer = |claim: u64| {
            let fence = Fence::new(claim, Term(1), u128::from(claim));
            BackupWriter::new(Arc::clone(&bucket), sim.env(), "offsets".to_owned(), fence)
        };
        let damaged = Bytes::from_static(b"no backup at all");
        let put = bucket.put("b/offsets", vec![damaged.clone()], Condition::Always);
        sim.block_on(put).unwrap().unwrap();
        let data = Bytes::from_static(b"state");
        let mut new = writer(2);
        let refused = sim.block_on(new.write(7, &data)).unwrap();
        assert!(matches!(refused, Err(TierError::Damaged { .. })), "{refused:?}");
        for _ in 0..2 {
            // A restore that was interrupted does it again.
            assert_eq!(sim.block_on(new.set_aside()).unwrap(), Ok(true));
        }
        assert_eq!(
            sim.block_on(is_backup_set_aside(&*bucket, "offsets")).unwrap(),
            Ok(true)
        );
        let want = Want::All { max_bytes: BYTES_MAX };
        let kept = sim
            .block_on(bucket.get(&backup_aside_key("offsets"), want))
            .unwrap();
        assert_eq!(kept.unwrap().data, damaged, "the first one, not the empty one");
        assert_eq!(
            sim.block_on(list_backups(&*bucket)).unwrap(),
            Ok(vec!["offsets".to_owned()])
        );
        // The old owner is shut out, and the new one goes on from there.
        let older = sim.block_on(writer(1).set_aside()).unwrap();
        assert!(matches!(older, Err(TierError::Fenced { .. })), "{older:?}");
        let old = sim.block_on(writer(1).write(9, &data)).unwrap();
        assert!(matches!(old, Err(TierError::Fenced { .. })), "{old:?}");
        sim.block_on(new.write(1, &data)).unwrap().unwrap();
        let read = sim.block_on(read_backup(&*bucket, "offsets")).unwrap().unwrap();
        assert_eq!(read.map(|backup| backup.data), Some(data));
    }

    #[test]
    fn a_writer_who_has_the_state_writes_over_damage_and_over_nothing_else() {
        let sim = SimEnv::new(Seed(7));
        let bucket: Arc<dyn Bucket> = Arc::new(MemoryBucket::new(sim.env().clock));
        let fence = Fence::new(1, Term(1), 1);
        let mut writer = BackupWriter::new(Arc::clone(&bucket), sim.env(), "metadata".to_owned(), fence);
        let state = Bytes::from_static(b"state");
        sim.block_on(writer.write(3, &state)).unwrap().unwrap();
        let newer = Bytes::from_static(b"newer state");
        assert_eq!(
            sim.block_on(writer.write_over_damage(4, &newer)).unwrap(),
            Ok(false),
            "what can be read is not replaced"
        );
        // The second time, what was kept of the first gives way.
        for (version, damaged) in [(4, "no backup at all"), (5, "nor this")] {
            let damaged = Bytes::from_static(damaged.as_bytes());
            let put = bucket.put("b/metadata", vec![damaged.clone()], Condition::Always);
            sim.block_on(put).unwrap().unwrap();
            let refused = sim.block_on(writer.write(version, &newer)).unwrap();
            assert!(matches!(refused, Err(TierError::Damaged { .. })), "{refused:?}");
            assert_eq!(
                sim.block_on(writer.write_over_damage(version, &newer)).unwrap(),
                Ok(true)
            );
            let backup = sim.block_on(read_backup(&*bucket, "metadata")).unwrap().unwrap();
            assert_eq!(
                backup.map(|backup| (backup.version, backup.data)),
                Some((version, newer.clone()))
            );
            let want = Want::All { max_bytes: BYTES_MAX };
            let aside = bucket.get(&backup_aside_key("metadata"), want);
            assert_eq!(sim.block_on(aside).unwrap().unwrap().data, damaged);
        }
        // It goes on as after any write.
        sim.block_on(writer.write(6, &state)).unwrap().unwrap();
    }

    #[test]
    fn no_bit_of_a_backup_changes_unseen() {
        let backup = Backup {
            fence: Fence::new(1, Term(2), 3),
            version: 4,
            at_ms: 5,
            data: Bytes::from_static(b"state"),
            nonce: 6,
        };
        let bytes = backup.encode();
        assert_eq!(Backup::decode(&bytes), Ok(backup));
        let mut flipped = bytes.to_vec();
        for bit in 0..flipped.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Backup::decode(&flipped.clone().into()).is_err());
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(Backup::decode(&bytes.slice(..len)).is_err());
        }
    }
}
