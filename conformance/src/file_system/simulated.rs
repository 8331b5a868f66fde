//! The reference: the simulated disk.

use super::{Backend, Rig};
use crate::check::{Failure, Verdict};
use crate::world::disk::{DiskMutant, DropAll, DropFirst, KeepAll, KeepFirst, Unit};
use crate::world::{Prng, Seed, SimDisk};
use chronik_core::FileSystem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The simulated disk, whole or with one guarantee broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simulated {
    /// The guarantee to break.
    pub mutant: Option<DiskMutant>,
}

impl Backend for Simulated {
    fn name(&self) -> &str {
        "simulated disk"
    }

    fn rig(&self, seed: Seed) -> Result<Box<dyn Rig>, Failure> {
        Ok(Box::new(SimRig {
            disk: SimDisk::broken(seed, self.mutant),
            prng: seed.child("cuts").prng(),
            cuts: 0,
        }))
    }
}

struct SimRig {
    disk: SimDisk,
    prng: Prng,
    cuts: u64,
}

impl Rig for SimRig {
    fn mount(&mut self) -> Result<(Arc<dyn FileSystem>, PathBuf), Failure> {
        Ok((Arc::new(self.disk.clone()), Path::new("/").to_owned()))
    }

    fn cut_power(&mut self) -> Verdict {
        let unit = [Unit::Sector, Unit::Page][self.prng.index(2)];
        let some = self.prng.index(6);
        self.disk = match self.cuts % 6 {
            0 => self.disk.crash(&mut DropAll, unit),
            1 => self.disk.crash(&mut KeepAll, unit),
            2 => self.disk.crash(&mut KeepFirst { keep: some }, unit),
            3 => self.disk.crash(&mut DropFirst { drop: some }, unit),
            _ => self.disk.crash(&mut self.prng, unit),
        };
        self.cuts += 1;
        Ok(())
    }

    fn rounds(&self) -> u64 {
        60
    }

    fn is_model(&self) -> bool {
        true
    }
}
