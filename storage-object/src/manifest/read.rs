//! Reading a manifest, by whoever can read the bucket.

use super::{Head, OBJECT_BYTES_MAX, head_key, page};
use crate::bucket::{Bucket, StoreErrorKind, Version, Want};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::{SegmentMeta, TierState};
use std::sync::Arc;

/// A manifest as it was published.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its head.
    pub head: Head,
    /// The version of the head's object, for a compare-and-swap.
    pub version: Version,
    /// The state that it is a copy of.
    pub state: TierState,
}

/// The head of a partition's manifest; none where nothing was published.
pub(super) async fn read_head(
    bucket: &dyn Bucket,
    partition: PartitionKey,
) -> Result<Option<(Head, Version)>, TierError> {
    let key = head_key(partition);
    let want = Want::All {
        max_bytes: OBJECT_BYTES_MAX,
    };
    let object = match bucket.get(&key, want).await {
        Ok(object) => object,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let head = Head::decode(&object.data, partition).map_err(TierError::malformed(&key))?;
    Ok(Some((head, object.version)))
}

/// Reads a partition's manifest with all of its pages; none where nothing was published.
///
/// # Errors
/// [`TierError::Damaged`] where it contradicts itself, [`TierError::Store`].
pub async fn read_manifest(
    bucket: &dyn Bucket,
    partition: PartitionKey,
) -> Result<Option<Manifest>, TierError> {
    let Some((head, version)) = read_head(bucket, partition).await? else {
        return Ok(None);
    };
    let mut segments: Vec<Arc<SegmentMeta>> = Vec::new();
    for reference in &head.pages {
        let key = reference.key(partition);
        let want = Want::All {
            max_bytes: OBJECT_BYTES_MAX,
        };
        let object = bucket.get(&key, want).await?;
        segments
            .extend(page::decode(&object.data, partition, reference).map_err(TierError::malformed(&key))?);
    }
    segments.extend(head.segments.iter().cloned());
    let gone = segments.partition_point(|segment| segment.offsets.end <= head.start);
    segments.drain(..gone);
    SegmentMeta::check_chain(&segments).map_err(TierError::malformed(&head_key(partition)))?;
    let state = TierState::restored(segments, head.end, head.state_version);
    Ok(Some(Manifest { head, version, state }))
}
