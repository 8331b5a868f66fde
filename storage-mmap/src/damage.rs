//! Damaged places, and how file-system errors reach the caller.

use chronik_core::error::Damage;
use chronik_core::fs::{FsError, FsErrorKind};
use chronik_core::{GroupId, LogError};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A damaged range of `file`, which is named relative to the data directory `dir`.
pub(crate) fn damage(
    dir: &Path,
    file: &Path,
    range: Range<u64>,
    group: Option<GroupId>,
    reason: impl Into<String>,
) -> Damage {
    let file = file.strip_prefix(dir).unwrap_or(file);
    Damage {
        file: file.to_string_lossy().into_owned(),
        from_byte: range.start,
        to_byte: range.end,
        group,
        reason: reason.into(),
    }
}

/// The same as an error.
pub(crate) fn damaged(damage: Damage) -> LogError {
    LogError::Damaged(Arc::new(damage))
}

/// What a failed call means for the caller of the store.
pub(crate) fn io_error(error: FsError) -> LogError {
    match error.kind {
        FsErrorKind::NoSpace => LogError::Full,
        FsErrorKind::Locked => LogError::Locked(error.detail.to_string()),
        _ => LogError::Io(error),
    }
}

/// A failed sync is final, whatever the reason: even where space was short, nobody knows what it left undone.
pub(crate) fn final_sync(result: Result<(), FsError>) -> Result<(), FsError> {
    result.map_err(|error| FsError::new(FsErrorKind::Io, error.detail))
}
