//! Segment files: entries of one group, with an index, sealed and mapped once they take no more.

pub(crate) mod cursor;
pub(crate) mod handles;
pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod live_maps;
pub(crate) mod map;
pub(crate) mod open;
pub(crate) mod writer;

use chronik_core::{GroupId, LogIndex};
use std::path::{Path, PathBuf};

/// The directory of a group's segments.
pub(crate) fn group_dir(dir: &Path, group: GroupId) -> PathBuf {
    dir.join("groups").join(group.0.to_string())
}

/// The file of the segment that starts at `base`.
pub(crate) fn segment_path(dir: &Path, group: GroupId, base: LogIndex) -> PathBuf {
    group_dir(dir, group).join(format!("{:020}.seg", base.0))
}

/// The base in a segment's file name, or `None` for a file of another kind.
pub(crate) fn base_of_name(name: &str) -> Option<LogIndex> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(LogIndex)
}
