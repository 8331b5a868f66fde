//! A disk in memory that loses what was not synced.
//!
//! # Fault model
//! - Writes are seen by reads at once. Content and length survive a power cut once `sync_data` returned, names once
//!   `sync_dir` of their directory returned (FS-01, FS-02).
//! - At a power cut ([`SimDisk::crash`]) a [`Chooser`] decides for each unsynced sector (512 bytes) or page (4 KiB)
//!   whether it is kept, dropped or torn, on its own and in any order. Kept may mean any of the versions that the
//!   sector had since the last sync: write-back can come at any time. Each unsynced length and each unsynced name is
//!   kept or dropped too, so data may survive without its name and a length without its data (then zeros). (FS-03.)
//! - A sector is never torn inside, and a rename is atomic. What was synced stays as it is, unless
//!   [`SimDisk::flip_bit`] damages it.
//! - A failed sync writes part of the file and forgets that the rest was dirty: reads see the new bytes until the
//!   cache is dropped, the next sync succeeds, and the bytes are gone after a power cut. (Linux, measured.)
//! - Any call can be made to fail ([`SimDisk::inject`]); a failing write may have written a prefix. The disk can be
//!   given a capacity; writes and reservations beyond it fail with `NoSpace`.
//! - A map is a promise that its bytes stay: a write, cut or extension into the mapped range while a map or a slice
//!   of it lives is noted as a violation ([`SimDisk::violations`]) and is a bug of the store.
//!
//! The power can be set to go before the n-th call that changes something ([`SimDisk::power_off_at`]): that call
//! and all later ones fail and change nothing, so a test can say "crash at step k" for every k.

mod choose;
mod content;
mod fault;
mod file;
mod mutant;
mod names;
#[cfg(test)]
mod tests;

pub use choose::{Chooser, DropAll, DropFirst, Enumerate, KeepAll, KeepFirst};
pub use fault::{DiskStats, Fault, Op};
pub use mutant::DiskMutant;

use super::{Seed, locked};
use choose::InOrder;
use chronik_core::fs::{DirEntry, DirLock, File, FileSystem, FsError, FsErrorKind, OpenMode};
use content::Content;
use fault::{Control, fs_error};
use file::SimFile;
use names::{DirNode, FileNode, Node, PowerCut};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The unit that a medium writes whole.
pub const SECTOR_BYTES: u64 = 512;
/// The unit of the page cache.
pub const PAGE_BYTES: u64 = 4096;

const UNLIMITED_BYTES: u64 = 1 << 40;

/// What a power cut decides about as one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Each sector on its own.
    Sector,
    /// Pages, of which each is kept, dropped, or torn into sectors.
    Page,
}

#[derive(Debug)]
struct Shared {
    control: Mutex<Control>,
    used_bytes: Arc<AtomicU64>,
    root: Arc<DirNode>,
    mutant: Option<DiskMutant>,
    open_files: AtomicUsize,
}

impl Shared {
    fn has(&self, mutant: DiskMutant) -> bool {
        self.mutant == Some(mutant)
    }
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct SimLock {
    node: Arc<FileNode>,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.node.locked.store(false, Ordering::SeqCst);
    }
}

