//! The consensus checks can fail: each mutant of the reference engine is noticed by a check of the clause that owns it.

use chronik_conformance::consensus::{self, Reference};
use chronik_conformance::reference::raft::RaftMutant;
use chronik_conformance::runner::{Args, Status, run_one};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The evidence with which checks of `clause` refuse the mutant.
fn refusals(mutant: RaftMutant, clause: &str) -> Vec<String> {
    let args = Args::default();
    let mutant = Some(mutant);
    consensus::trials(&Arc::new(Reference { mutant }), args.seed, 1)
        .iter()
        .filter(|trial| trial.clause == clause)
        .filter_map(|trial| {
            let line = run_one(trial, &args);
            let seeds = line.marks.count("seeds");
            match line.status {
                Status::Failed(failure) | Status::Inconclusive(failure) | Status::Error(failure) => {
                    Some(format!("{} (after {seeds} seeds): {failure}", trial.name))
                }
                Status::Passed | Status::Skipped(_) | Status::Disabled(_) => None,
            }
        })
        .collect()
}

#[test]
fn every_mutant_is_killed_by_the_clause_that_owns_it() {
    let wanted = std::env::var("CHRONIK_MUTANT").unwrap_or_default();
    let mutants: Vec<_> = RaftMutant::ALL
        .iter()
        .filter(|(mutant, ..)| format!("{mutant:?}").contains(&wanted))
        .collect();
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((mutant, clause, evidence)) = mutants.get(next.fetch_add(1, Ordering::SeqCst))
                {
                    let refusals = refusals(*mutant, clause);
                    println!("{clause} {mutant:?}\n    {}", refusals.join("\n    "));
                    if !refusals.iter().any(|refusal| refusal.contains(evidence)) {
                        let survivor = format!("{mutant:?} survives {clause} ({evidence}): {refusals:?}");
                        survivors.lock().unwrap().push(survivor);
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "{survivors:#?}");
}
