//! Taking a partition out of the bucket whose topic was deleted.

use super::list_all;
use crate::bucket::Bucket;
use crate::claim::Claim;
use crate::error::TierError;
use crate::key::PartitionKey;
use crate::manifest::{Fence, Publisher, head_key, read_manifest};
use chronik_core::{Env, Term};
use std::sync::Arc;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Nothing is left of it; so many objects were deleted.
    Done(usize),
    /// It was published under another claim, or never: it may be another cluster's, and nothing was done.
    NotOurs,
}

/// Deletes everything of a partition that no leader writes any more. First a manifest without segments is published, one
/// term later than the last, so that a leader of the past cannot add to it; the manifest goes last, so that a removal
/// that was interrupted can be done again.
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
        return Ok(Removed::NotOurs);
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
