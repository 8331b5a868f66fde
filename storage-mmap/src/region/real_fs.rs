//! The file system of the operating system.

use super::real_file::RealFile;
use chronik_core::fs::{DirEntry, DirLock, File, FileSystem, FsError, FsErrorKind, OpenMode};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// A lock on an open file description: a second store is kept out in the same process too, and a killed process
/// leaves nothing behind.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl DirLock for RealLock {}

pub(super) fn fs_error(call: &str, path: &Path, error: &io::Error) -> FsError {
    let full = matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
    );
    let kind = match error.kind() {
        _ if full => FsErrorKind::NoSpace,
        io::ErrorKind::NotFound => FsErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => FsErrorKind::AlreadyExists,
        io::ErrorKind::WouldBlock => FsErrorKind::Locked,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FsErrorKind::Denied,
        _ => FsErrorKind::Io,
    };
    FsError::new(kind, format!("{call} {}: {error}", path.display()))
}

fn failed(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FsError {
    move |error| fs_error(call, path, &error)
}

/// Locks the file that was opened at `path`; `None` where it is not there any more. Who held it before may have removed it
/// since, and another may hold the next one.
fn hold(mut file: fs::File, path: &Path) -> Result<Option<RealLock>, FsError> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // The name of the holder is a courtesy; the refusal stands without it.
            let _ = (&mut file).take(64).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            let detail = format!("{} is locked by {holder}", path.display());
            return Err(FsError::new(FsErrorKind::Locked, detail));
        }
        Err(error) => return Err(fs_error("lock", path, &error.into())),
    }
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        named => named.map_err(failed("stat", path))?,
    };
    let held = file.metadata().map_err(failed("stat", path))?;
    if (named.dev(), named.ino()) != (held.dev(), held.ino()) {
        return Ok(None);
    }
    let pid = format!("{}\n", std::process::id());
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(pid.as_bytes()));
    if let Err(error) = noted {
        // Only the name of the holder is lost, on a full disk for instance.
        log::debug!("lock_holder_not_noted path={} error={error}", path.display());
    }
    Ok(Some(RealLock { _file: file }))
}

impl FileSystem for RealFs {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, FsError> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let file = options.open(path).map_err(failed("open", path))?;
        Ok(Arc::new(RealFile::new(file, path.to_owned())))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FsError> {
        fs::create_dir_all(path).map_err(failed("mkdir", path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, FsError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            let entry = entry.map_err(failed("list", path))?;
            let kind = entry.file_type().map_err(failed("stat", path))?;
            found.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir: kind.is_dir(),
            });
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        fs::rename(from, to).map_err(failed("rename", from))
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        let metadata = fs::symlink_metadata(path).map_err(failed("stat", path))?;
        if metadata.is_dir() {
            fs::remove_dir(path).map_err(failed("rmdir", path))
        } else {
            fs::remove_file(path).map_err(failed("unlink", path))
        }
    }

    fn sync_dir(&self, path: &Path) -> Result<(), FsError> {
        let dir = fs::File::open(path).map_err(failed("open", path))?;
        dir.sync_all().map_err(failed("fsync", path))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, FsError> {
        loop {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(path).map_err(failed("open", path))?;
            if let Some(lock) = hold(file, path)? {
                return Ok(Box::new(lock));
            }
        }
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, FsError> {
        match rustix::fs::statvfs(path) {
            Ok(stat) => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(error) => Err(fs_error("statvfs", path, &error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_lock_whose_file_is_removed_by_its_holders_is_held_by_one() {
        const ROUNDS: u32 = 3000;
        let path = std::env::temp_dir().join(format!("chronik-lock-{}", std::process::id()));
        let held = AtomicBool::new(false);
        let take = || {
            for _ in 0..ROUNDS {
                match RealFs.lock(&path) {
                    Ok(lock) => {
                        assert!(!held.swap(true, Ordering::SeqCst), "held twice");
                        held.store(false, Ordering::SeqCst);
                        fs::remove_file(&path).unwrap();
                        drop(lock);
                    }
                    Err(error) => assert_eq!(error.kind, FsErrorKind::Locked, "{error}"),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(take);
            }
        });
    }

    #[test]
    fn a_file_that_was_removed_since_it_was_opened_is_no_lock() {
        let path = std::env::temp_dir().join(format!("chronik-no-lock-{}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        let again = file.try_clone().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(hold(file, &path).unwrap().is_none(), "it has no name");
        fs::write(&path, "").unwrap();
        assert!(hold(again, &path).unwrap().is_none(), "another has its name");
        fs::remove_file(&path).unwrap();
    }
}
