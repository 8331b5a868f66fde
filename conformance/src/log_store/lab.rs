//! Where a check gets stores from: fresh disks, environments, crashes and reopenings.

use super::{Backend, Scale};
use crate::check::{Failure, Marks, Verdict, ensure};
use crate::world::disk::{Chooser, Unit};
use crate::world::{Seed, SimDisk, SimEnv};
use chronik_core::log_store::{Read, SegmentPolicy};
use chronik_core::{FileSystem, GroupId, GroupLog, LogError, LogStore, Ticket};
use std::path::Path;
use std::sync::Arc;

/// Where stores lie on simulated disks. The directory above is there and durable; this one is the store's to make.
pub(super) const DIR: &str = "/data/log";

/// Segments of the small scale.
pub(super) const SMALL: SegmentPolicy = SegmentPolicy { segment_bytes: 8192 };

/// What a check works with.
pub(crate) struct Lab<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) seed: Seed,
    pub(super) effort: u64,
    pub(super) marks: &'a Marks,
}

impl<'a> Lab<'a> {
    /// A new store on an empty disk.
    pub(super) fn fresh(&'a self, name: &str) -> Result<Subject<'a>, Failure> {
        let seed = self.seed.child(name);
        self.open(disk(seed), seed, Scale::Small)
            .map_err(|error| Failure(format!("a new store does not open: {error}")))
    }

    /// Counts a random run.
    pub(super) fn count_run(&self) {
        self.marks.hit(Marks::SEEDS);
        self.marks.hit(Marks::RUNS);
    }

    /// Opens a store on a disk.
    pub(super) fn open(&'a self, disk: SimDisk, seed: Seed, scale: Scale) -> Result<Subject<'a>, LogError> {
        let sim = SimEnv::new(seed);
        let fs = Arc::new(disk.clone());
        let store = self.backend.open(fs, Path::new(DIR), sim.env(), scale)?;
        Ok(Subject {
            lab: self,
            disk,
            sim,
            store,
            scale,
            seed,
        })
    }

    /// The largest payload at the small scale, but no more than what is quick to write.
    pub(super) fn payload_limit(&self) -> u64 {
        self.backend.max_payload_bytes(Scale::Small)
    }
}

/// A disk without a store.
pub(super) fn disk(seed: Seed) -> SimDisk {
    let disk = SimDisk::new(seed);
    let parent = Path::new(DIR).parent().unwrap_or_else(|| Path::new("/"));
    let made = disk
        .create_dir_all(parent)
        .and_then(|()| disk.sync_dir(Path::new("/")));
    assert!(made.is_ok(), "an empty disk takes a directory");
    disk
}

/// A running store.
pub(crate) struct Subject<'a> {
    pub(super) lab: &'a Lab<'a>,
    pub(super) disk: SimDisk,
    pub(super) sim: SimEnv,
    pub(super) store: Arc<dyn LogStore>,
    scale: Scale,
    pub(super) seed: Seed,
}

impl<'a> Subject<'a> {
    /// Opens a group with small segments.
    pub(super) fn group(&self, group: u64) -> Result<GroupLog, Failure> {
        self.store
            .open_group(GroupId(group), SMALL)
            .map_err(|error| Failure(format!("group {group} does not open: {error}")))
    }

    /// Steps until nothing moves.
    pub(super) fn settle(&self) {
        self.sim.run_until_idle();
    }

    /// Waits for the result of an answer that carries a ticket.
    pub(super) fn result(&self, answer: Result<Ticket, LogError>) -> Result<Result<(), LogError>, Failure> {
        match answer {
            Ok(ticket) => Ok(self.sim.wait(&ticket)?),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Waits until a write is durable.
    pub(super) fn durable(&self, what: &str, answer: Result<Ticket, LogError>) -> Verdict {
        match self.result(answer)? {
            Ok(()) => Ok(()),
            Err(error) => Err(Failure(format!("{what}: {error}"))),
        }
    }

    /// The outcome of a read, ready or pending.
    pub(super) fn outcome<T>(&self, read: Result<Read<T>, LogError>) -> Result<Result<T, LogError>, Failure> {
        match read {
            Ok(read) => Ok(self.sim.block_on(read.get())?),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The answer of a read that must succeed.
    pub(super) fn read<T>(&self, what: &str, read: Result<Read<T>, LogError>) -> Result<T, Failure> {
        self.outcome(read)?
            .map_err(|error| Failure(format!("{what}: {error}")))
    }

    /// Ends the process: nothing that it still had to do happens.
    fn kill(self) -> (&'a Lab<'a>, SimDisk, Scale, Seed) {
        let Self {
            lab,
            disk,
            sim,
            store,
            scale,
            seed,
        } = self;
        sim.queue().clear();
        sim.executor().clear();
        drop(store);
        sim.queue().clear();
        sim.executor().clear();
        (lab, disk, scale, seed)
    }

    /// Cuts the power and opens the store on what survives. Writers and readers must be gone.
    pub(super) fn crash(self, chooser: &mut dyn Chooser, unit: Unit) -> Result<Self, Failure> {
        self.check_maps()?;
        let disk = self.disk.crash(chooser, unit);
        let (lab, _, scale, seed) = self.kill();
        lab.open(disk, seed.child("after a power cut"), scale)
            .map_err(|error| Failure(format!("the store does not open after a power cut: {error}")))
    }

    /// Closes the store and opens it again. Writers and readers must be gone.
    pub(super) fn reopen(self) -> Result<Self, Failure> {
        let disk = self.close()?;
        let (disk, (lab, scale, seed)) = disk;
        lab.open(disk, seed.child("reopened"), scale)
            .map_err(|error| Failure(format!("the store does not open again: {error}")))
    }

    /// Closes the store and returns its disk.
    pub(super) fn close(self) -> Result<(SimDisk, (&'a Lab<'a>, Scale, Seed)), Failure> {
        let closed = self.sim.run_blocking(|| self.store.close());
        ensure!(closed.is_ok(), "close: {closed:?}");
        self.settle();
        self.check_maps()?;
        let (lab, disk, scale, seed) = self.kill();
        Ok((disk, (lab, scale, seed)))
    }

    /// Fails where the store wrote under a live map.
    pub(super) fn check_maps(&self) -> Verdict {
        let violations = self.disk.violations();
        ensure!(
            violations.is_empty(),
            "mapped bytes were changed: {}",
            violations.join("; ")
        );
        Ok(())
    }
}
