//! Stands for a log store of somebody else's: here, the reference store behind another name.

use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_core::{Env, FileSystem, LogError};
use std::path::Path;

/// The largest payload that the store takes.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 20;

/// Opens the store.
///
/// # Errors
/// Those of the store.
pub fn open(fs: &dyn FileSystem, dir: &Path, env: Env) -> Result<MemStore, LogError> {
    MemStore::open(fs, dir, env, MemOptions::default())
}
