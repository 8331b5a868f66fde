//! The checks can fail: each mutant of the reference store, and of the disk below it, is noticed by a check of the clause that owns it.

use chronik_conformance::check::Trial;
use chronik_conformance::file_system;
use chronik_conformance::log_store::{self, Backend, Format, Scale};
use chronik_conformance::reference::{MemOptions, MemStore, Mutant};
use chronik_conformance::runner::{Args, Status, run_one};
use chronik_conformance::world::disk::DiskMutant;
use chronik_core::error::Damage;
use chronik_core::{Env, FileSystem, LogError, LogStore};
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

/// The evidence with which checks of `clause` refuse a mutant.
fn refusals(trials: &[Trial<'_>], clause: &str) -> Vec<String> {
    let args = Args::default();
    trials
        .iter()
        .filter(|trial| trial.clause == clause)
        .filter_map(|trial| match run_one(trial, &args).status {
            Status::Failed(failure) | Status::Inconclusive(failure) | Status::Error(failure) => {
                Some(format!("{}: {failure}", trial.name))
            }
            Status::Passed | Status::Skipped(_) | Status::Disabled(_) => None,
        })
        .collect()
}

#[test]
fn every_mutant_is_killed_by_the_clause_that_owns_it() {
    let mut survivors = Vec::new();
    for (mutant, clause, evidence) in Mutant::ALL {
        let refusals = refusals(&log_store::trials(&Arc::new(Mutated(*mutant)), 1), clause);
        println!("{clause} {mutant:?}");
        refusals.iter().for_each(|refusal| println!("    {refusal}"));
        if !refusals.iter().any(|refusal| refusal.contains(evidence)) {
            survivors.push(format!("{mutant:?} survives {clause} ({evidence}): {refusals:?}"));
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn every_mutant_of_the_disk_is_killed_by_the_clause_that_owns_it() {
    let mut survivors = Vec::new();
    for (mutant, clause, evidence) in DiskMutant::ALL {
        let mutated = file_system::Simulated {
            mutant: Some(*mutant),
        };
        let refusals = refusals(&file_system::trials(&Arc::new(mutated)), clause);
        println!("{clause} {mutant:?}");
        refusals.iter().for_each(|refusal| println!("    {refusal}"));
        if !refusals.iter().any(|refusal| refusal.contains(evidence)) {
            survivors.push(format!("{mutant:?} survives {clause} ({evidence}): {refusals:?}"));
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}
