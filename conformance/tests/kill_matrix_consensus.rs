//! The consensus checks can fail: each mutant of the reference engine is noticed by a check of the clause that owns it.

mod kills;

use chronik_conformance::consensus::{self, Reference};
use chronik_conformance::reference::raft::RaftMutant;
use chronik_conformance::runner::Args;
use kills::Kill;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn kill((mutant, clause, says): &(RaftMutant, &'static str, &'static str)) -> Kill {
    let mutated = Reference {
        mutant: Some(*mutant),
    };
    let trials = consensus::trials(&Arc::new(mutated), Args::default().seed, 1);
    Kill::by(&trials, format!("{mutant:?}"), clause, says)
}

#[test]
fn every_mutant_is_killed_by_the_clause_that_owns_it() {
    let (next, kills) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mutant) = RaftMutant::ALL.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let kill = kill(mutant);
                    kills.lock().unwrap().push(kill);
                }
            });
        }
    });
    kills::judge("Consensus", &kills.into_inner().unwrap());
}
