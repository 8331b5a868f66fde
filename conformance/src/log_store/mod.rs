//! Checks of the log store contract (`docs/contract/log-store.md`).
//!
//! A backend implements [`Backend`] and runs the checks from a test without the standard harness:
//!
//! ```no_run
//! # use chronik_conformance::log_store::{self, Backend, Scale};
//! # use chronik_conformance::reference::{MemOptions, MemStore};
//! # use chronik_core::{Env, FileSystem, LogError, LogStore};
//! # use std::{path::Path, sync::Arc};
//! struct MyStore;
//!
//! impl Backend for MyStore {
//!     fn name(&self) -> &str {
//!         "my-store"
//!     }
//!     fn open(&self, fs: Arc<dyn FileSystem>, dir: &Path, env: Env, _: Scale) -> Result<Arc<dyn LogStore>, LogError> {
//!         Ok(Arc::new(MemStore::open(&*fs, dir, env, MemOptions::default())?))
//!     }
//!     fn max_payload_bytes(&self, _: Scale) -> u64 {
//!         1 << 20
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     log_store::main(MyStore)
//! }
//! ```

mod beside;
mod compare;
mod crashes;
mod driver;
mod durability;
mod faults;
mod flips;
mod format;
mod groups;
mod lab;
mod maker;
mod ops;
mod random;
mod read;
mod recovered;
mod rest;
mod shape;
mod snapshot;
mod tracked;
mod truncate;
mod verify;

use crate::check::{Level, Trial, Verdict};
use crate::runner::{self, Args};
use chronik_core::error::Damage;
use chronik_core::{Env, FileSystem, LogError, LogStore};
use lab::Lab;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// How large a store's files shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As small as the store allows (8 KiB where it can), so that few entries cross many files.
    Small,
    /// A few hundred KiB.
    Medium,
}

/// Of which version of a store's program a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Of one that does not exist yet.
    Newer,
    /// Of one that this one does not write any more.
    Older,
}

/// A log store under judgement.
pub trait Backend: Send + Sync + 'static {
    /// Its name in reports.
    fn name(&self) -> &str;

    /// Opens the store in `dir` of `fs`, creating it where there is none. It must take files from `fs` alone, time,
    /// randomness, tasks and disk threads from `env` alone, and not wait for a disk job of its own in a call.
    ///
    /// # Errors
    /// The store's.
    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        scale: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError>;

    /// The largest payload that the store takes.
    fn max_payload_bytes(&self, scale: Scale) -> u64;

    /// Reads a store that is not open and names the damaged ranges; `None` where the backend has no such tool.
    fn verify(&self, fs: Arc<dyn FileSystem>, dir: &Path) -> Option<Result<Vec<Damage>, String>> {
        let _ = (fs, dir);
        None
    }

    /// Makes the closed store in `dir` one of another format: whole, and of a version that the program does not write, at
    /// the `place`-th place where files say their version, counted from 0. `None` where there is no such place (LS-OPS-02).
    fn reformat(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        format: Format,
        place: usize,
    ) -> Option<Result<(), String>> {
        let _ = (fs, dir, format, place);
        None
    }

    /// A check that this backend does not run, with the reason, by clause id.
    fn skip(&self, clause: &str) -> Option<String> {
        let _ = clause;
        None
    }
}

/// One check of the contract.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    clause: &'static str,
    name: &'static str,
    level: Level,
    run: fn(&Lab<'_>) -> Verdict,
}

const fn must(clause: &'static str, name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Check {
    let level = Level::Must;
    Check {
        clause,
        name,
        level,
        run,
    }
}

const fn should(clause: &'static str, name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Check {
    let level = Level::Should;
    Check {
        clause,
        name,
        level,
        run,
    }
}

fn all() -> impl Iterator<Item = &'static Check> {
    [
        shape::CHECKS,
        read::CHECKS,
        beside::CHECKS,
        durability::CHECKS,
        crashes::CHECKS,
        random::CHECKS,
        faults::CHECKS,
        flips::CHECKS,
        verify::CHECKS,
        truncate::CHECKS,
        snapshot::CHECKS,
        groups::CHECKS,
        ops::CHECKS,
        format::CHECKS,
        rest::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Clause, level and name of every check, in the order in which they run.
#[must_use]
pub fn index() -> Vec<(&'static str, Level, &'static str)> {
    all()
        .map(|check| (check.clause, check.level, check.name))
        .collect()
}

/// The checks, ready to run on `backend`.
#[must_use]
pub fn trials<B: Backend>(backend: &Arc<B>, effort: u32) -> Vec<Trial<'static>> {
    all()
        .map(|check| {
            let (backend, check) = (Arc::clone(backend), *check);
            Trial {
                clause: check.clause,
                name: check.name,
                level: check.level,
                disabled: backend.skip(check.clause),
                skip: None,
                run: Box::new(move |seed, marks| {
                    (check.run)(&Lab {
                        backend: &*backend,
                        seed,
                        effort: u64::from(effort),
                        marks,
                    })
                }),
            }
        })
        .collect()
}

/// The `main` of a conformance test.
#[must_use]
pub fn main<B: Backend>(backend: B) -> ExitCode {
    let backend = Arc::new(backend);
    let name = backend.name().to_owned();
    runner::main(&name, &|args: &Args| trials(&backend, args.effort))
}
