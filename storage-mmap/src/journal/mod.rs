//! The journal: one sequence of frames for all groups, in files that are written over and over.

pub(crate) mod file;
pub(crate) mod group_image;
pub(crate) mod image;
pub(crate) mod needs;
pub(crate) mod replay;
pub(crate) mod scan;
pub(crate) mod torn;
pub(crate) mod writer;

use std::path::{Path, PathBuf};

/// The directory of the journal files.
pub(crate) fn journal_dir(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// The path of the journal file in a slot.
pub(crate) fn slot_path(dir: &Path, slot: u32) -> PathBuf {
    journal_dir(dir).join(format!("{slot:04}.jnl"))
}

/// The slot in a journal file's name, or `None` for a file of another kind.
pub(crate) fn slot_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".jnl")?;
    if digits.len() < 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
