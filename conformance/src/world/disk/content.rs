//! The bytes of one file: what reads see, what survives a power cut for sure, and what may.

use super::choose::Chooser;
use super::{PAGE_BYTES, SECTOR_BYTES, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Weak;

/// More versions of one sector between two syncs than this are thinned out; the newest always stays.
const MAX_VERSIONS: usize = 4;

const SECTOR: usize = SECTOR_BYTES as usize;

type Sector = Box<[u8]>;

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The page cache.
    cache: Vec<u8>,
    /// The medium.
    medium: Vec<u8>,
    /// What each unsynced sector held since the last sync, oldest first. Write-back may have taken any of them.
    dirty: BTreeMap<usize, Vec<Sector>>,
    /// The lengths since the last sync.
    lengths: Vec<usize>,
    /// Pages that own space.
    pages: BTreeSet<usize>,
    /// Maps that may still be alive, by length.
    maps: Vec<(usize, Weak<()>)>,
}

impl Content {
    /// A file as it lies on the medium after a power cut.
    pub(super) fn from_medium(bytes: Vec<u8>) -> Self {
        let pages = (0..bytes.len().div_ceil(PAGE_BYTES as usize)).collect();
        Self {
            cache: bytes.clone(),
            medium: bytes,
            pages,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.lengths.is_empty()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let available = self.cache.get(offset..).unwrap_or_default();
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        count
    }

    /// How many pages in `range` own no space yet.
    pub(super) fn missing_pages(&self, range: Range<usize>) -> usize {
        pages_of(range).filter(|page| !self.pages.contains(page)).count()
    }

    /// Gives the pages of `range` space; returns how many were new.
    pub(super) fn take_pages(&mut self, range: Range<usize>) -> usize {
        pages_of(range).filter(|page| self.pages.insert(*page)).count()
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push(end);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.mark(offset..end);
    }

    /// Cuts or extends; returns how many pages lost their space.
    pub(super) fn set_len(&mut self, len: usize) -> usize {
        let old = self.cache.len();
        if len == old {
            return 0;
        }
        self.cache.resize(len, 0);
        self.lengths.push(len);
        if len > old {
            return 0;
        }
        // What lay in the cut part may come back with the old length, or as zeros where the cut went first.
        self.mark(len..old);
        let before = self.pages.len();
        let keep = len.div_ceil(PAGE_BYTES as usize);
        self.pages.retain(|page| *page < keep);
        before - self.pages.len()
    }

    fn mark(&mut self, range: Range<usize>) {
        for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
            let bytes = sector_of(&self.cache, sector);
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == MAX_VERSIONS {
                versions.pop();
            }
            versions.push(bytes);
        }
    }

    /// Everything reaches the medium; but for the length, where a mutant `keeps_length`.
    pub(super) fn sync(&mut self, keeps_length: bool) {
        if !keeps_length {
            self.medium.resize(self.cache.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            put_sector(&mut self.medium, sector, &sector_of(&self.cache, sector));
        }
        self.lengths.clear();
    }

    /// A sync that fails: part reaches the medium, and the kernel forgets that the rest was dirty. Reads go on
    /// seeing the new bytes until the cache is dropped, and the next sync finds nothing to do.
    pub(super) fn sync_failed(&mut self, chooser: &mut dyn Chooser) {
        self.medium = self.survivors(chooser, Unit::Page);
        self.dirty.clear();
        self.lengths.clear();
    }

    /// Clean pages are forgotten; reads see the medium again.
    pub(super) fn drop_cache(&mut self, range: Range<usize>) {
        let end = range.end.min(self.cache.len());
        for sector in range.start / SECTOR..end.div_ceil(SECTOR) {
            if !self.dirty.contains_key(&sector) {
                let bytes = sector_of(&self.medium, sector);
                put_sector(&mut self.cache, sector, &bytes);
            }
        }
    }

    /// The file after a power cut.
    pub(super) fn survivors(&self, chooser: &mut dyn Chooser, unit: Unit) -> Vec<u8> {
        let mut bytes = self.medium.clone();
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        bytes.resize(longest.max(bytes.len()), 0);
        let mut whole_page: Option<(usize, usize)> = None;
        for (sector, versions) in &self.dirty {
            let chosen = match unit {
                Unit::Sector => chooser.choose(versions.len() + 1),
                Unit::Page => {
                    let page = sector * SECTOR / PAGE_BYTES as usize;
                    let fate = match whole_page {
                        Some((known, fate)) if known == page => fate,
                        _ => {
                            let fate = chooser.choose(3);
                            whole_page = Some((page, fate));
                            fate
                        }
                    };
                    match fate {
                        0 => 0,
                        // The middle fate is a torn page: its sectors are chosen one by one.
                        1 => chooser.choose(versions.len() + 1),
                        _ => versions.len(),
                    }
                }
            };
            if let Some(version) = chosen.checked_sub(1).and_then(|version| versions.get(version)) {
                put_sector(&mut bytes, *sector, version);
            }
        }
        let len = match chooser.choose(self.lengths.len() + 1) {
            0 => self.medium.len(),
            version => self.lengths[version - 1],
        };
        bytes.resize(len, 0);
        bytes
    }

    /// Changes one bit in the cache and on the medium, as rot does.
    pub(super) fn flip(&mut self, byte: usize, bit: u8) -> bool {
        for side in [&mut self.cache, &mut self.medium] {
            match side.get_mut(byte) {
                Some(value) => *value ^= 1 << (bit % 8),
                None => return false,
            }
        }
        true
    }

    pub(super) fn add_map(&mut self, len: usize, alive: Weak<()>) {
        self.maps.retain(|(_, alive)| alive.strong_count() > 0);
        self.maps.push((len, alive));
    }

    /// What a change of `range` breaks, where a live map covers it.
    pub(super) fn map_conflict(&self, range: &Range<usize>) -> Option<String> {
        self.maps
            .iter()
            .find(|(len, alive)| range.start < *len && !range.is_empty() && alive.strong_count() > 0)
            .map(|(len, _)| {
                let Range { start, end } = range;
                format!("bytes {start}..{end} changed while a map of the first {len} is alive")
            })
    }
}

fn pages_of(range: Range<usize>) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE_BYTES as usize..range.end.div_ceil(PAGE_BYTES as usize)
}

/// One sector, padded with zeros where the file ends in it or before it.
fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut copy = vec![0; SECTOR];
    let from = bytes.get(sector * SECTOR..).unwrap_or_default();
    let count = from.len().min(SECTOR);
    copy[..count].copy_from_slice(&from[..count]);
    copy.into_boxed_slice()
}

/// Puts a sector in place, as far as the file reaches.
fn put_sector(bytes: &mut [u8], sector: usize, from: &[u8]) {
    let to = bytes.get_mut(sector * SECTOR..).unwrap_or_default();
    let count = to.len().min(SECTOR);
    to[..count].copy_from_slice(&from[..count]);
}
