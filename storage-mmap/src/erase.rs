//! Taking a store out of its directory.

use crate::damage::io_error;
use crate::store::LOCK;
use chronik_core::LogError;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind};
use std::path::Path;

/// The directories of a store. The journal goes last: data without one is taken for damage, and not for a new store.
const PARTS: [&str; 4] = ["groups", "pool", "torn", "journal"];

/// Removes the logs that a store keeps in `dir`, and nothing else there. For a directory whose content is given up;
/// interrupted, it can be done again.
///
/// # Errors
/// [`LogError::Locked`] where a process holds the directory, [`LogError::Io`].
pub fn erase(dir: &Path, fs: &dyn FileSystem) -> Result<(), LogError> {
    let _lock = match fs.lock(&dir.join(LOCK)) {
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error)?,
    };
    for part in PARTS {
        remove_all(fs, &dir.join(part)).map_err(io_error)?;
    }
    fs.sync_dir(dir).map_err(io_error)
}

fn remove_all(fs: &dyn FileSystem, path: &Path) -> Result<(), FsError> {
    let entries = match fs.list(path) {
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let inner = path.join(&entry.name);
        match entry.is_dir {
            true => remove_all(fs, &inner)?,
            false => fs.remove(&inner)?,
        }
    }
    fs.remove(path)
}
