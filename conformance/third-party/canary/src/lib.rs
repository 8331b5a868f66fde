//! A log store that must be refused: it acknowledges what it has written before that is durable. A suite that stays green
//! on it is broken.

use chronik_conformance::reference::{MemOptions, MemStore, Mutant};
use chronik_core::{Env, FileSystem, LogError};
use std::path::Path;

/// Opens the store.
///
/// # Errors
/// Those of the store.
pub fn open(fs: &dyn FileSystem, dir: &Path, env: Env) -> Result<MemStore, LogError> {
    let options = MemOptions {
        mutant: Some(Mutant::AcksBeforeSync),
        ..MemOptions::default()
    };
    MemStore::open(fs, dir, env, options)
}
