//! The object tier: sealed, committed segments as immutable objects in a bucket.
//!
//! - [`format`](mod@format): the bytes of one segment object (`docs/format/tier-object.md`).

mod codec;
pub mod format;
pub mod key;

pub use key::{PartitionKey, SegmentKey};
