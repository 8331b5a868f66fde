//! Which segment files are mapped by this process, by the generation of the file.
//!
//! Slices of a map may outlive the store that made it, and the store that the process opens next must not write into
//! their file. So this is known to the process, not to a store.

use crate::sync::locked;
use std::collections::BTreeMap;
use std::sync::Mutex;

static MAPS: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());

/// A sign of life of one map and its slices.
#[derive(Debug)]
pub(crate) struct MapToken {
    generation: u64,
}

impl MapToken {
    /// The sign of a map that is about to be made.
    pub(crate) fn new(generation: u64) -> Self {
        *locked(&MAPS).entry(generation).or_default() += 1;
        Self { generation }
    }
}

impl Drop for MapToken {
    fn drop(&mut self) {
        let mut maps = locked(&MAPS);
        if let Some(count) = maps.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                maps.remove(&self.generation);
            }
        }
    }
}

/// Whether a map of the file, or a slice of one, is left.
pub(crate) fn is_mapped(generation: u64) -> bool {
    locked(&MAPS).contains_key(&generation)
}
