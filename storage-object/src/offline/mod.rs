//! The bucket without a cluster: which partitions there are, what is in one, and whether it is whole.

mod entries;
mod last_state;
mod scrub;

pub use entries::Entries;
pub use last_state::LastState;
pub use scrub::{Finding, ScrubReport, scrub, verify_object};

use crate::bucket::{Bucket, ObjectMeta};
use crate::error::TierError;
use crate::key::PartitionKey;
use std::collections::BTreeSet;

/// The last name that can be in a partition's folder, for lists that go on behind it.
const BEHIND: &str = "zzz";

/// All objects in a folder.
///
/// # Errors
/// [`TierError::Store`].
pub async fn list_all(bucket: &dyn Bucket, folder: &str) -> Result<Vec<ObjectMeta>, TierError> {
    let mut all: Vec<ObjectMeta> = Vec::new();
    loop {
        let after = all.last().map(|object| object.key.to_string());
        let page = bucket.list(folder, after.as_deref()).await?;
        let advanced = !page.objects.is_empty();
        all.extend(page.objects);
        if !page.more || !advanced {
            return Ok(all);
        }
    }
}

/// The partitions that have objects in the bucket, sorted. At most one request a partition, and fewer where they have few
/// objects.
///
/// # Errors
/// [`TierError::Store`].
pub async fn partitions(bucket: &dyn Bucket) -> Result<Vec<PartitionKey>, TierError> {
    let mut found = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list("p", after.as_deref()).await?;
        let Some(last) = page.objects.last() else {
            return Ok(found.into_iter().collect());
        };
        let keys = page.objects.iter();
        found.extend(keys.filter_map(|object| PartitionKey::of_key(&object.key)));
        if !page.more {
            return Ok(found.into_iter().collect());
        }
        // What else the last partition of the page has is stepped over at once.
        after = Some(match PartitionKey::of_key(&last.key) {
            Some(partition) => format!("{}/{BEHIND}", partition.folder()),
            None => last.key.to_string(),
        });
    }
}
