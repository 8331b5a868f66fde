//! What can be set about a store.

use chronik_core::LogError;
use chronik_core::fs::{FsError, FsErrorKind};
use std::path::PathBuf;

/// Where a store lies and how much of everything it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The data directory; created where there is none.
    pub dir: PathBuf,
    /// Length of one journal file. Files are written over and over, so this much stays taken for each.
    pub journal_file_bytes: u64,
    /// How many journal files there may be before appends wait for segments to become durable.
    pub journal_files_max: usize,
    /// The largest payload of one entry or checkpoint; at most a quarter of a journal file.
    pub payload_bytes_max: u64,
    /// About how many bytes one flush takes before the tickets in it resolve.
    pub flush_bytes_max: u64,
    /// How many bytes of the newest entries stay in memory, over all groups.
    pub tail_bytes_max: u64,
    /// How many bytes may wait to be copied into segments before a copy starts.
    pub copy_bytes: u64,
    /// How many segment bytes of one group may be copied before they are synced.
    pub sync_bytes: u64,
    /// How many segment files may be open at once.
    pub open_files_max: usize,
    /// How many segment files may be mapped at once.
    pub maps_max: usize,
    /// How many bytes of dropped segments are kept for use by new ones.
    pub pool_bytes_max: u64,
    /// How much of a file is freed at once.
    pub shrink_step_bytes: u64,
    /// Appends are refused when fewer bytes than this are free on the file system beyond what is owed to
    /// segments already.
    pub free_bytes_min: u64,
}

impl StoreOptions {
    /// The defaults, for a store at `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            dir: dir.into(),
            journal_file_bytes: 64 * MIB,
            journal_files_max: 8,
            payload_bytes_max: 16 * MIB,
            flush_bytes_max: 4 * MIB,
            tail_bytes_max: 32 * MIB,
            copy_bytes: 8 * MIB,
            sync_bytes: 16 * MIB,
            open_files_max: 256,
            maps_max: 4096,
            pool_bytes_max: 256 * MIB,
            shrink_step_bytes: 4 * MIB,
            free_bytes_min: 16 * MIB,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), LogError> {
        let wrong = if self.journal_file_bytes < 16 << 10 {
            "journal_file_bytes is below 16 KiB"
        } else if self.journal_files_max < 2 {
            "journal_files_max is below 2"
        } else if self.payload_bytes_max > self.journal_file_bytes / 4 {
            "payload_bytes_max is above a quarter of journal_file_bytes"
        } else if self.payload_bytes_max > u64::from(u32::MAX) / 2 {
            "payload_bytes_max is above 2 GiB"
        } else if self.shrink_step_bytes == 0 || self.flush_bytes_max == 0 {
            "a step of zero bytes"
        } else if self.open_files_max == 0 {
            "open_files_max is zero"
        } else {
            return Ok(());
        };
        let detail = format!("options of {}: {wrong}", self.dir.display());
        Err(LogError::Io(FsError::new(FsErrorKind::Io, detail)))
    }
}
