//! The real file system without its syncs: what the rig must find out.

use bytes::Bytes;
use chronik_core::fs::{Advice, DirEntry, DirLock, File, FileSystem, FsError, OpenMode};
use chronik_storage_mmap::RealFs;
use std::path::Path;
use std::sync::Arc;

/// Answers every sync with success and does nothing.
#[derive(Debug)]
pub(crate) struct Unsynced;

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn File>);

impl FileSystem for Unsynced {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, FsError> {
        Ok(Arc::new(UnsyncedFile(RealFs.open(path, mode)?)))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FsError> {
        RealFs.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, FsError> {
        RealFs.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        RealFs.remove(path)
    }

    fn sync_dir(&self, _path: &Path) -> Result<(), FsError> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, FsError> {
        RealFs.lock(path)
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, FsError> {
        RealFs.free_bytes(path)
    }
}

impl File for UnsyncedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        self.0.write_at(parts, offset)
    }

    fn append_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        self.0.append_at(parts, offset)
    }

    fn sync_data(&self) -> Result<(), FsError> {
        Ok(())
    }

    fn size(&self) -> Result<u64, FsError> {
        self.0.size()
    }

    fn set_len(&self, len: u64) -> Result<(), FsError> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<(), FsError> {
        self.0.allocate(len)
    }

    fn map(&self, len: u64) -> Result<Bytes, FsError> {
        self.0.map(len)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        self.0.advise(offset, len, advice);
    }
}
