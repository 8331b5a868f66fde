//! A bucket in a directory: one file an object, on any file system that renames atomically.
//!
//! Conditional writes hold a lock file, so that several processes may share the directory of one host.

use super::{
    Answer, Bucket, Condition, Object, ObjectMeta, Page, Part, StoreError, StoreErrorKind, Version, Want,
    body_bytes, inside, reply,
};
use bytes::Bytes;
use chronik_core::Env;
use chronik_core::env::DiskLane;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where files are written before they get their name.
const TEMPORARY: &str = ".tmp";
/// The lock of conditional writes.
const LOCK: &str = ".lock";
/// Objects of one page of a list.
const PAGE: usize = 10_000;
/// Objects up to this size are told apart by their content, larger ones by their file.
const VERSIONED_BYTES: u64 = 4 << 20;
/// A temporary file that nobody has written for this long belongs to a process that ended.
const LEFTOVER: Duration = Duration::from_secs(24 * 3600);

/// A bucket in a directory.
#[derive(Clone, Debug)]
pub struct FileBucket {
    root: Arc<Path>,
    /// Whether the directory was made or found once. From then on it is never made again: where a disk went away, its mount
    /// point is no bucket. Whoever only reads never makes it.
    made: Arc<AtomicBool>,
    env: Env,
}

impl FileBucket {
    /// The bucket at `root`. Its directory is made by the first write, where there is none: a node starts while its store
    /// is down. Work is done by the read threads of `env`.
    #[must_use]
    pub fn new(root: &Path, env: Env) -> Self {
        let temporary = root.join(TEMPORARY);
        let made = temporary.is_dir();
        if made {
            remove_leftovers(&temporary);
        }
        Self {
            root: root.into(),
            made: Arc::new(AtomicBool::new(made)),
            env,
        }
    }

    /// Runs one request on a disk thread.
    fn run<T: Send + 'static>(
        &self,
        call: &'static str,
        key: &str,
        work: impl FnOnce(&Place) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<T> {
        let place = match self.place(key) {
            Ok(place) => place,
            Err(error) => return Box::pin(async move { Err(error) }),
        };
        let key = key.to_owned();
        let (sender, answer) = reply();
        let job = move || {
            sender.send(work(&place).map_err(|failure| match failure {
                Failure::Io(error) => failed(call, &key, &error),
                Failure::Store(kind, what) => StoreError::new(kind, format!("{call} {key}: {what}")),
            }));
        };
        self.env.disk.submit(DiskLane::Read, Box::new(job));
        Box::pin(answer)
    }

    /// The file of a key, which must be plain names joined by slashes.
    fn place(&self, key: &str) -> Result<Place, StoreError> {
        let plain = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
        };
        if !key.split('/').all(plain) {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("{key}: not the name of an object"),
            ));
        }
        Ok(Place {
            file: self.root.join(key),
            temporary: self
                .root
                .join(TEMPORARY)
                .join(format!("{:016x}", self.env.rng.next_u64())),
            root: Arc::clone(&self.root),
            made: Arc::clone(&self.made),
        })
    }
}

/// Where a request works.
struct Place {
    root: Arc<Path>,
    made: Arc<AtomicBool>,
    file: PathBuf,
    temporary: PathBuf,
}

enum Failure {
    Io(io::Error),
    Store(StoreErrorKind, String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn failed(call: &str, key: &str, error: &io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ => StoreErrorKind::Unknown,
    };
    StoreError::new(kind, format!("{call} {key}: {error}"))
}

/// Makes the directory, unless that was done once.
fn make_root(root: &Path, made: &AtomicBool) -> io::Result<()> {
    if made.load(Ordering::Relaxed) {
        return Ok(());
    }
    let temporary = root.join(TEMPORARY);
    fs::create_dir_all(&temporary)?;
    made.store(true, Ordering::Relaxed);
    Ok(())
}

fn remove_leftovers(temporary: &Path) {
    let Ok(files) = fs::read_dir(temporary) else {
        return;
    };
    for file in files.flatten() {
        let old = file
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > LEFTOVER));
        if old {
            // Another process may have been faster.
            let _ = fs::remove_file(file.path());
        }
    }
}

impl Place {
    /// Writes a file beside its place, syncs it, and gives it its name if the condition holds.
    fn put(&self, body: &[Bytes], condition: &Condition) -> Result<Version, Failure> {
        let written = (|| {
            make_root(&self.root, &self.made)?;
            let mut file = File::create_new(&self.temporary)?;
            for part in body {
                file.write_all(part)?;
            }
            file.sync_data()?;
            self.publish(&self.temporary, condition)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        written
    }

    /// Gives a complete file its name, durably.
    fn publish(&self, complete: &Path, condition: &Condition) -> Result<Version, Failure> {
        let folder = self.file.parent().unwrap_or(&self.root);
        make_folders(folder, &self.root)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(LOCK))?;
        lock.lock()?;
        let allowed = match condition {
            Condition::Always => true,
            Condition::Absent => !self.file.exists(),
            Condition::Unchanged(version) => match File::open(&self.file) {
                Ok(current) => version_of(&current)? == *version,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error.into()),
            },
        };
        if !allowed {
            let what = "the condition does not hold".to_owned();
            return Err(Failure::Store(StoreErrorKind::Conflict, what));
        }
        let version = version_of(&File::open(complete)?)?;
        fs::rename(complete, &self.file)?;
        File::open(folder)?.sync_all()?;
        Ok(version)
    }

