//! Reading a whole data directory and naming every damaged range.

mod checkpoints;
mod journal;
mod segments;

use crate::damage::{damage, io_error};
use crate::store::LOCK;
use chronik_core::error::Damage;
use chronik_core::fs::{DirLock, FileSystem, FsError};
use chronik_core::{GroupId, LogError};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many files were read.
    pub files: u64,
    /// How many bytes of them mean something.
    pub bytes: u64,
    /// How many entries are whole.
    pub entries: u64,
    /// What is not what was written.
    pub damages: Vec<Damage>,
    /// The end of the journal that a crash tore, if one did: the next opening cuts it. No acknowledged write lies
    /// in it.
    pub torn: Option<Damage>,
}

/// The report as it grows.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) fs: &'a dyn FileSystem,
    pub(crate) dir: &'a Path,
    pub(crate) report: VerifyReport,
}

impl Findings<'_> {
    pub(crate) fn damaged(
        &mut self,
        path: &Path,
        range: Range<u64>,
        group: Option<GroupId>,
        reason: impl Into<String>,
    ) {
        let found = damage(self.dir, path, range, group, reason);
        self.report.damages.push(found);
    }
}

/// A directory that nobody else may have open meanwhile.
struct Hold<'a> {
    fs: &'a dyn FileSystem,
    path: PathBuf,
    /// There was no file of a lock before.
    is_new: bool,
    _lock: Box<dyn DirLock>,
}

impl<'a> Hold<'a> {
    fn take(fs: &'a dyn FileSystem, dir: &Path) -> Result<Self, FsError> {
        // A directory that is not there is an error, not an empty store.
        let names = fs.list(dir)?;
        let path = dir.join(LOCK);
        let lock = fs.lock(&path)?;
        Ok(Self {
            fs,
            path,
            is_new: names.iter().all(|entry| entry.name != LOCK),
            _lock: lock,
        })
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // While it is held: who opens the directory now is refused, or takes a file of its own.
        if self.is_new
            && let Err(error) = self.fs.remove(&self.path)
        {
            log::debug!("lock_not_removed path={} error={error}", self.path.display());
        }
    }
}

/// Reads the journal, all segments and all checkpoints of the store in `dir`, which must not be open.
///
/// A byte matters where the store would read it. Each such byte is covered by a checksum, so that one that changed
/// lies in a reported range. What does not matter is not looked at: files that wait to be written over, and what is
/// left of earlier uses behind the end of a file's content. Nothing in the directory changes.
///
/// # Errors
/// [`LogError::Locked`] where a store has the directory open, [`LogError::UnsupportedFormat`], [`LogError::Io`].
pub fn verify(fs: &dyn FileSystem, dir: &Path) -> Result<VerifyReport, LogError> {
    let _hold = Hold::take(fs, dir).map_err(io_error)?;
    let mut findings = Findings {
        fs,
        dir,
        report: VerifyReport::default(),
    };
    let image = journal::check(&mut findings)?;
    for (id, group) in &image.groups {
        segments::check(&mut findings, *id, group).map_err(io_error)?;
        checkpoints::check(&mut findings, *id, group).map_err(io_error)?;
    }
    Ok(findings.report)
}

/// The size of a file that must be there; what it is about goes into the report where it is not.
pub(crate) fn is_missing(error: &FsError) -> bool {
    error.kind == chronik_core::fs::FsErrorKind::NotFound
}
