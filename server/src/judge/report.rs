//! What a run found: lines for people, JSON and JUnit XML, in the form that the conformance suite's reports have.

use super::{Failure, Level};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// The version of the JSON report; it changes with the meaning of a field.
const SCHEMA: u32 = 1;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The clause holds as far as the check looks.
    Passed,
    /// It does not.
    Failed(Failure),
    /// The check does not apply; the text says why.
    Skipped(String),
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Line {
    /// The clause.
    pub clause: &'static str,
    /// The check.
    pub name: &'static str,
    /// How binding the clause is.
    pub level: Level,
    /// How the check ended.
    pub status: Status,
    /// How long it took.
    pub took: Duration,
}

/// All lines, in the order of the checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The lines.
    pub lines: Vec<Line>,
}

impl Line {
    /// The line as the standard test harness has it.
    #[must_use]
    pub fn text(&self) -> String {
        let end = match &self.status {
            Status::Passed => "ok".to_owned(),
            Status::Failed(_) => "FAILED".to_owned(),
            Status::Skipped(reason) => format!("skipped ({reason})"),
        };
        let (clause, name, level) = (self.clause, self.name, self.level);
        format!(
            "test {clause} {name} ({level}) ... {end} {:.2} s",
            self.took.as_secs_f64()
        )
    }

    /// The status with its evidence.
    fn told(&self) -> (&'static str, &str) {
        match &self.status {
            Status::Passed => ("passed", ""),
            Status::Failed(failure) => ("failed", failure.0.as_str()),
            Status::Skipped(reason) => ("skipped", reason.as_str()),
        }
    }

    fn json(&self) -> Value {
        let (status, evidence) = self.told();
        json!({
            "clause": self.clause,
            "name": self.name,
            "level": self.level.to_string(),
            "status": status,
            "evidence": evidence,
            "marks": "",
            "seconds": self.took.as_secs_f64(),
        })
    }
}

impl Report {
    /// How many passed, failed and were skipped.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: &str| self.lines.iter().filter(|line| line.told().0 == wanted).count();
        (count("passed"), count("failed"), count("skipped"))
    }

    /// The failures with their evidence, and the closing line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            if let Status::Failed(failure) = &line.status {
                // Writing to a string does not fail.
                let _ = writeln!(out, "\nfailed: {} {}\n  {failure}", line.clause, line.name);
            }
        }
        let (passed, failed, skipped) = self.counts();
        let _ = writeln!(out, "\n{passed} passed, {failed} failed, {skipped} skipped");
        out
    }

    /// The report as JSON: `schema`, `subject`, the counts, and one object for each check.
    #[must_use]
    pub fn json(&self, subject: &str) -> String {
        let (passed, failed, skipped) = self.counts();
        let report = json!({
            "schema": SCHEMA,
            "subject": subject,
            "seed": "",
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "checks": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }

    /// The report in the format of JUnit.
    #[must_use]
    pub fn junit(&self, subject: &str) -> String {
        let (_, failed, skipped) = self.counts();
        let seconds: f64 = self.lines.iter().map(|line| line.took.as_secs_f64()).sum();
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">",
            escaped(subject),
            self.lines.len()
        );
        for line in &self.lines {
            let inner = match line.told() {
                ("failed", evidence) => format!("<failure>{}</failure>", escaped(evidence)),
                ("skipped", reason) => format!("<skipped message=\"{}\"/>", escaped(reason)),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{inner}</testcase>",
                line.clause,
                line.name,
                line.took.as_secs_f64()
            );
        }
        out.push_str("</testsuite>\n");
        out
    }
}

/// Text for XML; characters that XML cannot hold become question marks.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            control if control < ' ' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}
