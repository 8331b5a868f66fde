//! From the configuration to the parts: the one place that names every backend.

use super::{Config, ConsensusBackend, StorageBackend};
use crate::metrics::{FileMetrics, MeasuredFs};
use chronik_consensus::StandaloneEngine;
use chronik_consensus::standalone::StandaloneOptions;
use chronik_core::{Consensus, Env, LogError, LogStore};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The environment of the process: the runtime's clocks and tasks, and disk threads.
///
/// # Errors
/// The system gives no threads.
pub fn environment() -> io::Result<Env> {
    Ok(crate::runtime::environment(Arc::new(DiskThreads::start()?)))
}

/// Opens the selected store; what it does with files is counted in `metrics`.
///
/// # Errors
/// What the store says: the directory is in use, damaged, or cannot be written.
pub fn store(config: &Config, env: &Env, metrics: &Arc<FileMetrics>) -> Result<Arc<dyn LogStore>, LogError> {
    match config.storage.backend {
        StorageBackend::Mmap => {
            let mut options = StoreOptions::new(&config.node.data_dir);
            options.journal_file_bytes = config.storage.journal_file_bytes;
            options.journal_files_max = config.storage.max_journal_files;
            options.tail_bytes_max = config.storage.tail_cache_bytes;
            options.payload_bytes_max = config.storage.max_entry_bytes();
            options.pool_bytes_max = config.storage.recycled_bytes;
            options.open_files_max = config.storage.max_open_files;
            options.maps_max = config.storage.max_maps;
            options.free_bytes_min = config.storage.min_free_bytes;
            let clock = Arc::clone(&env.clock);
            let files = MeasuredFs::new(Arc::new(RealFs), clock, Arc::clone(metrics));
            Ok(Arc::new(MmapStore::open(options, Arc::new(files), env.clone())?))
        }
    }
}

/// The selected consensus engine.
#[must_use]
pub fn consensus(config: &Config) -> Arc<dyn Consensus> {
    match config.consensus.backend {
        ConsensusBackend::Standalone => Arc::new(StandaloneEngine::new(StandaloneOptions::default())),
    }
}

/// Reads a data directory of the mmap store: the report as text, and whether nothing is damaged.
///
/// # Errors
/// The directory cannot be read, or a process uses it.
pub fn verify(dir: &Path) -> Result<(String, bool), LogError> {
    let report = chronik_storage_mmap::verify(&RealFs, dir)?;
    let mut text = String::new();
    for damage in &report.damages {
        let _ = writeln!(text, "damaged: {damage}");
    }
    if let Some(torn) = &report.torn {
        let _ = writeln!(text, "torn by a crash, cut when the directory is opened: {torn}");
    }
    let (files, bytes, entries) = (report.files, report.bytes, report.entries);
    let damages = report.damages.len();
    let _ = writeln!(
        text,
        "{files} files, {bytes} bytes, {entries} entries, {damages} damaged ranges"
    );
    Ok((text, damages == 0))
}
