//! Segment files that nobody needs any more: kept for new segments within a bound, the rest freed in small steps.
//!
//! A file is written over or cut only after the last slice of its last map is gone, and its purge (or truncation) is
//! durable before it gets here.

use crate::segment::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::segment::live_maps::is_mapped;
use crate::store::Inner;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind, OpenMode};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two steps in which files are freed.
pub(crate) const SHRINK_PACE: Duration = Duration::from_millis(10);

/// A file that belongs to no segment.
#[derive(Debug)]
pub(crate) struct PoolFile {
    path: PathBuf,
    bytes: u64,
    /// What the file was, by which maps of it are known.
    generation: u64,
}

/// Files for new segments, and files on their way out.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    kept: VecDeque<PoolFile>,
    leaving: VecDeque<PoolFile>,
    next: u64,
}

/// The directory of the pool.
pub(crate) fn pool_dir(dir: &Path) -> PathBuf {
    dir.join("pool")
}

impl Pool {
    /// The pool as the last process left it. A power cut can leave a file under two names: one whose generation a
    /// segment has too is that segment, and only its name goes.
    pub(crate) fn open(fs: &dyn FileSystem, dir: &Path, in_use: &HashSet<u64>) -> Result<Self, FsError> {
        let mut pool = Self::default();
        let mut seen = in_use.clone();
        for entry in fs.list(&pool_dir(dir))? {
            let path = pool_dir(dir).join(&entry.name);
            let number = entry
                .name
                .strip_suffix(".seg")
                .and_then(|digits| digits.parse::<u64>().ok());
            let Some(number) = number else {
                fs.remove(&path)?;
                continue;
            };
            pool.next = pool.next.max(number.saturating_add(1));
            let file = fs.open(&path, OpenMode::Read)?;
            let mut header = [0; SEGMENT_HEADER_BYTES as usize];
            file.read_at(&mut header, 0)?;
            let known = SegmentHeader::decode(&header).ok();
            match known.map(|header| header.generation) {
                Some(generation) if seen.insert(generation) => pool.kept.push_back(PoolFile {
                    path,
                    bytes: file.size()?,
                    generation,
                }),
                _ => fs.remove(&path)?,
            }
        }
        Ok(pool)
    }

    /// Takes the file of a segment that is gone.
    pub(crate) fn take_in(
        &mut self,
        fs: &dyn FileSystem,
        dir: &Path,
        from: &Path,
        bytes: u64,
        generation: u64,
    ) -> Result<(), FsError> {
        let path = pool_dir(dir).join(format!("{:08}.seg", self.next));
        fs.rename(from, &path)?;
        self.next += 1;
        self.kept.push_back(PoolFile {
            path,
            bytes,
            generation,
        });
        Ok(())
    }

    /// A file for a segment of about `wanted_bytes`: not mapped any more, and not much larger.
    pub(crate) fn take_out(&mut self, wanted_bytes: u64) -> Option<(PathBuf, u64)> {
        let limit = wanted_bytes
            .saturating_add(wanted_bytes / 4)
            .saturating_add(1 << 20);
        let fits = |file: &PoolFile| file.bytes <= limit && !is_mapped(file.generation);
        let place = self.kept.iter().position(fits)?;
        let file = self.kept.remove(place)?;
        Some((file.path, file.bytes))
    }

    /// Sends files on their way out until no more than `max_bytes` are kept.
    pub(crate) fn trim(&mut self, max_bytes: u64) {
        let mut total: u64 = self.kept.iter().map(|file| file.bytes).sum();
        while total > max_bytes
            && let Some(file) = self.kept.pop_front()
        {
            total -= file.bytes;
            self.leaving.push_back(file);
        }
    }

    pub(crate) fn is_shrinking(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Frees up to `step_bytes` of the files on their way out.
    pub(crate) fn shrink(&mut self, fs: &dyn FileSystem, step_bytes: u64) -> Result<(), FsError> {
        match self.try_shrink(fs, step_bytes) {
            Err(error) if error.kind != FsErrorKind::NoSpace => {
                // Nothing is lost but space, until the next start.
                log::warn!("pool_file_not_freed error={error}");
                self.leaving.pop_front();
                Ok(())
            }
            other => other,
        }
    }

    /// Frees everything, but for what is still mapped.
    pub(crate) fn give_up(&mut self, fs: &dyn FileSystem, dir: &Path) {
        self.trim(0);
        let mut freed = false;
        while self.leaving.iter().any(|file| !is_mapped(file.generation)) {
            if let Err(error) = self.shrink(fs, u64::MAX) {
                log::warn!("pool_not_freed error={error}");
                return;
            }
            freed = true;
        }
        if freed {
            // The space returns with the names gone; nothing depends on that.
            let _ = fs.sync_dir(&pool_dir(dir));
        }
    }

    fn try_shrink(&mut self, fs: &dyn FileSystem, step_bytes: u64) -> Result<(), FsError> {
        // A file that is still mapped waits its turn behind the others.
        let Some(place) = self.leaving.iter().position(|file| !is_mapped(file.generation)) else {
            return Ok(());
        };
        let Some(mut file) = self.leaving.remove(place) else {
            return Ok(());
        };
        let left = file.bytes.saturating_sub(step_bytes);
        if left == 0 {
            return fs.remove(&file.path);
        }
        file.bytes = left;
        let shrunk = fs
            .open(&file.path, OpenMode::Write)
            .and_then(|open| open.set_len(file.bytes));
        self.leaving.push_front(file);
        shrunk
    }
}

impl Inner {
    /// Frees one step, and comes back for the next one after a pause.
    pub(crate) fn shrink_pool(&self, pool: &mut Pool) -> Result<(), FsError> {
        pool.trim(self.options.pool_bytes_max);
        pool.shrink(&*self.fs, self.options.shrink_step_bytes)
    }

    /// Gives all space of the pool back at once, where there is too little of it.
    pub(crate) fn give_up_pool(&self, pool: &mut Pool) {
        pool.give_up(&*self.fs, &self.options.dir);
    }
}
