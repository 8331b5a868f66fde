//! The manifest of a partition in the bucket: a copy of the tier's state, for recovery and for readers outside.
//!
//! One head object, changed by compare-and-swap alone, names immutable pages of segments and holds the newest segments
//! itself, so that a change costs one small write however long the partition is. The head carries a fence: who writes
//! with an older one loses, for ever. Byte layouts: `docs/format/tier-state.md`.

mod fence;
mod head;
mod page;
mod publish;
mod read;
#[cfg(test)]
mod tests;

pub use fence::Fence;
pub use head::{Head, PageRef};
pub use publish::Publisher;
pub(crate) use read::read_segments;
pub use read::{Manifest, is_set_aside, read_manifest};

use crate::key::PartitionKey;

/// Segments of one page.
pub const PAGE_SEGMENTS: usize = 256;
/// The most segments that a head holds itself.
pub const HEAD_SEGMENTS_MAX: usize = 2 * PAGE_SEGMENTS;
/// No head or page is larger.
const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// The key of a partition's head.
#[must_use]
pub fn head_key(partition: PartitionKey) -> String {
    format!("{}/manifest", partition.folder())
}

/// The key of a manifest that could not be read and was put aside. The object is empty where there was none.
#[must_use]
pub fn aside_key(partition: PartitionKey) -> String {
    format!("{}/manifest.damaged", partition.folder())
}

/// The folder of a partition's pages.
#[must_use]
pub fn pages_folder(partition: PartitionKey) -> String {
    format!("{}/man", partition.folder())
}
