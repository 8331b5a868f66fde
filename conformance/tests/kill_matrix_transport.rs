//! The transport checks can fail: each mutant of the simulated transport is noticed by a check of the clause that
//! owns it.

mod kills;

use chronik_conformance::transport::{self, Simulated};
use chronik_conformance::world::net::NetMutant;
use kills::Kill;
use std::sync::Arc;

#[test]
fn every_mutant_is_killed_by_the_clause_that_owns_it() {
    let kill = |(mutant, clause, says): &(NetMutant, &'static str, &'static str)| {
        let mutated = Simulated {
            mutant: Some(*mutant),
        };
        let trials = transport::trials(&Arc::new(mutated), 1);
        Kill::by(&trials, format!("{mutant:?}"), clause, says)
    };
    let kills: Vec<Kill> = NetMutant::ALL.iter().map(kill).collect();
    kills::judge("Transport", &kills);
}
