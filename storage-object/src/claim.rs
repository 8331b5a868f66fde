//! Which cluster owns a bucket: one claim a prefix, taken over only on purpose.

use crate::bucket::{Bucket, Condition, StoreErrorKind, Version, Want};
use crate::codec::{Decoder, Encode, Malformed, sealed, unsealed};
use crate::error::TierError;
use bytes::{BufMut, Bytes};
use chronik_core::Env;

/// The key of the claim.
pub const CLAIM_KEY: &str = "claim";
const MAGIC: &[u8; 8] = b"CHRTCLM1";
const BYTES_MAX: u64 = 64 << 10;
/// The generation of a bucket's first owner.
const FIRST: u64 = 1;
/// How often a claim is read again after somebody else wrote it.
const ROUNDS: u32 = 4;

/// A cluster's right to write under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Rises when another cluster takes over.
    pub generation: u64,
    /// The cluster's id, as operators know it.
    pub cluster_id: String,
    /// When it was taken, in wall milliseconds.
    pub at_ms: i64,
    nonce: u64,
}

impl Claim {
    /// The cluster as manifests carry it.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        let id = self.cluster_id.as_bytes();
        (0..4u32).fold(0, |sum, part| {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&part.to_le_bytes()), id);
            (sum << 32) | u128::from(crc)
        })
    }

    /// Whether the bucket never had another owner.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.generation == FIRST
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u64_le(self.generation);
        out.put_i64_le(self.at_ms);
        out.put_u64_le(self.nonce);
        out.put_count(self.cluster_id.len());
        out.put_slice(self.cluster_id.as_bytes());
        sealed(out)
    }

    fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(unsealed(bytes)?);
        if decoder.bytes(MAGIC.len())?.as_ref() != MAGIC {
            return Err(Malformed("it is no claim"));
        }
        let (generation, at_ms, nonce) = (decoder.u64()?, decoder.i64()?, decoder.u64()?);
        let len = decoder.count(1)?;
        let cluster_id = String::from_utf8(decoder.bytes(len)?.to_vec())
            .map_err(|_| Malformed("the cluster's id is no text"))?;
        decoder.end()?;
        Ok(Self {
            generation,
            cluster_id,
            at_ms,
            nonce,
        })
    }

    /// The claim on a bucket; none where nobody has one.
    ///
    /// # Errors
    /// [`TierError::Damaged`], [`TierError::Store`].
    pub async fn read(bucket: &dyn Bucket) -> Result<Option<(Self, Version)>, TierError> {
        let want = Want::All { max_bytes: BYTES_MAX };
        match bucket.get(CLAIM_KEY, want).await {
            Ok(object) => {
                let claim = Self::decode(&object.data).map_err(TierError::malformed(CLAIM_KEY))?;
                Ok(Some((claim, object.version)))
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims a bucket that nobody has claimed, or finds the cluster's own claim.
    ///
    /// # Errors
    /// [`TierError::Refused`] where it is another cluster's.
    pub async fn acquire(bucket: &dyn Bucket, env: &Env, cluster_id: &str) -> Result<Self, TierError> {
        for _ in 0..ROUNDS {
            if let Some((claim, _)) = Self::read(bucket).await? {
                return match claim.cluster_id == cluster_id {
                    true => Ok(claim),
                    false => Err(TierError::Refused(
                        format!(
                            "{} belongs to cluster {}, and this is cluster {cluster_id}: choose another prefix in \
                             tier.url, or restore from the bucket",
                            bucket.describe(),
                            claim.cluster_id
                        )
                        .into(),
                    )),
                };
            }
            if let Some(claim) = Self::write(bucket, env, cluster_id, FIRST, Condition::Absent).await? {
                return Ok(claim);
            }
        }
        Err(contended(bucket))
    }

    /// Takes a bucket over for another cluster: whoever had it can publish nothing any more.
    ///
    /// # Errors
    /// [`TierError::Store`].
    pub async fn take_over(bucket: &dyn Bucket, env: &Env, cluster_id: &str) -> Result<Self, TierError> {
        for _ in 0..ROUNDS {
            let (generation, condition) = match Self::read(bucket).await? {
                Some((claim, version)) => (claim.generation + 1, Condition::Unchanged(version)),
                None => (FIRST, Condition::Absent),
            };
            if let Some(claim) = Self::write(bucket, env, cluster_id, generation, condition).await? {
                return Ok(claim);
            }
        }
        Err(contended(bucket))
    }

    /// Writes a claim; none where somebody else wrote meanwhile.
    async fn write(
        bucket: &dyn Bucket,
        env: &Env,
        cluster_id: &str,
        generation: u64,
        condition: Condition,
    ) -> Result<Option<Self>, TierError> {
        let claim = Self {
            generation,
            cluster_id: cluster_id.to_owned(),
            at_ms: env.clock.wall_ms(),
            nonce: env.rng.next_u64(),
        };
        match bucket.put(CLAIM_KEY, vec![claim.encode()], condition).await {
            Ok(_) => Ok(Some(claim)),
            Err(error) if error.kind == StoreErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn contended(bucket: &dyn Bucket) -> TierError {
    TierError::Refused(
        format!(
            "the claim on {} is written by others again and again",
            bucket.describe()
        )
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::MemoryBucket;
    use chronik_conformance::world::{Seed, SimEnv};

    #[test]
    fn a_bucket_has_one_cluster_until_another_takes_it_over() {
        let sim = SimEnv::new(Seed(4));
        let (env, bucket) = (sim.env(), MemoryBucket::new(sim.env().clock));
        let acquire = |cluster| sim.block_on(Claim::acquire(&bucket, &env, cluster)).unwrap();
        let first = acquire("a").unwrap();
        assert_eq!(acquire("a").unwrap(), first);
        let refused = acquire("b").unwrap_err();
        assert!(matches!(refused, TierError::Refused(_)), "{refused}");
        let taken = sim
            .block_on(Claim::take_over(&bucket, &env, "b"))
            .unwrap()
            .unwrap();
        assert_eq!((taken.generation, first.generation), (2, 1));
        assert_ne!(taken.cluster(), first.cluster());
        assert!(acquire("a").is_err());
        assert_eq!(acquire("b").unwrap(), taken);
    }
}
