//! The reference log store keeps the contract: a check that fails here is wrong.

use chronik_conformance::log_store::{self, Backend, Format, Scale};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_core::error::Damage;
use chronik_core::{Env, FileSystem, LogError, LogStore};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

struct Reference;

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        _scale: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError> {
        Ok(Arc::new(MemStore::open(&*fs, dir, env, MemOptions::default())?))
    }

    fn max_payload_bytes(&self, _scale: Scale) -> u64 {
        MemOptions::default().max_payload_bytes
    }

    fn verify(&self, fs: Arc<dyn FileSystem>, dir: &Path) -> Option<Result<Vec<Damage>, String>> {
        Some(MemStore::verify(&*fs, dir, None).map_err(|error| error.to_string()))
    }

    fn reformat(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        format: Format,
        place: usize,
    ) -> Option<Result<(), String>> {
        let version = match format {
            Format::Newer => b'2',
            Format::Older => b'0',
        };
        (place == 0).then(|| MemStore::reformat(&*fs, dir, version).map_err(|error| error.to_string()))
    }

    fn skip(&self, clause: &str) -> Option<String> {
        (clause == "LS-TRN-08").then(|| "the reference store never reclaims space".to_owned())
    }
}

fn main() -> ExitCode {
    log_store::main(Reference)
}
