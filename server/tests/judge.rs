//! The judge of brokers: its checks stand in the contract, and its reports have the form of the conformance suite's.

use chronik_conformance::check::{Failure as SuiteFailure, Level as SuiteLevel, Marks};
use chronik_conformance::runner::{Line as SuiteLine, Report as SuiteReport, Status as SuiteStatus};
use chronik_server::judge::{Check, Failure, Level, Line, Report, Status, checks};
use std::collections::BTreeSet;
use std::time::Duration;

const CONTRACT: &str = include_str!("../../docs/contract/broker.md");

/// Clause, level and row of each clause of the contract.
fn clauses() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = CONTRACT.lines().filter(|line| line.starts_with("| KB-"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        (
            cells.next().unwrap_or_default(),
            cells.next().unwrap_or_default(),
            row,
        )
    })
    .collect()
}

#[test]
fn the_contract_and_the_checks_name_each_other() {
    let told: Vec<(&str, String)> = clauses()
        .into_iter()
        .map(|(clause, level, _)| (clause, level.to_owned()))
        .collect();
    let judged: Vec<(&str, String)> = checks()
        .map(|check| (check.clause, check.level.to_string()))
        .collect();
    assert_eq!(told, judged);
    for ((_, _, row), check) in clauses().into_iter().zip(checks()) {
        assert!(
            row.contains(&format!("`{}`", check.name)),
            "{} is not in {row}",
            check.name
        );
    }
}

#[test]
fn every_check_has_a_name_of_its_own_and_there_are_at_least_30() {
    let names: BTreeSet<String> = checks().map(Check::full_name).collect();
    assert_eq!(names.len(), checks().count());
    assert!(names.len() >= 30, "{} checks", names.len());
}

fn report() -> Report {
    let line = |name, level, status| Line {
        clause: "KB-PRD-01",
        name,
        level,
        status,
        took: Duration::from_millis(1500),
    };
    let failure = Failure("one \"two\" <three>\nfour\u{1}".to_owned());
    Report {
        lines: vec![
            line("a", Level::Must, Status::Passed),
            line("b", Level::Should, Status::Failed(failure)),
            line("c", Level::Must, Status::Skipped("not offered".to_owned())),
        ],
    }
}

/// The same report, as the conformance suite has it.
fn of_the_suite() -> SuiteReport {
    let line = |line: &Line| SuiteLine {
        name: format!("{} {}", line.clause, line.name),
        level: match line.level {
            Level::Must => SuiteLevel::Must,
            Level::Should => SuiteLevel::Should,
        },
        status: match &line.status {
            Status::Passed => SuiteStatus::Passed,
            Status::Failed(failure) => SuiteStatus::Failed(SuiteFailure::new(failure.0.clone())),
            Status::Skipped(reason) => SuiteStatus::Skipped(reason.clone()),
        },
        marks: Marks::default(),
        took: line.took,
    };
    SuiteReport {
        lines: report().lines.iter().map(line).collect(),
        ..SuiteReport::default()
    }
}

#[test]
fn reports_have_the_form_of_the_conformance_suite() {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(read(&report().json("a&b")), read(&of_the_suite().json("a&b", "")));
    assert_eq!(report().junit("a&b"), of_the_suite().junit("a&b"));
}

#[test]
fn the_summary_ends_with_the_counts_and_has_the_evidence() {
    let summary = report().summary();
    assert!(
        summary.ends_with("\n1 passed, 1 failed, 1 skipped\n"),
        "{summary}"
    );
    assert!(
        summary.contains("failed: KB-PRD-01 b\n  one \"two\""),
        "{summary}"
    );
    assert_eq!(
        report().lines[2].text(),
        "test KB-PRD-01 c (MUST) ... skipped (not offered) 1.50 s"
    );
}
