//! Letting go of files that nobody needs any more.

use crate::background::{Background, DropTask};
use crate::checkpoint::checkpoint_path;
use crate::group::seg::Disk;
use crate::segment::group_dir;
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::fs::{FileSystem, FsError, FsErrorKind, OpenMode};
use std::path::Path;

impl Inner {
    pub(crate) fn drop_files(&self, background: &mut Background, task: &DropTask) -> Result<(), FsError> {
        let dir = &self.options.dir;
        {
            // The writer of a segment that goes must not write into it any more.
            let mut writer = locked(&task.group.writer);
            let gone = writer
                .as_ref()
                .is_some_and(|writer| task.segments.iter().any(|seg| seg.is_open_as(&writer.seg)));
            if gone || task.whole_group {
                *writer = None;
            }
        }
        for seg in &task.segments {
            let Some(file) = seg.file() else { continue };
            self.handles.forget(file);
            if let Disk::Sealed(sealed) = &seg.disk {
                sealed.retire();
            }
            let generation = file.header.generation;
            let taken = self
                .fs
                .open(&file.path, OpenMode::Read)
                .and_then(|open| open.size())
                .and_then(|bytes| {
                    background
                        .pool
                        .take_in(&*self.fs, dir, &file.path, bytes, generation)
                });
            match taken {
                // An earlier attempt got that far.
                Err(error) if error.kind == FsErrorKind::NotFound => {}
                other => other?,
            }
        }
        for index in &task.checkpoints {
            self.remove_file(&checkpoint_path(dir, task.group.id, *index))?;
        }
        if task.whole_group {
            self.remove_group_dir(&group_dir(dir, task.group.id))?;
        }
        Ok(())
    }

    /// Removes a group's directory with what is in it.
    pub(crate) fn remove_group_dir(&self, path: &Path) -> Result<(), FsError> {
        let entries = match self.fs.list(path) {
            Err(error) if error.kind == FsErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            self.remove_file(&path.join(&entry.name))?;
        }
        self.remove_file(path)
    }

    /// Removes a file; one that is gone already is no error.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), FsError> {
        remove(&*self.fs, path)
    }
}

/// Removes a file; one that is gone already is no error.
pub(crate) fn remove(fs: &dyn FileSystem, path: &Path) -> Result<(), FsError> {
    match fs.remove(path) {
        Err(error) if error.kind == FsErrorKind::NotFound => Ok(()),
        other => other,
    }
}