impl SimDisk {
    /// An empty disk whose own decisions (how much of a failing write happens) follow `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self::broken(seed, None)
    }

    /// An empty disk that breaks one guarantee.
    #[must_use]
    pub fn broken(seed: Seed, mutant: Option<DiskMutant>) -> Self {
        Self::with_root(seed, Arc::new(DirNode::default()), Arc::default(), mutant)
    }

    fn with_root(
        seed: Seed,
        root: Arc<DirNode>,
        used_bytes: Arc<AtomicU64>,
        mutant: Option<DiskMutant>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                control: Mutex::new(Control::new(seed)),
                used_bytes,
                root,
                mutant,
                open_files: AtomicUsize::new(0),
            }),
        }
    }

    /// Cuts the power and returns the disk as it is afterwards: without locks, faults or a capacity. This one is
    /// dead from now on, so that what is left of a store cannot reach the new one.
    #[must_use]
    pub fn crash(&self, chooser: &mut dyn Chooser, unit: Unit) -> Self {
        let seed = {
            let mut control = locked(&self.shared.control);
            control.power_is_off = true;
            Seed(control.prng.next_u64())
        };
        self.survivors(chooser, unit, seed)
    }

    /// A copy as after a power cut; this disk goes on.
    #[must_use]
    pub fn snapshot(&self, chooser: &mut dyn Chooser, unit: Unit, seed: Seed) -> Self {
        self.survivors(chooser, unit, seed)
    }

    fn survivors(&self, chooser: &mut dyn Chooser, unit: Unit, seed: Seed) -> Self {
        let used_bytes = Arc::default();
        let mutant = self.shared.mutant;
        let mut in_order = InOrder::new(chooser, mutant == Some(DiskMutant::LosesInOrder));
        let root = PowerCut::new(&mut in_order, unit, Arc::clone(&used_bytes)).dir(&self.shared.root);
        Self::with_root(seed, root, used_bytes, mutant)
    }

    /// Cuts the power before the `step`-th changing call of this disk's life; 0 is the first.
    pub fn power_off_at(&self, step: u64) {
        locked(&self.shared.control).power_off_at = Some(step);
    }

    /// Forgets a power cut that did not come yet.
    pub fn stay_on(&self) {
        locked(&self.shared.control).power_off_at = None;
    }

    /// Whether the power is off.
    #[must_use]
    pub fn power_is_off(&self) -> bool {
        locked(&self.shared.control).power_is_off
    }

    /// Makes calls fail.
    pub fn inject(&self, fault: Fault) {
        locked(&self.shared.control).faults.push(fault);
    }

    /// Forgets the faults that did not happen yet.
    pub fn clear_faults(&self) {
        locked(&self.shared.control).faults.clear();
    }

    /// Limits the space, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        locked(&self.shared.control).capacity_bytes = bytes;
    }

    /// Bytes of the pages that files own.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::SeqCst)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        locked(&self.shared.control).stats
    }

    /// Breaches of the promise that mapped bytes stay.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        locked(&self.shared.control).violations.clone()
    }

    /// Notes every call from now on; [`SimDisk::trace`] returns them.
    pub fn start_trace(&self) {
        locked(&self.shared.control).trace = Some(Vec::new());
    }

    /// The calls since [`SimDisk::start_trace`].
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        locked(&self.shared.control).trace.clone().unwrap_or_default()
    }

    /// All files with their lengths, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        walk(&self.shared.root, Path::new("/"), &mut |path, node| {
            found.push((path, locked(&node.content).len() as u64));
        });
        found
    }

    /// How many files are open now; one that is open twice counts twice.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.shared.open_files.load(Ordering::SeqCst)
    }

    /// Whether any file has content or a length that was not synced.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let mut dirty = false;
        walk(&self.shared.root, Path::new("/"), &mut |_, node| {
            dirty |= locked(&node.content).is_dirty();
        });
        dirty
    }

    /// The bytes of a file, or `None` where there is none.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let node = self.file_node(path).ok()?;
        let content = locked(&node.content);
        Some(content.cached().to_vec())
    }

    /// Flips one bit, in the cache and on the medium; false where the file has no such byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> bool {
        let Ok(node) = self.file_node(path) else {
            return false;
        };
        usize::try_from(byte).is_ok_and(|byte| locked(&node.content).flip(byte, bit))
    }

    fn admit(&self, op: Op, path: &Path) -> Result<(), FsError> {
        match locked(&self.shared.control).admit(op, path)? {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn dir_node(&self, path: &Path) -> Result<Arc<DirNode>, FsError> {
        let mut dir = Arc::clone(&self.shared.root);
        for name in names_of(path) {
            let next = locked(&dir.names).get(&name);
            match next {
                Some(Node::Dir(next)) => dir = next,
                _ => return Err(not_found(path)),
            }
        }
        Ok(dir)
    }

    fn parent_node(&self, path: &Path) -> Result<(Arc<DirNode>, String), FsError> {
        let name = names_of(path).pop().ok_or_else(|| not_found(path))?;
        Ok((
            self.dir_node(path.parent().unwrap_or_else(|| Path::new("/")))?,
            name,
        ))
    }

    fn file_node(&self, path: &Path) -> Result<Arc<FileNode>, FsError> {
        let (dir, name) = self.parent_node(path)?;
        let found = locked(&dir.names).get(&name);
        match found {
            Some(Node::File(file)) => Ok(file),
            _ => Err(not_found(path)),
        }
    }

    fn create(&self, path: &Path) -> Result<Arc<FileNode>, FsError> {
        self.admit(Op::Create, path)?;
        let (dir, name) = self.parent_node(path)?;
        let mut names = locked(&dir.names);
        if names.get(&name).is_some() {
            return Err(fs_error(FsErrorKind::AlreadyExists, Op::Create, path, "exists"));
        }
        let node = FileNode::new(Content::default(), &self.shared.used_bytes);
        names.set(&name, Some(Node::File(Arc::clone(&node))), &Arc::default());
        Ok(node)
    }
}

impl FileSystem for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, FsError> {
        let node = match mode {
            OpenMode::CreateNew => self.create(path)?,
            OpenMode::Read | OpenMode::Write => {
                self.admit(Op::Open, path)?;
                self.file_node(path)?
            }
        };
        self.shared.open_files.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(SimFile {
            shared: Arc::clone(&self.shared),
            node,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> Result<(), FsError> {
        let mut dir = Arc::clone(&self.shared.root);
        let mut so_far = PathBuf::from("/");
        for name in names_of(path) {
            so_far.push(&name);
            let known = locked(&dir.names).get(&name);
            let next = match known {
                Some(Node::Dir(next)) => next,
                Some(Node::File(_)) => {
                    return Err(fs_error(
                        FsErrorKind::AlreadyExists,
                        Op::CreateDir,
                        &so_far,
                        "a file",
                    ));
                }
                None => {
                    self.admit(Op::CreateDir, &so_far)?;
                    let next = Arc::new(DirNode::default());
                    locked(&dir.names).set(&name, Some(Node::Dir(Arc::clone(&next))), &Arc::default());
                    next
                }
            };
            dir = next;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>, FsError> {
        self.admit(Op::List, path)?;
        let dir = self.dir_node(path)?;
        let names = locked(&dir.names);
        Ok(names
            .entries()
            .map(|(name, node)| DirEntry {
                name: name.clone(),
                is_dir: matches!(node, Node::Dir(_)),
            })
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        self.admit(Op::Rename, from)?;
        let (from_dir, from_name) = self.parent_node(from)?;
        let (to_dir, to_name) = self.parent_node(to)?;
        let node = locked(&from_dir.names)
            .get(&from_name)
            .ok_or_else(|| not_found(from))?;
        if from == to {
            return Ok(());
        }
        let group = Arc::new(AtomicBool::new(false));
        locked(&from_dir.names).set(&from_name, None, &group);
        let group = match self.shared.has(DiskMutant::RenamesInSteps) {
            true => Arc::default(),
            false => group,
        };
        locked(&to_dir.names).set(&to_name, Some(node), &group);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FsError> {
        self.admit(Op::Remove, path)?;
        let (dir, name) = self.parent_node(path)?;
        let mut names = locked(&dir.names);
        match names.get(&name) {
            None => return Err(not_found(path)),
            Some(Node::Dir(inner)) if !locked(&inner.names).is_empty() => {
                return Err(fs_error(FsErrorKind::Io, Op::Remove, path, "not empty"));
            }
            Some(_) => names.set(&name, None, &Arc::default()),
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<(), FsError> {
        let dir = self.dir_node(path)?;
        let mut control = locked(&self.shared.control);
        match control.admit(Op::SyncDir, path)? {
            None => {
                let keeps_old = self.shared.has(DiskMutant::DirSyncKeepsOldNames);
                locked(&dir.names).sync(keeps_old);
                Ok(())
            }
            Some(failure) => {
                locked(&dir.names).sync_failed(&mut control.prng);
                Err(failure)
            }
        }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, FsError> {
        self.admit(Op::Lock, path)?;
        loop {
            let node = match self.file_node(path) {
                Ok(node) => node,
                Err(_) => self.create(path)?,
            };
            if node.locked.swap(true, Ordering::SeqCst) {
                let what = "held by another store of this disk";
                return Err(fs_error(FsErrorKind::Locked, Op::Lock, path, what));
            }
            let lock = SimLock { node };
            // Who held it before may have removed it.
            if self
                .file_node(path)
                .is_ok_and(|named| Arc::ptr_eq(&named, &lock.node))
            {
                return Ok(Box::new(lock));
            }
        }
    }

    fn free_bytes(&self, _path: &Path) -> Result<u64, FsError> {
        let capacity = locked(&self.shared.control).capacity_bytes;
        Ok(capacity
            .unwrap_or(UNLIMITED_BYTES)
            .saturating_sub(self.used_bytes()))
    }
}

fn not_found(path: &Path) -> FsError {
    FsError::new(FsErrorKind::NotFound, format!("{}: no such file", path.display()))
}

fn names_of(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect()
}

fn walk(dir: &DirNode, path: &Path, visit: &mut dyn FnMut(PathBuf, &FileNode)) {
    for (name, node) in locked(&dir.names).entries() {
        let path = path.join(name);
        match node {
            Node::File(file) => visit(path, file),
            Node::Dir(dir) => walk(dir, &path, visit),
        }
    }
}
