//! Reading a manifest, by whoever can read the bucket.

use super::{Head, OBJECT_BYTES_MAX, PageRef, aside_key, head_key, page};
use crate::bucket::{Bucket, Object, StoreErrorKind, Version, Want};
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::state::{SegmentMeta, TierState};
use bytes::Bytes;
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
    let Some((key, object)) = head_object(bucket, partition).await? else {
        return Ok(None);
    };
    let head = Head::decode(&object.data, partition).map_err(TierError::malformed(&key))?;
    Ok(Some((head, object.version)))
}

pub(super) async fn head_object(
    bucket: &dyn Bucket,
    partition: PartitionKey,
) -> Result<Option<(String, Object)>, TierError> {
    let key = head_key(partition);
    let want = Want::All {
        max_bytes: OBJECT_BYTES_MAX,
    };
    match bucket.get(&key, want).await {
        Ok(object) => Ok(Some((key, object))),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
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
    let mut segments = Vec::new();
    for reference in &head.pages {
        let (key, data) = read_page(bucket, partition, reference).await?;
        let page = page::decode(&data, partition, reference);
        segments.extend(page.map_err(TierError::malformed(&key))?);
    }
    segments.extend(head.segments.iter().cloned());
    drop_before(&mut segments, &head);
    SegmentMeta::check_chain(&segments).map_err(TierError::malformed(&head_key(partition)))?;
    let state = TierState::restored(segments, head.end, head.state_version);
    Ok(Some(Manifest { head, version, state }))
}

/// Whether the partition's manifest was put aside ([`Publisher::set_aside`](super::Publisher::set_aside)).
///
/// # Errors
/// [`TierError::Store`].
pub async fn is_set_aside(bucket: &dyn Bucket, partition: PartitionKey) -> Result<bool, TierError> {
    match bucket.get(&aside_key(partition), Want::Meta).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The segments that a manifest names, also where they contradict each other: for whoever looks for what is wrong.
///
/// # Errors
/// [`TierError::Damaged`] where it cannot be read at all, [`TierError::Store`].
pub(crate) async fn read_segments(
    bucket: &dyn Bucket,
    partition: PartitionKey,
) -> Result<Option<(Head, Vec<Arc<SegmentMeta>>)>, TierError> {
    let Some((key, object)) = head_object(bucket, partition).await? else {
        return Ok(None);
    };
    let head = Head::parse(&object.data, partition).map_err(TierError::malformed(&key))?;
    let mut segments = Vec::new();
    for reference in &head.pages {
        let (key, data) = read_page(bucket, partition, reference).await?;
        segments.extend(page::parse(&data, partition).map_err(TierError::malformed(&key))?);
    }
    segments.extend(head.segments.iter().cloned());
    drop_before(&mut segments, &head);
    Ok(Some((head, segments)))
}

fn drop_before(segments: &mut Vec<Arc<SegmentMeta>>, head: &Head) {
    let gone = segments.partition_point(|segment| segment.offsets.end <= head.start);
    segments.drain(..gone);
}

async fn read_page(
    bucket: &dyn Bucket,
    partition: PartitionKey,
    page: &PageRef,
) -> Result<(String, Bytes), TierError> {
    let key = page.key(partition);
    let want = Want::All {
        max_bytes: OBJECT_BYTES_MAX,
    };
    match bucket.get(&key, want).await {
        Ok(object) => Ok((key, object.data)),
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            Err(TierError::damaged(&key, "the page is gone"))
        }
        Err(error) => Err(error.into()),
    }
}
