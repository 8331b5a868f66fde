//! Taking a partition out of the bucket whose topic was deleted: by the leader of the metadata, while others serve.

use crate::bucket::Bucket;
use crate::claim::Claim;
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::manifest::{Fence, Publisher, head_key, read_manifest};
use crate::offline::list_all;
use chronik_core::{Env, Term};
use std::sync::Arc;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nothing is left of it; so many objects were deleted.
    Done(usize),
    /// It may be another cluster's, and nothing was done: it was published under another claim, or never, in a bucket
    /// that was another cluster's before.
    NotOurs,
}

/// Deletes everything of a partition that no leader writes any more. First a manifest without segments is published, one
/// term later than the last, so that a leader of the past cannot add to it; the manifest goes last, so that a removal
/// that was interrupted can be done again. Uploads that no manifest names do not say whose they are: they go only where
/// the bucket never had another owner. A restored cluster does not know what the lost one made after its last copy.
///
/// # Errors
/// [`TierError::Fenced`], [`TierError::Store`]; what is left is removed by the next call.
pub async fn remove_partition(
    bucket: &Arc<dyn Bucket>,
    env: &Env,
    claim: &Claim,
    partition: PartitionKey,
) -> Result<Removed, TierError> {
    let Some(manifest) = read_manifest(&**bucket, partition).await? else {
        return match claim.is_first() {
            true => remove_unpublished(bucket, env, claim, partition).await,
            false => Ok(Removed::NotOurs),
        };
    };
    let written = manifest.head.fence;
    if written.claim != claim.generation || written.cluster != claim.cluster() {
        return Ok(Removed::NotOurs);
    }
    let mut state = manifest.state;
    state.remove_all();
    let fence = Fence::new(
        claim.generation,
        Term(written.term.0.saturating_add(1)),
        claim.cluster(),
    );
    let mut publisher = Publisher::new(Arc::clone(bucket), env.clone(), partition, fence);
    publisher.publish(&state).await?;
    delete_all(bucket, partition).await
}

/// Deletes the uploads of a partition that was never published, under a manifest that no leader of the past can replace.
async fn remove_unpublished(
    bucket: &Arc<dyn Bucket>,
    env: &Env,
    claim: &Claim,
    partition: PartitionKey,
) -> Result<Removed, TierError> {
    let fence = Fence::new(claim.generation, Term(u64::MAX), claim.cluster());
    let mut publisher = Publisher::new(Arc::clone(bucket), env.clone(), partition, fence);
    if !publisher.take_over(None).await? {
        let what = format!("{partition} was published while it was removed");
        return Err(TierError::Refused(what.into()));
    }
    delete_all(bucket, partition).await
}

/// Deletes a partition's objects, its manifest last.
async fn delete_all(bucket: &Arc<dyn Bucket>, partition: PartitionKey) -> Result<Removed, TierError> {
    let head = head_key(partition);
    let mut deleted = 0;
    for object in list_all(&**bucket, &partition.folder()).await? {
        if *object.key != *head {
            bucket.delete(&object.key).await?;
            deleted += 1;
        }
    }
    bucket.delete(&head).await?;
    Ok(Removed::Done(deleted + 1))
}
