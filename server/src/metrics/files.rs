//! A file system that counts what a store does with it, and how long its syncs take.

use super::{Counter, Histogram};
use bytes::Bytes;
use chronik_core::env::Clock;
use chronik_core::fs::{Advice, DirEntry, DirLock, File, FileSystem, FsError, FsErrorKind, OpenMode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A call that can fail for a reason that operators care about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCall {
    /// Reading and mapping.
    Read,
    /// Writing, and reserving space.
    Write,
    /// Making content or names durable.
    Sync,
    /// Opening, creating, renaming, removing, listing.
    Name,
}

impl FileCall {
    /// All, in the order of `/metrics`.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sync, Self::Name];

    /// The value of the label `call`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Name => "name",
        }
    }
}

/// What is counted about the files of the data directory.
#[derive(Debug, Default)]
pub struct FileMetrics {
    /// Bytes read by calls; what is read through maps is the kernel's to count.
    pub read_bytes: Counter,
    /// Bytes written.
    pub written_bytes: Counter,
    /// How long content took to become durable.
    pub data_syncs: Histogram,
    /// How long names took to become durable.
    pub dir_syncs: Histogram,
    open: AtomicU64,
    errors: [Counter; FileCall::ALL.len()],
}

impl FileMetrics {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Files that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many calls failed.
    #[must_use]
    pub fn errors(&self, call: FileCall) -> &Counter {
        &self.errors[call as usize]
    }

    /// Passes a result on, and counts an error. That a file is or is not there is an answer, not a failure.
    fn note_written(&self, parts: &[&[u8]], result: Result<(), FsError>) -> Result<(), FsError> {
        if result.is_ok() {
            self.written_bytes
                .add(parts.iter().map(|part| part.len() as u64).sum());
        }
        self.note(FileCall::Write, result)
    }

    fn note<T>(&self, call: FileCall, result: Result<T, FsError>) -> Result<T, FsError> {
        if let Err(error) = &result
            && !matches!(error.kind, FsErrorKind::NotFound | FsErrorKind::AlreadyExists)
        {
            self.errors(call).one();
        }
        result
    }
}

/// A file system that counts, over the one that works.
#[derive(Debug)]
pub struct MeasuredFs {
    inner: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    metrics: Arc<FileMetrics>,
}

impl MeasuredFs {
    /// Counts what is done with `inner`.
    #[must_use]
    pub const fn new(inner: Arc<dyn FileSystem>, clock: Arc<dyn Clock>, metrics: Arc<FileMetrics>) -> Self {
        Self {
            inner,
            clock,
            metrics,
        }
    }
}

impl FileSystem for MeasuredFs {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, FsError> {
        let inner = self.metrics.note(FileCall::Name, self.inner.open(path, mode))?;
        self.metrics.open.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(MeasuredFile {
            inner,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FsError> {
        self.metrics.note(FileCall::Name, self.inner.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, FsError> {
        self.metrics.note(FileCall::Name, self.inner.list(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        self.metrics.note(FileCall::Name, self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        self.metrics.note(FileCall::Name, self.inner.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), FsError> {
        let begin = self.clock.now();
        let result = self.inner.sync_dir(path);
        self.metrics
            .dir_syncs
            .observe(self.clock.now().saturating_sub(begin));
        self.metrics.note(FileCall::Sync, result)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, FsError> {
        self.metrics.note(FileCall::Name, self.inner.lock(path))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, FsError> {
        self.metrics.note(FileCall::Name, self.inner.free_bytes(path))
    }
}

#[derive(Debug)]
struct MeasuredFile {
    inner: Arc<dyn File>,
    clock: Arc<dyn Clock>,
    metrics: Arc<FileMetrics>,
}

impl File for MeasuredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        let result = self.inner.read_at(buffer, offset);
        self.metrics
            .read_bytes
            .add(result.as_ref().map_or(0, |read| *read as u64));
        self.metrics.note(FileCall::Read, result)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        self.metrics
            .note_written(parts, self.inner.write_at(parts, offset))
    }

    fn append_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        self.metrics
            .note_written(parts, self.inner.append_at(parts, offset))
    }

    fn sync_data(&self) -> Result<(), FsError> {
        let begin = self.clock.now();
        let result = self.inner.sync_data();
        self.metrics
            .data_syncs
            .observe(self.clock.now().saturating_sub(begin));
        self.metrics.note(FileCall::Sync, result)
    }

    fn size(&self) -> Result<u64, FsError> {
        self.metrics.note(FileCall::Read, self.inner.size())
    }

    fn set_len(&self, len: u64) -> Result<(), FsError> {
        self.metrics.note(FileCall::Write, self.inner.set_len(len))
    }

    fn allocate(&self, len: u64) -> Result<(), FsError> {
        self.metrics.note(FileCall::Write, self.inner.allocate(len))
    }

    fn map(&self, len: u64) -> Result<Bytes, FsError> {
        self.metrics.note(FileCall::Read, self.inner.map(len))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        self.inner.advise(offset, len, advice);
    }
}

impl Drop for MeasuredFile {
    fn drop(&mut self) {
        self.metrics.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_conformance::world::{Seed, SimDisk, SimEnv};

    #[test]
    fn syncs_bytes_open_files_and_errors_are_counted() {
        let seed = Seed(7);
        let (sim, disk) = (SimEnv::new(seed.child("env")), SimDisk::new(seed.child("disk")));
        let metrics = Arc::new(FileMetrics::new());
        let fs = MeasuredFs::new(Arc::new(disk), sim.env().clock, Arc::clone(&metrics));
        fs.create_dir_all(Path::new("d")).unwrap();
        assert!(fs.open(Path::new("d/none"), OpenMode::Read).is_err());
        let file = fs.open(Path::new("d/file"), OpenMode::CreateNew).unwrap();
        file.write_at(&[b"abc", b"de"], 0).unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(Path::new("d")).unwrap();
        let mut buffer = [0; 9];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 4);
        assert_eq!((metrics.written_bytes.get(), metrics.read_bytes.get()), (5, 4));
        let syncs = (
            metrics.data_syncs.snapshot().count,
            metrics.dir_syncs.snapshot().count,
        );
        assert_eq!((syncs, metrics.open()), ((1, 1), 1));
        drop(file);
        assert_eq!(metrics.open(), 0);
        assert!(FileCall::ALL.iter().all(|call| metrics.errors(*call).get() == 0));
        assert!(fs.list(Path::new("d/file")).is_err());
        assert!(
            FileCall::ALL
                .iter()
                .map(|call| metrics.errors(*call).get())
                .sum::<u64>()
                <= 1
        );
    }
}
