//! The file-system seam under a log store: files, directories, sync, mapped regions.
//!
//! A production store runs over the real file system, the conformance suite drives the same store over a
//! simulated disk that drops, tears and damages what was not synced.

use bytes::Bytes;
use std::fmt::{self, Debug};
use std::path::Path;
use std::sync::Arc;

/// Why a file-system call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsError {
    /// What the caller can tell apart.
    pub kind: FsErrorKind,
    /// The call, the path, and what the system said.
    pub detail: Arc<str>,
}

/// Kinds of [`FsError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FsErrorKind {
    /// There is no such file or directory.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// No space, or no quota, is left.
    NoSpace,
    /// Somebody else holds the lock.
    Locked,
    /// The process may not do this, or the file system is read-only.
    Denied,
    /// Anything else, an input/output error above all.
    Io,
}

impl FsError {
    /// An error of `kind`; `detail` names the call and the path.
    #[must_use]
    pub fn new(kind: FsErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.detail)
    }
}

impl std::error::Error for FsError {}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; [`FsErrorKind::AlreadyExists`] where there is one.
    CreateNew,
}

/// What [`File::append_at`] may write zeros up to: the next multiple of this.
pub const APPEND_BLOCK_BYTES: u64 = 4096;

/// What will happen to a file's cached pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The range will be read soon.
    WillNeed,
    /// The range is not needed in memory; later reads come from the disk.
    DropCache,
    /// What was written to the range should be on its way to the disk by now. It makes nothing durable; a later sync finds
    /// less to do.
    WriteSoon,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A held lock; dropping it releases it.
pub trait DirLock: Send + Sync + Debug {}

/// A file system.
///
/// # Guarantees
/// - FS-01: what [`File::sync_data`] covered survives a power cut, together with the file's length.
/// - FS-02: a name (created, renamed, removed) survives a power cut once [`FileSystem::sync_dir`] of its
///   directory returned.
/// - FS-03: without those calls, any part of what was written may survive, in any order, torn at any sector.
pub trait FileSystem: Send + Sync + Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FsErrorKind::NotFound`] and [`FsErrorKind::AlreadyExists`] by mode.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, FsError>;

    /// Creates a directory and those above it. It is no error if it exists.
    ///
    /// # Errors
    /// [`FsErrorKind::NoSpace`], [`FsErrorKind::Io`].
    fn create_dir_all(&self, path: &Path) -> Result<(), FsError>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// [`FsErrorKind::NotFound`], [`FsErrorKind::Io`].
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, FsError>;

    /// Gives a file another name, atomically; replaces what had the new name. Both directories need a sync.
    ///
    /// # Errors
    /// [`FsErrorKind::NotFound`], [`FsErrorKind::Io`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError>;

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// [`FsErrorKind::NotFound`], [`FsErrorKind::Io`].
    fn remove(&self, path: &Path) -> Result<(), FsError>;

    /// Makes the names of a directory durable (FS-02).
    ///
    /// # Errors
    /// [`FsErrorKind::Io`]; the caller must not assume that a later call repairs it.
    fn sync_dir(&self, path: &Path) -> Result<(), FsError>;

    /// Takes the exclusive lock at `path`, creating the file. Who holds it may remove the file: a lock on a file that does
    /// not have the name any more is never given, as the next one makes a file of its own.
    ///
    /// # Errors
    /// [`FsErrorKind::Locked`] where somebody holds it; the detail names the holder where that is known.
    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, FsError>;

    /// How many bytes are free for this process on the file system that holds `path`.
    ///
    /// # Errors
    /// [`FsErrorKind::Io`].
    fn free_bytes(&self, path: &Path) -> Result<u64, FsError>;
}

/// An open file. Calls on one file may come from several threads.
pub trait File: Send + Sync + Debug {
    /// Reads at `offset` until `buffer` is full or the file ends; returns how much was read.
    ///
    /// # Errors
    /// [`FsErrorKind::Io`].
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FsError>;

    /// Writes all `parts`, one after another, from `offset` on; the file grows as needed.
    ///
    /// # Errors
    /// [`FsErrorKind::NoSpace`], [`FsErrorKind::Io`]; any part of the bytes may have been written.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError>;

    /// Writes as [`File::write_at`] does, for content that nobody is expected to read soon, and behind whose end nothing in
    /// the file is of use: zeros may follow it up to the next multiple of [`APPEND_BLOCK_BYTES`], by which the file may grow.
    /// So a file system can write whole blocks past the memory in which it keeps files.
    ///
    /// # Errors
    /// As [`File::write_at`].
    fn append_at(&self, parts: &[&[u8]], offset: u64) -> Result<(), FsError>;

    /// Makes content and length durable (FS-01).
    ///
    /// # Errors
    /// Any error is final: the pages may be lost, and a later success would say nothing about them.
    fn sync_data(&self) -> Result<(), FsError>;

    /// The file's length.
    ///
    /// # Errors
    /// [`FsErrorKind::Io`].
    fn size(&self) -> Result<u64, FsError>;

    /// Cuts the file, or extends it with zeros that may be holes. Never called on a file with a live map.
    ///
    /// # Errors
    /// [`FsErrorKind::Io`].
    fn set_len(&self, len: u64) -> Result<(), FsError>;

    /// Reserves blocks for the first `len` bytes, extending the file with zeros, so that later writes there do
    /// not fail for lack of space.
    ///
    /// # Errors
    /// [`FsErrorKind::NoSpace`].
    fn allocate(&self, len: u64) -> Result<(), FsError>;

    /// Maps the first `len` bytes, which must exist and must never be written or cut again while the result or
    /// a slice of it lives.
    ///
    /// # Errors
    /// [`FsErrorKind::Io`], also where the process has too many maps: the caller reads instead.
    fn map(&self, len: u64) -> Result<Bytes, FsError>;

    /// Tells what will happen to cached pages of a range; a hint.
    fn advise(&self, offset: u64, len: u64, advice: Advice);
}
