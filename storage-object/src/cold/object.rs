//! One object as the read path sees it, and the footers that were read.

use super::BLOCK_BYTES;
use crate::format::Footer;
use crate::key::PartitionKey;
use crate::state::SegmentMeta;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The number that stands for the footer among an object's blocks.
pub(super) const FOOTER: u32 = u32::MAX - 1;
/// Footers that are kept decoded.
const FOOTERS_MAX: usize = 256;

/// An object, by the segment that it holds.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(super) partition: PartitionKey,
    pub(super) segment: Arc<SegmentMeta>,
    pub(crate) key: Arc<str>,
}

impl Object {
    pub(crate) fn new(partition: PartitionKey, segment: Arc<SegmentMeta>) -> Self {
        Self {
            key: segment.key(partition).to_string().into(),
            partition,
            segment,
        }
    }

    /// How many blocks there are before the footer.
    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.segment.footer_position.div_ceil(BLOCK_BYTES)).unwrap_or(FOOTER - 1)
    }

    /// The bytes of a run of blocks, or of the footer.
    pub(super) fn range(&self, blocks: &Range<u32>) -> Range<u64> {
        let body = self.segment.footer_position;
        if blocks.start == FOOTER {
            return body..self.segment.object_bytes;
        }
        let start = u64::from(blocks.start) * BLOCK_BYTES;
        start..(u64::from(blocks.end) * BLOCK_BYTES).min(body)
    }
}

/// Decoded footers, the newest ones.
#[derive(Debug, Default)]
pub(super) struct Objects {
    footers: Mutex<Footers>,
}

#[derive(Debug, Default)]
struct Footers {
    by_key: HashMap<Arc<str>, Arc<Footer>>,
    order: VecDeque<Arc<str>>,
}

impl Objects {
    pub(super) fn get(&self, key: &str) -> Option<Arc<Footer>> {
        let footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        footers.by_key.get(key).cloned()
    }

    pub(super) fn put(&self, key: &Arc<str>, footer: &Arc<Footer>) {
        let mut footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = footers.by_key.insert(Arc::clone(key), Arc::clone(footer));
        if replaced.is_none() {
            footers.order.push_back(Arc::clone(key));
        }
        while footers.order.len() > FOOTERS_MAX {
            if let Some(oldest) = footers.order.pop_front() {
                footers.by_key.remove(&oldest);
            }
        }
    }
}
