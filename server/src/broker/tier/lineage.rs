//! Whether the metadata copy in the bucket is of this cluster's own past.
//!
//! A cluster that is founded on empty disks with the id of one that was lost finds that one's claim, and knows none of its
//! topics. It must not take what the lost cluster left for garbage, nor write over the copies that a restore needs. No two
//! foundings have a data directory in common, and every broker is registered with the number that was drawn for its
//! directory.

use super::Parts;
use crate::cluster::state::State;
use crate::group::backup::METADATA_BACKUP;
use chronik_storage_object::{Claim, TierError, read_backup};

/// What the copy in the bucket is.
pub(super) enum Lineage {
    /// There is none.
    Absent,
    /// It cannot be read, so that it says nothing of whose it is.
    Damaged(TierError),
    /// It is the last of the cluster that this one was restored from.
    Ancestor,
    /// This cluster wrote it.
    Own(Box<State>),
}

/// Looks at the metadata copy under the cluster's claim.
///
/// # Errors
/// [`TierError::Refused`] where another cluster with the same id wrote it; what [`read_backup`] says.
pub(super) async fn look(parts: &Parts, claim: &Claim) -> Result<Lineage, TierError> {
    let bucket = &**parts.tier.bucket();
    let copy = match read_backup(bucket, METADATA_BACKUP).await {
        Ok(Some(copy)) => copy,
        Ok(None) => return Ok(Lineage::Absent),
        Err(error @ TierError::Damaged { .. }) => return Ok(Lineage::Damaged(error)),
        Err(error) => return Err(error),
    };
    let image = parts.controller.image();
    let copied = State::from_bytes(&copy.data);
    let copied =
        copied.map_err(|error| TierError::Refused(format!("b/{METADATA_BACKUP}: {error}").into()))?;
    if (copy.fence.claim, copy.fence.cluster) != (claim.generation, claim.cluster())
        || copied.cluster_id() != image.state.cluster_id()
    {
        return Ok(Lineage::Ancestor);
    }
    if shares_a_directory(&image.state, &copied) {
        return Ok(Lineage::Own(Box::new(copied)));
    }
    Err(TierError::Refused(
        format!(
            "{} holds the copies of another cluster that was called {} too, and nothing of it was touched: restore from \
             the bucket, or give this cluster a tier.url or a node.cluster_id of its own",
            bucket.describe(),
            claim.cluster_id
        )
        .into(),
    ))
}

/// Whether a broker of both has the same data directory. Directories from before they were numbered count as the same.
fn shares_a_directory(one: &State, other: &State) -> bool {
    // A copy from before the first broker was registered has nothing of anybody.
    other.brokers().is_empty()
        || one.brokers().iter().any(|(node, broker)| {
            let there = other.brokers().get(node);
            there.is_some_and(|there| there.incarnation == broker.incarnation)
        })
}
