//! Open files and maps of segments that are read, bounded by number: the least recently used go first.

use super::index::SegmentIndex;
use super::live_maps::MapToken;
use super::map::SegmentMap;
use crate::group::seg::{OpenSegment, SealedSegment, SegmentFile};
use crate::sync::locked;
use bytes::Bytes;
use chronik_core::fs::{File, FileSystem, FsError, FsErrorKind, OpenMode};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Cached ways to the bytes of segments, by the generation of the file.
pub(crate) struct Handles {
    files: Mutex<Lru<Arc<dyn File>>>,
    maps: Mutex<Lru<Mapped>>,
}

/// A map of a sealed segment, with its index once somebody needed it.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub(crate) map: SegmentMap,
    pub(crate) index: Option<Arc<SegmentIndex>>,
}

/// A map with a sign of life that every slice of it keeps.
struct Tracked {
    bytes: Bytes,
    _token: MapToken,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Lru<T> {
    capacity: usize,
    clock: u64,
    by_key: HashMap<u64, (T, u64)>,
    by_age: BTreeMap<u64, u64>,
}

impl<T: Clone> Lru<T> {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            clock: 0,
            by_key: HashMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    fn get(&mut self, key: u64) -> Option<T> {
        let (value, age) = self.by_key.get_mut(&key)?;
        self.by_age.remove(age);
        self.clock += 1;
        *age = self.clock;
        self.by_age.insert(self.clock, key);
        Some(value.clone())
    }

    /// Puts a value in; returns what had to go for it, to be dropped without the lock.
    fn put(&mut self, key: u64, value: T) -> Vec<T> {
        let mut gone: Vec<T> = self.remove(key).into_iter().collect();
        while self.by_key.len() >= self.capacity.max(1) {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            gone.extend(self.by_key.remove(&oldest).map(|(value, _)| value));
        }
        self.clock += 1;
        self.by_key.insert(key, (value, self.clock));
        self.by_age.insert(self.clock, key);
        gone
    }

    fn remove(&mut self, key: u64) -> Option<T> {
        let (value, age) = self.by_key.remove(&key)?;
        self.by_age.remove(&age);
        Some(value)
    }
}

impl Handles {
    pub(crate) fn new(files_max: usize, maps_max: usize) -> Self {
        Self {
            files: Mutex::new(Lru::new(files_max)),
            maps: Mutex::new(Lru::new(maps_max)),
        }
    }

    /// A file for reading.
    pub(crate) fn file(&self, fs: &dyn FileSystem, of: &SegmentFile) -> Result<Arc<dyn File>, FsError> {
        let key = of.header.generation;
        if let Some(file) = locked(&self.files).get(key) {
            return Ok(file);
        }
        let file = fs.open(&of.path, OpenMode::Read)?;
        let gone = locked(&self.files).put(key, Arc::clone(&file));
        drop(gone);
        Ok(file)
    }

    /// The file of a segment that is still written.
    pub(crate) fn open_segment(
        &self,
        fs: &dyn FileSystem,
        of: &OpenSegment,
    ) -> Result<Arc<dyn File>, FsError> {
        let writing = locked(&of.writing).clone();
        match writing {
            Some(file) => Ok(file),
            None => self.file(fs, &of.file),
        }
    }

    /// The map of a sealed segment. The map needs no open file, so none is kept.
    pub(crate) fn map(&self, fs: &dyn FileSystem, of: &SealedSegment) -> Result<Mapped, FsError> {
        let key = of.file.header.generation;
        if let Some(mapped) = locked(&self.maps).get(key) {
            return Ok(mapped);
        }
        let retired = locked(&of.retired);
        if *retired {
            let detail = format!("{}: the segment is gone", of.file.path.display());
            return Err(FsError::new(FsErrorKind::NotFound, detail));
        }
        let file = fs.open(&of.file.path, OpenMode::Read)?;
        if file.size()? != of.file_bytes {
            let detail = format!("{}: not as long as it was sealed", of.file.path.display());
            return Err(FsError::new(FsErrorKind::Io, detail));
        }
        let mapped = Mapped {
            map: SegmentMap::new(Bytes::from_owner(Tracked {
                bytes: file.map(of.file_bytes)?,
                _token: MapToken::new(key),
            })),
            index: None,
        };
        drop(retired);
        let gone = locked(&self.maps).put(key, mapped.clone());
        drop(gone);
        Ok(mapped)
    }

    /// Keeps the index of a mapped segment beside its map.
    pub(crate) fn keep_index(&self, of: &SegmentFile, index: &Arc<SegmentIndex>) {
        if let Some((mapped, _)) = locked(&self.maps).by_key.get_mut(&of.header.generation) {
            mapped.index = Some(Arc::clone(index));
        }
    }

    /// Forgets a file that will not be read again.
    pub(crate) fn forget(&self, of: &SegmentFile) {
        let key = of.header.generation;
        let file = locked(&self.files).remove(key);
        drop(file);
        let map = locked(&self.maps).remove(key);
        drop(map);
    }
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}
