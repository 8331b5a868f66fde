//! The transport checks can fail: each mutant of the simulated transport is noticed by a check of the clause that
//! owns it.

use chronik_conformance::runner::{Args, Status, run_one};
use chronik_conformance::transport::{self, Simulated};
use chronik_conformance::world::net::NetMutant;
use std::sync::Arc;

/// The evidence with which checks of `clause` refuse the mutant.
fn refusals(mutant: NetMutant, clause: &str) -> Vec<String> {
    let args = Args::default();
    let mutant = Some(mutant);
    transport::trials(&Arc::new(Simulated { mutant }), 1)
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
    for (mutant, clause, evidence) in NetMutant::ALL {
        let refusals = refusals(*mutant, clause);
        println!("{clause} {mutant:?}");
        refusals.iter().for_each(|refusal| println!("    {refusal}"));
        if !refusals.iter().any(|refusal| refusal.contains(evidence)) {
            survivors.push(format!("{mutant:?} survives {clause} ({evidence}): {refusals:?}"));
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?}");
}
