//! An open file of the simulated disk.

use super::fault::{Op, fs_error};
use super::names::FileNode;
use super::{DiskMutant, Shared, locked};
use bytes::Bytes;
use chronik_core::fs::{APPEND_BLOCK_BYTES, Advice, File, FsError, FsErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) shared: Arc<Shared>,
    pub(super) node: Arc<FileNode>,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.shared.open_files.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a map holds: the bytes as they were, and a sign of life that the disk watches.
struct Mapped {
    bytes: Vec<u8>,
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SimFile {
    fn error(&self, kind: FsErrorKind, op: Op, what: &str) -> FsError {
        fs_error(kind, op, &self.path, what)
    }

    /// Lets a call that changes the file pass, and notes where it hits a live map.
    fn admit_change(&self, op: Op, range: Option<Range<usize>>) -> Result<Option<FsError>, FsError> {
        if !self.writable {
            return Err(self.error(FsErrorKind::Io, op, "the file is open for reading"));
        }
        let mut control = locked(&self.shared.control);
        let failure = control.admit(op, &self.path)?;
        if let Some(conflict) = range.and_then(|range| locked(&self.node.content).map_conflict(&range)) {
            control
                .violations
                .push(format!("{op:?} {}: {conflict}", self.path.display()));
        }
        Ok(failure)
    }

    /// Takes space for `range`, or as much of it as there is from the front; returns how far it got.
    fn take_space(&self, range: Range<usize>) -> usize {
        let control = locked(&self.shared.control);
        let mut content = locked(&self.node.content);
        let free = control.free_pages(self.shared.used_bytes.load(Ordering::SeqCst));
        let mut end = range.end;
        while content.missing_pages(range.start..end) as u64 > free {
            // Give back the last page of the range, and try what is left.
            end = (end - 1) / super::PAGE_BYTES as usize * super::PAGE_BYTES as usize;
        }
        if end <= range.start {
            return range.start;
        }
        let taken = content.take_pages(range.start..end) as u64;
        self.shared
            .used_bytes
            .fetch_add(taken * super::PAGE_BYTES, Ordering::SeqCst);
        end
    }
}

/// Positions come from the store under test: one beyond memory is its bug, reported as an error.
fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX / 2)
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError> {
        if let Some(failure) = locked(&self.shared.control).admit(Op::Read, &self.path)? {
            return Err(failure);
        }
        Ok(locked(&self.node.content).read(buffer, position(offset)))
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        let bytes = parts.concat();
        let start = position(offset);
        let range = start..start.saturating_add(bytes.len());
        let failure = self.admit_change(Op::Write, Some(range))?;
        let mut count = bytes.len();
        if failure.is_some() {
            count = locked(&self.shared.control).prng.index(bytes.len() + 1);
        }
        let end = self.take_space(start..start + count);
        let fits = end.saturating_sub(start).min(count);
        locked(&self.node.content).write(&bytes[..fits], start);
        locked(&self.shared.control).stats.written_bytes += fits as u64;
        match failure {
            Some(failure) => Err(failure),
            None if fits < count => Err(self.error(FsErrorKind::NoSpace, Op::Write, "no space left")),
            None => Ok(()),
        }
    }

    fn append_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError> {
        let end = offset + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        // All that may be written over is: a store that counts on something there learns of it.
        let padding = vec![0; position(end.next_multiple_of(APPEND_BLOCK_BYTES) - end)];
        self.write_at(&[&parts.concat(), &padding], offset)
    }

    fn sync_data(&self) -> Result<(), FsError> {
        let mut control = locked(&self.shared.control);
        match control.admit(Op::Sync, &self.path)? {
            None if self.shared.has(DiskMutant::SyncsNothing) => Ok(()),
            None => {
                let keeps_length = self.shared.has(DiskMutant::SyncKeepsOldLength);
                locked(&self.node.content).sync(keeps_length);
                Ok(())
            }
            Some(failure) => {
                locked(&self.node.content).sync_failed(&mut control.prng);
                Err(failure)
            }
        }
    }

    fn size(&self) -> Result<u64, FsError> {
        Ok(locked(&self.node.content).len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<(), FsError> {
        let len = position(len);
        let old = locked(&self.node.content).len();
        let cut = (len < old).then_some(len..old);
        if let Some(failure) = self.admit_change(Op::SetLen, cut)? {
            return Err(failure);
        }
        let freed = locked(&self.node.content).set_len(len) as u64;
        self.shared
            .used_bytes
            .fetch_sub(freed * super::PAGE_BYTES, Ordering::SeqCst);
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<(), FsError> {
        let len = position(len);
        if let Some(failure) = self.admit_change(Op::Allocate, None)? {
            return Err(failure);
        }
        if self.take_space(0..len) < len {
            return Err(self.error(FsErrorKind::NoSpace, Op::Allocate, "no space left"));
        }
        let mut content = locked(&self.node.content);
        if content.len() < len {
            content.set_len(len);
        }
        Ok(())
    }

    fn map(&self, len: u64) -> Result<Bytes, FsError> {
        if let Some(failure) = locked(&self.shared.control).admit(Op::Map, &self.path)? {
            return Err(failure);
        }
        let mut content = locked(&self.node.content);
        let len = position(len);
        let Some(bytes) = content.cached().get(..len).map(<[u8]>::to_vec) else {
            return Err(self.error(FsErrorKind::Io, Op::Map, "beyond the end of the file"));
        };
        let alive = Arc::new(());
        content.add_map(len, Arc::downgrade(&alive));
        Ok(Bytes::from_owner(Mapped { bytes, _alive: alive }))
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) {
        if advice == Advice::DropCache {
            locked(&self.shared.control).stats.cache_drops += 1;
            let start = position(offset);
            locked(&self.node.content).drop_cache(start..start.saturating_add(position(len)));
        }
    }
}
