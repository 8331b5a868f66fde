//! What became of the mutants of one contract, and the page that records it.

#![allow(clippy::print_stdout, reason = "the output of a test")]

use chronik_conformance::check::{Marks, Trial};
use chronik_conformance::runner::{Args, Status, run_one};
use std::path::Path;
use std::sync::Mutex;

/// A check that refused a mutant.
pub(crate) struct Refusal {
    check: &'static str,
    /// How many random runs it looked at, where it makes any.
    seeds: u64,
    evidence: String,
}

/// A mutant, and the checks of the clause that owns it that refused it.
pub(crate) struct Kill {
    pub(crate) mutant: String,
    pub(crate) clause: &'static str,
    /// What a check must say of it.
    pub(crate) says: &'static str,
    pub(crate) refusals: Vec<Refusal>,
}

impl Kill {
    /// Judges a mutant by the checks of the clause that owns it.
    pub(crate) fn by(trials: &[Trial<'_>], mutant: String, clause: &'static str, says: &'static str) -> Self {
        let args = Args::default();
        let refusals = trials.iter().filter(|trial| trial.clause == clause);
        let refusals = refusals.filter_map(|trial| {
            let line = run_one(trial, &args);
            match line.status {
                Status::Failed(failure) | Status::Inconclusive(failure) | Status::Error(failure) => {
                    Some(Refusal {
                        check: trial.name,
                        seeds: line.marks.count(Marks::SEEDS),
                        evidence: failure.0,
                    })
                }
                Status::Passed | Status::Skipped(_) | Status::Disabled(_) => None,
            }
        });
        Self {
            mutant,
            clause,
            says,
            refusals: refusals.collect(),
        }
    }

    /// The checks that say what they must.
    fn right(&self) -> impl Iterator<Item = &Refusal> {
        let says = self.says;
        self.refusals
            .iter()
            .filter(move |refusal| refusal.evidence.contains(says))
    }

    fn tell(&self) {
        println!("{} {}", self.clause, self.mutant);
        for refusal in &self.refusals {
            let Refusal {
                check,
                seeds,
                evidence,
            } = refusal;
            println!("    {check} (after {seeds} seeds): {evidence}");
        }
    }

    fn row(&self) -> String {
        let checks: Vec<String> = self
            .right()
            .map(|refusal| format!("`{}`", refusal.check))
            .collect();
        // A check that needs no random run needs no luck either.
        let quickest = self.right().map(|refusal| refusal.seeds).min();
        let seeds = match quickest {
            Some(0) | None => "-".to_owned(),
            Some(seeds) => seeds.to_string(),
        };
        format!(
            "| {} | `{}` | {} | {seeds} |",
            self.clause,
            self.mutant,
            checks.join(", ")
        )
    }
}

/// Fails where a mutant survives, or where the page says something else under `title`; with `CHRONIK_WRITE=1` it writes it.
pub(crate) fn judge(title: &str, kills: &[Kill]) {
    kills.iter().for_each(Kill::tell);
    let survivors: Vec<&str> = kills
        .iter()
        .filter(|kill| kill.right().next().is_none())
        .map(|kill| kill.mutant.as_str())
        .collect();
    assert!(survivors.is_empty(), "survivors: {survivors:?}");
    let mut rows: Vec<String> = kills.iter().map(Kill::row).collect();
    rows.sort();
    let section = format!(
        "| Clause | Mutant | Noticed by | Seeds |\n|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
    // Tests of one program share the page.
    static PAGE: Mutex<()> = Mutex::new(());
    let _one = PAGE.lock().expect("nobody panics with the page");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance/kill-matrix.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let heading = format!("\n## {title}\n");
    let (before, rest) = page.split_once(&heading).expect("the page has this part");
    let (stands, after) = match rest.split_once("\n## ") {
        Some((stands, after)) => (stands, format!("\n## {after}")),
        None => (rest, String::new()),
    };
    if std::env::var_os("CHRONIK_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{heading}{section}{after}")).expect("the page can be written");
        return;
    }
    let other: Vec<&str> = rows
        .iter()
        .map(String::as_str)
        .filter(|row| !stands.lines().any(|line| line == *row))
        .collect();
    assert!(
        stands.trim_end() == section.trim_end(),
        "docs/conformance/kill-matrix.md says something else (CHRONIK_WRITE=1 writes it): {other:#?}"
    );
}
