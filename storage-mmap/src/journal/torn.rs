//! The end of the journal that a crash tore.

use super::scan::Found;
use crate::drop_files::remove;
use chronik_core::fs::{FileSystem, OpenMode};
use std::ops::Range;
use std::path::Path;

/// How much is kept aside.
const KEPT_MAX: u64 = 64 << 20;

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

    /// Keeps them aside, for whoever wants to know what was lost with the power.
    pub(crate) fn keep(&self, fs: &dyn FileSystem, dir: &Path) {
        let kept = dir.join("torn");
        let (sequence, from) = (self.found.preamble.sequence, self.range.start);
        let path = kept.join(format!("{sequence:08}-{from}.torn"));
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