    fn get(&self, key: &str, want: &Want) -> Result<Object, Failure> {
        let file = File::open(&self.file)?;
        let found = file.metadata()?;
        let range = match want {
            Want::Meta => 0..0,
            Want::Range(range) => range.clone(),
            Want::All { max_bytes } if found.len() > *max_bytes => {
                let what = format!("{} bytes where at most {max_bytes} are expected", found.len());
                return Err(Failure::Store(StoreErrorKind::Invalid, what));
            }
            Want::All { .. } => 0..found.len(),
        };
        if range.start > range.end || range.end > found.len() {
            let what = format!("no bytes {range:?} of {}", found.len());
            return Err(Failure::Store(StoreErrorKind::Invalid, what));
        }
        let mut data = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut data, range.start)?;
        // The content is hashed for those alone who will ask for an unchanged object.
        let version = match want {
            Want::Range(_) => Version("".into()),
            _ => version_of(&file)?,
        };
        Ok(Object {
            meta: object_meta(key, &found),
            version,
            data: data.into(),
        })
    }

    fn part(&self, part: Part) -> Result<Arc<str>, Failure> {
        let place = |upload: &str| {
            let known = upload.len() == 16 && upload.bytes().all(|byte| byte.is_ascii_hexdigit());
            let gone = || Failure::Store(StoreErrorKind::NotFound, "there is no such upload".to_owned());
            known
                .then(|| self.root.join(TEMPORARY).join(upload))
                .ok_or_else(gone)
        };
        match part {
            Part::Begin => {
                make_root(&self.root, &self.made)?;
                File::create_new(&self.temporary)?;
                let name = self.temporary.file_name().unwrap_or_default().to_string_lossy();
                Ok(name.into())
            }
            Part::Store {
                upload,
                number,
                mut position,
                body,
            } => {
                let file = OpenOptions::new().write(true).open(place(&upload)?)?;
                for bytes in body {
                    file.write_all_at(&bytes, position)?;
                    position += bytes.len() as u64;
                }
                Ok(format!("{number}-{position}").into())
            }
            Part::Complete { upload, .. } => {
                let complete = place(&upload)?;
                File::open(&complete)?.sync_data()?;
                self.publish(&complete, &Condition::Always)?;
                Ok("".into())
            }
            Part::Abort { upload } => {
                match fs::remove_file(place(&upload)?) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
                Ok("".into())
            }
        }
    }

    fn delete(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Creates the folders between `root` and `folder`, each name durable before the next is made.
fn make_folders(folder: &Path, root: &Path) -> io::Result<()> {
    if folder.is_dir() || folder == root {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(root);
    make_folders(above, root)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

fn version_of(file: &File) -> io::Result<Version> {
    let meta = file.metadata()?;
    if meta.len() > VERSIONED_BYTES {
        let (node, time, nanos) = (meta.ino(), meta.mtime(), meta.mtime_nsec());
        return Ok(Version(
            format!("{node:x}-{time:x}-{nanos:x}-{:x}", meta.len()).into(),
        ));
    }
    let mut data = vec![0; meta.len() as usize];
    file.read_exact_at(&mut data, 0)?;
    Ok(Version(
        format!("{:08x}-{:x}", crc32c::crc32c(&data), meta.len()).into(),
    ))
}

fn object_meta(key: &str, meta: &fs::Metadata) -> ObjectMeta {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    ObjectMeta {
        key: key.into(),
        size_bytes: meta.len(),
        modified_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
    }
}

/// The keys of all files whose keys start with `prefix`, unsorted.
fn walk(root: &Path, folder: &str, prefix: &str, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
    let files = match fs::read_dir(root.join(folder)) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for file in files {
        let file = file?;
        let Ok(name) = file.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let key = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        if file.file_type()?.is_dir() {
            let inside = format!("{key}/");
            if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                walk(root, &key, prefix, found)?;
            }
        } else if key.starts_with(prefix) {
            // A file that is deleted meanwhile is not there.
            if let Ok(meta) = file.metadata() {
                found.push(object_meta(&key, &meta));
            }
        }
    }
    Ok(())
}

impl Bucket for FileBucket {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        log::trace!("event=file_put key={key} bytes={}", body_bytes(&body));
        self.run("put", key, move |place| place.put(&body, &condition))
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        let name = key.to_owned();
        self.run("get", key, move |place| place.get(&name, &want))
    }

    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page> {
        let (prefix, after) = (inside(folder), after.map(str::to_owned));
        self.run("list", "all", move |place| {
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut objects = Vec::new();
            walk(&place.root, folder, &prefix, &mut objects)?;
            objects.retain(|object| after.as_deref().is_none_or(|after| &*object.key > after));
            objects.sort_by(|a, b| a.key.cmp(&b.key));
            let more = objects.len() > PAGE;
            objects.truncate(PAGE);
            Ok(Page { objects, more })
        })
    }

    fn delete(&self, key: &str) -> Answer<()> {
        self.run("delete", key, Place::delete)
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        self.run("upload", key, move |place| place.part(part))
    }

    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }
}
