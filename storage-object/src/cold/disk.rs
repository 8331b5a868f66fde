//! Blocks on the local disk: bounded, checked, and of no consequence when they are lost.

use crate::metrics::Counter;
use bytes::{BufMut, Bytes};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"CHRTBLK1";
/// Magic and checksum.
const HEADER_BYTES: usize = 12;
const SUFFIX: &str = "blk";
/// Blocks that are kept between two complaints: a disk at its limit takes some and refuses others.
const QUIET_BLOCKS: u32 = 1000;

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, (u64, u64)>,
    order: BTreeMap<u64, String>,
    bytes: u64,
    stamp: u64,
    /// So many more blocks are kept before the next failure is named in the log again.
    quiet: u32,
}

/// A directory of blocks. Calls block on the disk: they belong on disk threads.
#[derive(Debug)]
pub struct DiskCache {
    dir: PathBuf,
    bytes_max: u64,
    state: Mutex<State>,
    failures: Counter,
}

impl DiskCache {
    /// Opens the cache in `dir`, which is the cache's alone, with what an earlier process left there. With
    /// `bytes_max` 0 nothing is cached, and the directory is not touched.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let cache = Self {
            dir: dir.to_owned(),
            bytes_max,
            state: Mutex::default(),
            failures: Counter::default(),
        };
        if cache.is_enabled() {
            fs::create_dir_all(dir)?;
            cache.take_over()?;
        }
        Ok(cache)
    }

    /// A cache that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            dir: PathBuf::new(),
            bytes_max: 0,
            state: Mutex::default(),
            failures: Counter::default(),
        }
    }

    /// Whether anything is cached at all.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.bytes_max > 0
    }

    /// Bytes on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Blocks that could not be kept, because the disk is full or broken.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.get()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the files that are there, oldest first.
    fn take_over(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let meta = file.metadata()?;
            match Path::new(&name)
                .extension()
                .is_some_and(|suffix| suffix == SUFFIX)
            {
                true => found.push((meta.modified()?, name, meta.len())),
                // A file that was not finished.
                false if name.ends_with(".new") => fs::remove_file(file.path())?,
                false => {}
            }
        }
        found.sort();
        let mut state = self.lock();
        for (_, name, bytes) in found {
            self.note(&mut state, name, bytes);
        }
        Ok(())
    }

    /// Counts a file, and drops the ones that were not used for longest.
    fn note(&self, state: &mut State, name: String, bytes: u64) {
        state.stamp += 1;
        let stamp = state.stamp;
        if let Some((old, stamp)) = state.files.insert(name.clone(), (bytes, stamp)) {
            state.bytes -= old;
            state.order.remove(&stamp);
        }
        state.order.insert(stamp, name);
        state.bytes += bytes;
        while state.bytes > self.bytes_max
            && let Some((_, oldest)) = state.order.pop_first()
        {
            if let Some((bytes, _)) = state.files.remove(&oldest) {
                state.bytes -= bytes;
            }
            // A file that cannot be removed is met again by the next process.
            let _ = fs::remove_file(self.dir.join(oldest));
        }
    }

    fn forget(&self, name: &str) {
        let mut state = self.lock();
        if let Some((bytes, stamp)) = state.files.remove(name) {
            state.bytes -= bytes;
            state.order.remove(&stamp);
        }
        drop(state);
        let _ = fs::remove_file(self.dir.join(name));
    }

    /// A block, if it is there and whole.
    pub(super) fn get(&self, key: &str, block: u32) -> Option<Bytes> {
        let name = name(key, block);
        {
            let mut state = self.lock();
            let (bytes, _) = *state.files.get(&name)?;
            self.note(&mut state, name.clone(), bytes);
        }
        let content = fs::read(self.dir.join(&name)).ok().map(Bytes::from);
        let whole = content.and_then(|content| opened(&content, key));
        if whole.is_none() {
            self.forget(&name);
        }
        whole
    }

    /// Keeps a block. A disk that is full or broken makes the cache useless, and nothing else.
    pub(super) fn put(&self, key: &str, block: u32, data: &Bytes) {
        if !self.is_enabled() {
            return;
        }
        let name = name(key, block);
        let content = closed(key, data);
        let new = self.dir.join(format!("{name}.new"));
        let written = fs::write(&new, &content).and_then(|()| fs::rename(&new, self.dir.join(&name)));
        let mut state = self.lock();
        match written {
            Ok(()) => {
                self.note(&mut state, name, content.len() as u64);
                state.quiet = state.quiet.saturating_sub(1);
            }
            Err(error) => {
                let _ = fs::remove_file(&new);
                self.failures.one();
                if std::mem::replace(&mut state.quiet, QUIET_BLOCKS) == 0 {
                    log::warn!(
                        "event=tier_cache_unusable dir={} error=\"{error}\" effect=\"cold reads ask the bucket again\" \
                         fix=\"give tier.cache_dir room, or make tier.cache_bytes smaller\"",
                        self.dir.display()
                    );
                }
            }
        }
    }
}

/// The file of a block. Keys whose names collide are told apart by what is in the file.
fn name(key: &str, block: u32) -> String {
    let low = crc32c::crc32c(key.as_bytes());
    let high = crc32c::crc32c_append(low, b"high");
    format!("{low:08x}{high:08x}-{block:08x}.{SUFFIX}")
}

fn closed(key: &str, data: &Bytes) -> Vec<u8> {
    let mut content = Vec::with_capacity(HEADER_BYTES + 4 + key.len() + data.len());
    content.put_slice(MAGIC);
    content.put_u32_le(checksum(key, data));
    content.put_slice(data);
    content
}

fn opened(content: &Bytes, key: &str) -> Option<Bytes> {
    let header = content.get(..HEADER_BYTES)?;
    let data = content.slice(HEADER_BYTES..);
    let crc = checksum(key, &data).to_le_bytes();
    (header.starts_with(MAGIC) && header.ends_with(&crc)).then_some(data)
}

/// Over the key, too, so that another object's block is never taken for this one's.
fn checksum(key: &str, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), data)
}
