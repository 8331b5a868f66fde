//! The contracts and the checks belong together: no check without its clause, and no binding clause without a check.

use chronik_conformance::check::Level;
use chronik_conformance::reference::Mutant;
use chronik_conformance::reference::raft::RaftMutant;
use chronik_conformance::world::disk::DiskMutant;
use chronik_conformance::world::net::NetMutant;
use chronik_conformance::{consensus, file_system, log_store, transport};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Binding clauses with a check that no mutant of a reference backend breaks: a store cannot tell that a ticket was dropped.
const WITHOUT_A_MUTANT: &[&str] = &["LS-DUR-17"];

/// Level and row of each clause.
fn contracts() -> BTreeMap<String, (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/contract");
    let mut clauses = BTreeMap::new();
    for name in ["consensus.md", "log-store.md", "transport.md"] {
        let text = std::fs::read_to_string(folder.join(name)).expect("the contract is there");
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            let mut cells = row.split('|').map(str::trim).skip(1);
            if let (Some(clause), Some(level @ ("MUST" | "SHOULD"))) = (cells.next(), cells.next()) {
                let known = clauses.insert(clause.to_owned(), (level.to_owned(), row.to_owned()));
                assert!(known.is_none(), "{clause} stands in the contracts twice");
            }
        }
    }
    clauses
}

fn checks() -> Vec<(&'static str, Level, &'static str)> {
    [
        consensus::index(),
        file_system::index(),
        log_store::index(),
        transport::index(),
    ]
    .concat()
}

#[test]
fn every_check_is_named_by_its_clause_with_its_level() {
    let clauses = contracts();
    let mut wrong = Vec::new();
    for (clause, level, name) in checks() {
        let expected = match level {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
        };
        let stands = clauses
            .get(clause)
            .is_some_and(|(level, row)| level == expected && row.contains(&format!("`{name}`")));
        if !stands {
            wrong.push(format!("{clause} {name} ({expected})"));
        }
    }
    assert!(wrong.is_empty(), "the contracts do not name {wrong:#?}");
}

#[test]
fn every_binding_clause_has_a_check() {
    let judged: BTreeSet<&str> = checks().iter().map(|(clause, ..)| *clause).collect();
    let unjudged: Vec<String> = contracts()
        .into_iter()
        .filter(|(clause, (level, _))| level == "MUST" && !judged.contains(clause.as_str()))
        .map(|(clause, _)| clause)
        .collect();
    assert!(unjudged.is_empty(), "no check judges {unjudged:?}");
}

#[test]
fn every_mutant_belongs_to_a_clause_and_every_binding_clause_has_one() {
    let clauses = contracts();
    let consensus = RaftMutant::ALL.iter().map(|(_, clause, _)| *clause);
    let stores = Mutant::ALL.iter().map(|(_, clause, _)| *clause);
    let nets = NetMutant::ALL.iter().map(|(_, clause, _)| *clause);
    let disks = DiskMutant::ALL.iter().map(|(_, clause, _)| *clause);
    let broken: BTreeSet<&str> = consensus.chain(stores).chain(nets).chain(disks).collect();
    for clause in &broken {
        assert!(clauses.contains_key(*clause), "{clause} is in no contract");
    }
    let bound = clauses.iter().filter(|(_, (level, _))| level == "MUST");
    let unbroken: Vec<&str> = bound
        .map(|(clause, _)| clause.as_str())
        .filter(|clause| !broken.contains(clause))
        .collect();
    assert_eq!(
        unbroken, WITHOUT_A_MUTANT,
        "binding clauses that no mutant breaks"
    );
}

#[test]
fn the_suite_has_at_least_150_checks_and_60_mutants() {
    let mutants = RaftMutant::ALL.len() + Mutant::ALL.len() + NetMutant::ALL.len() + DiskMutant::ALL.len();
    println!("{} checks, {mutants} mutants", checks().len());
    assert!(checks().len() >= 150 && mutants >= 60);
}

#[test]
fn the_guide_for_authors_shows_the_files_that_ci_judges() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = std::fs::read_to_string(root.join("docs/conformance/write-a-backend.md"))
        .expect("the guide is there");
    let mut shown = 0;
    for piece in guide.split("\n`conformance/").skip(1) {
        let (name, rest) = piece
            .split_once("`:\n\n```rust\n")
            .expect("a name stands before its code");
        let (code, _) = rest.split_once("\n```").expect("the code ends");
        let file = std::fs::read_to_string(root.join("conformance").join(name)).expect("the file is there");
        assert_eq!(code, file.trim_end(), "the guide shows another {name}");
        assert!(file.lines().count() <= 20, "{name} has more than 20 lines");
        shown += 1;
    }
    assert_eq!((shown, guide.matches("```rust").count()), (3, 3));
}
