//! The bucket without a cluster: which partitions there are, what is in one, and whether it is whole.

mod entries;
mod scrub;

pub use entries::Entries;
pub use scrub::{Finding, ScrubReport, delete_orphans, scrub, verify_object};

use crate::bucket::{Bucket, ObjectMeta};
use crate::error::TierError;
use crate::key::PartitionKey;

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

/// The partitions that have objects in the bucket, sorted. One request a partition.
///
/// # Errors
/// [`TierError::Store`].
pub async fn partitions(bucket: &dyn Bucket) -> Result<Vec<PartitionKey>, TierError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket.list("p", after.as_deref()).await?;
        let Some(first) = page.objects.first() else {
            found.sort();
            return Ok(found);
        };
        // Objects of others are stepped over one by one, those of a partition all at once.
        after = Some(match PartitionKey::of_key(&first.key) {
            Some(partition) => {
                found.push(partition);
                format!("{}/{BEHIND}", partition.folder())
            }
            None => first.key.to_string(),
        });
    }
}
