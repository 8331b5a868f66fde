//! The store keeps the log store contract:
//! `cargo test --release -p chronik-storage-mmap --test conformance -- [FILTER] [--seed S]`; `CHRONIK_SEED` is a seed too.

use chronik_conformance::log_store::{self, Backend, Format, Scale};
use chronik_core::error::Damage;
use chronik_core::fs::{FsError, OpenMode};
use chronik_core::{Env, FileSystem, LogError, LogStore};
use chronik_storage_mmap::{MmapStore, StoreOptions};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

struct Mmap;

/// Limits so low that a few KiB cross every one of them.
fn options(dir: &Path, scale: Scale) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    let unit = match scale {
        Scale::Small => 1 << 10,
        Scale::Medium => 32 << 10,
    };
    options.journal_file_bytes = 32 * unit;
    options.journal_files_max = 4;
    options.payload_bytes_max = 8 * unit;
    options.flush_bytes_max = 12 * unit;
    options.tail_bytes_max = 4 * unit;
    options.copy_bytes = 6 * unit;
    options.sync_bytes = 4 * unit;
    options.open_files_max = 2;
    options.maps_max = 2;
    options.pool_bytes_max = 16 * unit;
    options.shrink_step_bytes = 4 * unit;
    options.free_bytes_min = 8 * unit;
    options
}

impl Backend for Mmap {
    fn name(&self) -> &str {
        "storage-mmap"
    }

    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        scale: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(MmapStore::open(options(dir, scale), fs, env)?))
    }

    fn verify(&self, fs: Arc<dyn FileSystem>, dir: &Path) -> Option<Result<Vec<Damage>, String>> {
        let report = chronik_storage_mmap::verify(&*fs, dir);
        Some(
            report
                .map(|report| report.damages)
                .map_err(|error| error.to_string()),
        )
    }

    /// Journal files, which say their version at both ends, segments of one group, and checkpoints.
    fn reformat(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        format: Format,
        place: usize,
    ) -> Option<Result<(), String>> {
        let (folder, kind) = *[("journal", ".jnl"), ("groups/1", ".seg"), ("groups/1", ".ckp")].get(place)?;
        Some(reformat(&*fs, &dir.join(folder), kind, format).map_err(|error| error.to_string()))
    }

    fn max_payload_bytes(&self, scale: Scale) -> u64 {
        options(Path::new("/"), scale).payload_bytes_max
    }
}

/// Gives the files of a kind another version. Preambles and headers have it, and their checksum, at the same place.
fn reformat(fs: &dyn FileSystem, folder: &Path, kind: &str, format: Format) -> Result<(), FsError> {
    for entry in fs.list(folder)?.iter().filter(|entry| entry.name.ends_with(kind)) {
        let file = fs.open(&folder.join(&entry.name), OpenMode::Write)?;
        let ends = [0, file.size()?.saturating_sub(64)];
        for at in &ends[..if kind == ".jnl" { 2 } else { 1 }] {
            let mut bytes = [0; 64];
            file.read_at(&mut bytes, *at)?;
            let mut version = [bytes[8], bytes[9], bytes[10], bytes[11]];
            version = match format {
                Format::Newer => u32::from_le_bytes(version) + 1,
                Format::Older => u32::from_le_bytes(version) - 1,
            }
            .to_le_bytes();
            bytes[8..12].copy_from_slice(&version);
            let crc = crc32c::crc32c(&bytes[..60]);
            bytes[60..].copy_from_slice(&crc.to_le_bytes());
            file.write_at(&[&bytes], *at)?;
        }
        file.sync_data()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    log_store::main(Mmap)
}
