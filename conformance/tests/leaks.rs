//! Backends that leave real file descriptors open are refused, whatever they use them for.

use chronik_conformance::check::Trial;
use chronik_conformance::consensus::{self, Seat};
use chronik_conformance::log_store::{self, Scale};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::runner::{Args, Status, run_one};
use chronik_core::consensus::Consensus;
use chronik_core::{Env, FileSystem, LogError, LogStore};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Opens something that nobody ever closes.
fn leak() {
    std::mem::forget(File::open("/dev/null").expect("it is everywhere"));
}

struct LeakyStore;

impl log_store::Backend for LeakyStore {
    fn name(&self) -> &str {
        "leaky"
    }

    fn open(
        &self,
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        env: Env,
        _: Scale,
    ) -> Result<Arc<dyn LogStore>, LogError> {
        leak();
        Ok(Arc::new(MemStore::open(&*fs, dir, env, MemOptions::default())?))
    }

    fn max_payload_bytes(&self, _: Scale) -> u64 {
        MemOptions::default().max_payload_bytes
    }
}

struct LeakyEngine;

impl consensus::Backend for LeakyEngine {
    fn name(&self) -> &str {
        "leaky"
    }

    fn engine(&self, seat: Seat) -> Arc<dyn Consensus> {
        leak();
        consensus::Backend::engine(&consensus::Reference::default(), seat)
    }
}

/// What the check of that name says.
fn verdict(trials: &[Trial<'_>], name: &str) -> Status {
    let trial = trials
        .iter()
        .find(|trial| trial.name == name)
        .expect("the check is there");
    run_one(trial, &Args::default()).status
}

fn is_refused(status: &Status, what: &str) {
    let refused = matches!(status, Status::Failed(failure) if failure.0.contains("file descriptors more")
        && failure.0.ends_with(what));
    assert!(refused, "{status:?}");
}

#[test]
fn stores_and_engines_that_leave_file_descriptors_open_are_refused() {
    let stores = log_store::trials(&Arc::new(LeakyStore), 1);
    is_refused(
        &verdict(&stores, "stores_that_ended_leave_no_file_open"),
        "the ends of 24 stores",
    );
    let engines = consensus::trials(&Arc::new(LeakyEngine), Args::default().seed, 1);
    is_refused(
        &verdict(&engines, "engines_that_ended_leave_no_file_open"),
        "the ends of 36 engines",
    );
}
