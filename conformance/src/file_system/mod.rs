//! Checks of the file system below a store (`docs/contract/log-store.md`, FS-01 to FS-03).
//!
//! They cut the power, so a backend is a file system together with the means to do that. [`Simulated`] is the simulated disk
//! of [`world::disk`](crate::world::disk), on which stores are judged and which stands as the reference.

mod checks;
mod simulated;

pub use simulated::Simulated;

use crate::check::{Body, Failure, Level, Marks, Trial, Verdict};
use crate::runner::{self, Args};
use crate::world::Seed;
use chronik_core::FileSystem;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// A file system under judgement.
pub trait Backend: Send + Sync + 'static {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// An empty one for one check.
    ///
    /// # Errors
    /// What is missing for it on this machine.
    fn rig(&self, seed: Seed) -> Result<Box<dyn Rig>, Failure>;

    /// A check that this backend does not run, with the reason, by clause id.
    fn skip(&self, clause: &str) -> Option<String> {
        let _ = clause;
        None
    }
}

/// A file system whose power can be cut.
pub trait Rig {
    /// Makes it usable, as it is after the last power cut, and names a directory in it whose own name is durable. Nothing
    /// of an earlier mount is in use any more.
    ///
    /// # Errors
    /// Those of the system.
    fn mount(&mut self) -> Result<(Arc<dyn FileSystem>, PathBuf), Failure>;

    /// Cuts the power: nothing that is not on the medium gets there any more.
    ///
    /// # Errors
    /// Those of the system.
    fn cut_power(&mut self) -> Verdict;

    /// How many power cuts a check may take.
    fn rounds(&self) -> u64;

    /// Whether it stands for all file systems, and so has to lose and to keep whatever one of them may.
    fn is_model(&self) -> bool {
        false
    }
}

type Run = fn(&mut dyn Rig, Seed, &Marks) -> Verdict;

/// Clause and name of a check, and what it does.
type Check = (&'static str, &'static str, Run);

/// Clause, level and name of every check, in the order in which they run.
#[must_use]
pub fn index() -> Vec<(&'static str, Level, &'static str)> {
    let all = checks::CHECKS.iter();
    all.map(|(clause, name, _)| (*clause, Level::Must, *name))
        .collect()
}

/// The checks, ready to run on `backend`.
#[must_use]
pub fn trials<B: Backend>(backend: &Arc<B>) -> Vec<Trial<'static>> {
    let trial = |(clause, name, run): &Check| {
        let (backend, run) = (Arc::clone(backend), *run);
        let disabled = backend.skip(clause);
        let body: Body<'static> = Box::new(move |seed, marks| {
            let mut rig = backend.rig(seed.child("rig"))?;
            run(&mut *rig, seed, marks)
        });
        Trial {
            clause,
            name,
            level: Level::Must,
            disabled,
            skip: None,
            run: body,
        }
    };
    checks::CHECKS.iter().map(trial).collect()
}

/// The `main` of a conformance test.
#[must_use]
pub fn main<B: Backend>(backend: B) -> ExitCode {
    let backend = Arc::new(backend);
    let name = backend.name().to_owned();
    runner::main(&name, &|_: &Args| trials(&backend))
}
