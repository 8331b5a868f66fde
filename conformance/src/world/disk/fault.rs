//! Faults: which call fails, how, and when the power goes.

use super::PAGE_BYTES;
use crate::world::{Prng, Seed};
use chronik_core::fs::{FsError, FsErrorKind};
use std::path::Path;

/// A call on the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Creating directories.
    CreateDir,
    /// Listing a directory.
    List,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Making names durable.
    SyncDir,
    /// Taking a lock.
    Lock,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making content durable.
    Sync,
    /// Cutting or extending.
    SetLen,
    /// Reserving space.
    Allocate,
    /// Mapping.
    Map,
}

impl Op {
    /// Whether the call changes something, and is therefore a step at which the power may go.
    #[must_use]
    pub const fn is_step(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::List | Self::Lock | Self::Read | Self::Map
        )
    }
}

/// Calls that fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which calls.
    pub op: Op,
    /// Only calls on paths that contain this text; the empty text is in every path.
    pub path: String,
    /// How many such calls succeed first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// The error.
    pub error: FsErrorKind,
}

impl Fault {
    /// The `nth` call of this kind from now on (0 is the next one) fails once.
    #[must_use]
    pub fn nth(op: Op, nth: u64, error: FsErrorKind) -> Self {
        Self {
            op,
            path: String::new(),
            after: nth,
            times: 1,
            error,
        }
    }
}

/// What was done to a disk, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Calls that change something.
    pub steps: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Content syncs.
    pub syncs: u64,
    /// Directory syncs.
    pub dir_syncs: u64,
    /// Maps made.
    pub maps: u64,
    /// Renames.
    pub renames: u64,
    /// Ranges that the store asked the system to forget.
    pub cache_drops: u64,
    /// Calls that a fault made fail.
    pub failed: u64,
}

/// What decides about each call.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) stats: DiskStats,
    pub(super) prng: Prng,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) power_off_at: Option<u64>,
    pub(super) power_is_off: bool,
    pub(super) violations: Vec<String>,
    pub(super) trace: Option<Vec<String>>,
}

impl Control {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            stats: DiskStats::default(),
            prng: seed.child("disk").prng(),
            faults: Vec::new(),
            capacity_bytes: None,
            power_off_at: None,
            power_is_off: false,
            violations: Vec::new(),
            trace: None,
        }
    }

    /// Lets a call pass, or says with which error it fails.
    ///
    /// The outer error means that nothing happens. The inner one is a fault: the caller does half of the work.
    pub(super) fn admit(&mut self, op: Op, path: &Path) -> Result<Option<FsError>, FsError> {
        if !self.power_is_off && op.is_step() {
            if self.power_off_at == Some(self.stats.steps) {
                self.power_is_off = true;
            } else {
                self.stats.steps += 1;
            }
        }
        if self.power_is_off {
            return Err(fs_error(FsErrorKind::Io, op, path, "the power is off"));
        }
        self.count(op);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {op:?} {}", self.stats.steps, path.display()));
        }
        let name = path.to_string_lossy();
        let mut failure = None;
        for fault in &mut self.faults {
            if fault.op != op || !name.contains(&fault.path) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 && failure.is_none() {
                fault.times -= 1;
                failure = Some(fs_error(fault.error, op, path, "injected"));
            }
        }
        self.faults.retain(|fault| fault.times > 0);
        self.stats.failed += u64::from(failure.is_some());
        Ok(failure)
    }

    const fn count(&mut self, op: Op) {
        match op {
            Op::Write => self.stats.writes += 1,
            Op::Sync => self.stats.syncs += 1,
            Op::SyncDir => self.stats.dir_syncs += 1,
            Op::Map => self.stats.maps += 1,
            Op::Rename => self.stats.renames += 1,
            _ => {}
        }
    }

    /// How many more pages fit.
    pub(super) fn free_pages(&self, used_bytes: u64) -> u64 {
        self.capacity_bytes.map_or(u64::MAX, |capacity| {
            capacity.saturating_sub(used_bytes) / PAGE_BYTES
        })
    }
}

pub(super) fn fs_error(kind: FsErrorKind, op: Op, path: &Path, what: &str) -> FsError {
    FsError::new(kind, format!("{op:?} {}: {what}", path.display()))
}
