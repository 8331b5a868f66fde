//! The checks can fail: each mutant of the reference store, and of the disk below it, is noticed by a check of the clause that owns it.

mod kills;

use chronik_conformance::file_system;
use chronik_conformance::log_store::{self, Backend, Format, Scale};
use chronik_conformance::reference::{MemOptions, MemStore, Mutant};
use chronik_conformance::world::disk::DiskMutant;
use chronik_core::error::Damage;
use chronik_core::{Env, FileSystem, LogError, LogStore};
use kills::Kill;
use std::path::Path;
use std::sync::Arc;

struct Mutated(Mutant);

impl Backend for Mutated {
    fn name(&self) -> &str {
        "mutant"
    }

    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        _scale: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError> {
        let options = MemOptions {
            mutant: Some(self.0),
            ..MemOptions::default()
        };
        Ok(Arc::new(MemStore::open(&*fs, dir, env, options)?))
    }

    fn max_payload_bytes(&self, _scale: Scale) -> u64 {
        MemOptions::default().max_payload_bytes
    }

    fn verify(&self, fs: Arc<dyn FileSystem>, dir: &Path) -> Option<Result<Vec<Damage>, String>> {
        Some(MemStore::verify(&*fs, dir, Some(self.0)).map_err(|error| error.to_string()))
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
}

#[test]
fn every_mutant_is_killed_by_the_clause_that_owns_it() {
    let kill = |(mutant, clause, says): &(Mutant, &'static str, &'static str)| {
        let trials = log_store::trials(&Arc::new(Mutated(*mutant)), 1);
        Kill::by(&trials, format!("{mutant:?}"), clause, says)
    };
    let kills: Vec<Kill> = Mutant::ALL.iter().map(kill).collect();
    kills::judge("Log store", &kills);
}

#[test]
fn every_mutant_of_the_disk_is_killed_by_the_clause_that_owns_it() {
    let kill = |(mutant, clause, says): &(DiskMutant, &'static str, &'static str)| {
        let mutated = file_system::Simulated {
            mutant: Some(*mutant),
        };
        let trials = file_system::trials(&Arc::new(mutated));
        Kill::by(&trials, format!("{mutant:?}"), clause, says)
    };
    let kills: Vec<Kill> = DiskMutant::ALL.iter().map(kill).collect();
    kills::judge("File system", &kills);
}
