//! The end of the journal that a crash tore.

use super::scan::Found;
use crate::drop_files::remove;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind, OpenMode};
use std::cmp::Reverse;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How much is kept aside in all.
const KEPT_MAX: u64 = 64 << 20;
/// In how many files.
const COPIES_MAX: usize = 8;

/// Bytes that were written behind the last whole frame.
#[derive(Clone, Debug)]
pub(crate) struct Torn {
    pub(crate) found: Found,
    pub(crate) range: Range<u64>,
}

impl Torn {
    /// How many bytes are worth keeping.
    pub(crate) fn kept_bytes(&self) -> u64 {
        (self.range.end - self.range.start).min(KEPT_MAX)
    }

    fn path(&self, dir: &Path) -> PathBuf {
        let (sequence, from) = (self.found.preamble.sequence, self.range.start);
        torn_dir(dir).join(format!("{sequence:08}-{from}.torn"))
    }

    /// Keeps them aside, for whoever wants to know what was lost with the power.
    pub(crate) fn keep(&self, fs: &dyn FileSystem, dir: &Path) {
        let (kept, path) = (torn_dir(dir), self.path(dir));
        let from = self.range.start;
        let copy = || {
            let mut bytes = vec![0; self.kept_bytes() as usize];
            self.found.file.read_at(&mut bytes, from)?;
            fs.create_dir_all(&kept)?;
            // An opening that was cut short may have got so far, or half as far.
            remove(fs, &path)?;
            fs.open(&path, OpenMode::CreateNew)?.write_at(&[&bytes], 0)
        };
        if let Err(error) = copy() {
            // A courtesy: recovery does not depend on it, and needs the space that half of it takes.
            let _ = fs.remove(&path);
            log::warn!("torn_tail_not_kept path={} error={error}", path.display());
        }
    }
}

fn torn_dir(dir: &Path) -> PathBuf {
    dir.join("torn")
}

/// Which journal file a copy was torn from, and where; `None` for what is none.
fn place_of_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, from) = name.strip_suffix(".torn")?.split_once('-')?;
    Some((sequence.parse().ok()?, from.parse().ok()?))
}

/// Removes older copies, so that few are kept, `next` among them: every start makes one at most, and each removes what is too
/// much before that, however short it is cut. One that is short of space keeps the newest alone.
pub(crate) fn trim(fs: &dyn FileSystem, dir: &Path, next: Option<&Torn>, short: bool) {
    if let Err(error) = try_trim(fs, dir, next, short) {
        // Only space is lost by it.
        log::warn!("torn_copies_not_removed dir={} error={error}", dir.display());
    }
}

fn try_trim(fs: &dyn FileSystem, dir: &Path, next: Option<&Torn>, short: bool) -> Result<(), FsError> {
    let torn_dir = torn_dir(dir);
    let mut copies = match fs.list(&torn_dir) {
        Err(error) if error.kind == FsErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let next_path = next.map(|torn| torn.path(dir));
    let mut count = usize::from(next.is_some());
    let mut bytes = next.map_or(0, Torn::kept_bytes);
    copies.sort_by_key(|copy| Reverse(place_of_name(&copy.name)));
    let most = if short { 1 } else { COPIES_MAX };
    let mut removed = false;
    for copy in copies {
        let path = torn_dir.join(&copy.name);
        if copy.is_dir || next_path.as_ref() == Some(&path) {
            continue;
        }
        count += 1;
        bytes = bytes.saturating_add(fs.open(&path, OpenMode::Read)?.size()?);
        if count > most || bytes > KEPT_MAX {
            remove(fs, &path)?;
            removed = true;
        }
    }
    if removed {
        // The space returns with the names gone; nothing depends on that.
        let _ = fs.sync_dir(&torn_dir);
    }
    Ok(())
}
