//! A map of a sealed segment, and which of its frames were found to be what was written.
//!
//! A sealed segment never changes, so a payload is checked against its checksum the first time that it is read through
//! a map, and not again while the map lives. What is read again is only touched, page by page: whoever sends a slice
//! of the map must not be the one that waits for the disk.

use crate::sync::locked;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Ranges that are remembered of one map. Frames are read one after another, so that there are few.
const RANGES_MAX: usize = 1024;
/// The smallest page that a map can have.
const PAGE_BYTES: usize = 4096;

/// The bytes of a sealed segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentMap {
    bytes: Bytes,
    checked: Arc<Mutex<CheckedRanges>>,
}

/// Disjoint ranges that do not touch, by their starts.
#[derive(Debug, Default)]
struct CheckedRanges(BTreeMap<u64, u64>);

impl SegmentMap {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            checked: Arc::default(),
        }
    }

    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether everything in `range` was checked through this map.
    pub(crate) fn is_checked(&self, range: &Range<u64>) -> bool {
        locked(&self.checked).covers(range)
    }

    /// Everything in `range` is what was written.
    pub(crate) fn note_checked(&self, range: Range<u64>) {
        locked(&self.checked).add(range);
    }
}

impl CheckedRanges {
    fn covers(&self, range: &Range<u64>) -> bool {
        let before = self.0.range(..=range.start).next_back();
        before.is_some_and(|(_, end)| *end >= range.end)
    }

    /// Forgets instead of growing beyond the bound: what is not known is checked again.
    fn add(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start, range.end);
        while let Some((at, until)) = self.0.range(..=end).next_back().map(|(at, until)| (*at, *until)) {
            if until < start {
                break;
            }
            self.0.remove(&at);
            start = start.min(at);
            end = end.max(until);
        }
        if self.0.len() < RANGES_MAX {
            self.0.insert(start, end);
        }
    }
}

/// Reads a byte of every page of `bytes`, so that they are in memory.
pub(crate) fn touch(bytes: &[u8]) {
    let pages = bytes.iter().step_by(PAGE_BYTES).chain(bytes.last());
    std::hint::black_box(pages.fold(0, |sum: u8, byte| sum ^ byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one_and_gaps_stay() {
        let mut checked = CheckedRanges::default();
        for range in [10..20, 30..40, 20..25, 50..60] {
            checked.add(range);
        }
        assert!(checked.covers(&(10..25)) && checked.covers(&(31..40)));
        assert!(!checked.covers(&(24..31)) && !checked.covers(&(9..11)) && !checked.covers(&(60..61)));
        checked.add(22..52);
        assert_eq!(checked.0, BTreeMap::from([(10, 60)]));
    }

    #[test]
    fn random_ranges_cover_what_a_set_of_positions_says() {
        let seed = fastrand::u64(..);
        println!("seed={seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut checked, mut model) = (CheckedRanges::default(), vec![false; 400]);
        for _ in 0..200 {
            let start = rng.usize(0..390);
            let end = start + rng.usize(1..10);
            checked.add(start as u64..end as u64);
            model[start..end].fill(true);
            let start = rng.usize(0..390);
            let end = start + rng.usize(1..10);
            let known = model[start..end].iter().all(|known| *known);
            assert_eq!(
                checked.covers(&(start as u64..end as u64)),
                known,
                "{start}..{end}"
            );
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut checked = CheckedRanges::default();
        for at in 0..10 * RANGES_MAX as u64 {
            checked.add(at * 2..at * 2 + 1);
        }
        assert_eq!(checked.0.len(), RANGES_MAX);
    }
}
