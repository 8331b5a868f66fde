//! What a run found, for machines: JSON, JUnit XML, and a badge line.

use super::{Line, Report, Status};
use crate::check::Level;
use std::fmt::Write;

/// The version of the JSON report; it changes with the meaning of a field.
const SCHEMA: u32 = 1;

impl Report {
    /// The report as JSON: `schema`, `subject`, `seed`, the counts, where there were random runs how many and how many in a
    /// minute, and one object for each check.
    #[must_use]
    pub fn json(&self, subject: &str, seed: &str) -> String {
        let (passed, failed, skipped) = self.counts();
        let random = self
            .random_runs()
            .map(|(runs, rate)| format!("\"random_runs\":{runs},\"random_runs_a_minute\":{rate},"));
        let random = random.unwrap_or_default();
        let checks: Vec<String> = self.lines.iter().map(check_json).collect();
        format!(
            "{{\"schema\":{SCHEMA},\"subject\":{},\"seed\":{},\"passed\":{passed},\"failed\":{failed},\
             \"skipped\":{skipped},{random}\"checks\":[\n{}\n]}}\n",
            quoted(subject),
            quoted(seed),
            checks.join(",\n")
        )
    }

    /// The report in the format of JUnit.
    #[must_use]
    pub fn junit(&self, subject: &str) -> String {
        let (_, failed, skipped) = self.counts();
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let seconds: f64 = self.lines.iter().map(|line| line.took.as_secs_f64()).sum();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">",
            escaped(subject),
            self.lines.len()
        );
        for line in &self.lines {
            let (clause, name) = line.name.split_once(' ').unwrap_or(("", &line.name));
            let inner = match &line.status {
                Status::Passed => String::new(),
                Status::Failed(failure) | Status::Inconclusive(failure) | Status::Error(failure) => {
                    format!("<failure>{}</failure>", escaped(&failure.0))
                }
                Status::Skipped(reason) | Status::Disabled(reason) => {
                    format!("<skipped message=\"{}\"/>", escaped(reason))
                }
            };
            let _ = writeln!(
                out,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{inner}</testcase>",
                escaped(clause),
                escaped(name),
                line.took.as_secs_f64()
            );
        }
        out.push_str("</testsuite>\n");
        out
    }

    /// One line of Markdown that says how many of the binding checks a subject passes.
    #[must_use]
    pub fn badge(&self, subject: &str, seed: &str) -> String {
        let of = |level: Level| self.lines.iter().filter(move |line| line.level == level);
        let passed = |level: Level| of(level).filter(|line| line.status == Status::Passed).count();
        let judged = |level: Level| {
            let ran = |line: &&Line| !matches!(line.status, Status::Skipped(_) | Status::Disabled(_));
            of(level).filter(ran).count()
        };
        format!(
            "**{subject}**: {}/{} MUST, {}/{} SHOULD, seed {seed}, suite {}\n",
            passed(Level::Must),
            judged(Level::Must),
            passed(Level::Should),
            judged(Level::Should),
            env!("CARGO_PKG_VERSION")
        )
    }
}

fn check_json(line: &Line) -> String {
    let (clause, name) = line.name.split_once(' ').unwrap_or(("", &line.name));
    let evidence = line.status.text();
    let (status, level) = (status_name(&line.status), level_name(line.level));
    format!(
        "{{\"clause\":{},\"name\":{},\"level\":\"{level}\",\"status\":\"{status}\",\"evidence\":{},\"marks\":{},\
         \"seconds\":{:.3}}}",
        quoted(clause),
        quoted(name),
        quoted(evidence),
        quoted(&line.marks.to_string()),
        line.took.as_secs_f64()
    )
}

/// How reports name a status.
pub(super) const fn status_name(status: &Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed(_) => "failed",
        Status::Inconclusive(_) => "inconclusive",
        Status::Error(_) => "error",
        Status::Skipped(_) => "skipped",
        Status::Disabled(_) => "disabled",
    }
}

/// How reports name a level.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Must => "MUST",
        Level::Should => "SHOULD",
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Text for XML and HTML; characters that XML cannot hold become question marks.
pub(super) fn escaped(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Failure, Marks};
    use std::time::Duration;

    fn report() -> Report {
        let line = |name: &str, level, status| Line {
            name: name.to_owned(),
            level,
            status,
            marks: Marks::default(),
            took: Duration::from_millis(1500),
        };
        let failure = Failure::new("one \"two\" <three>\nfour\u{1}");
        Report {
            lines: vec![
                line("LS-BAS-01 a", Level::Must, Status::Passed),
                line("LS-BAS-02 b", Level::Must, Status::Failed(failure.clone())),
                line(
                    "LS-BAS-03 c",
                    Level::Should,
                    Status::Skipped("not yet".to_owned()),
                ),
                line("LS-BAS-04 d", Level::Must, Status::Inconclusive(failure)),
            ],
            notes: Vec::new(),
            took: Duration::from_secs(30),
        }
    }

    #[test]
    fn json_reads_back_and_counts_what_says_nothing_as_failed() {
        let json: serde_json::Value = serde_json::from_str(&report().json("my \"store\"", "0x1")).unwrap();
        assert_eq!(json["subject"], "my \"store\"");
        assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &2.into()));
        assert_eq!(json["checks"][1]["evidence"], "one \"two\" <three>\nfour\u{1}");
        assert_eq!(json["checks"][3]["status"], "inconclusive");
        assert_eq!(json["checks"][0]["clause"], "LS-BAS-01");
        assert!(json["random_runs"].is_null());
    }

    #[test]
    fn random_runs_are_counted_once_with_their_rate() {
        let report = report();
        assert_eq!(report.random_runs(), None);
        report.lines[0].marks.add(Marks::RUNS, 30);
        report.lines[1].marks.add(Marks::RUNS, 10);
        report.lines[1].marks.add(Marks::SEEDS, 40);
        assert_eq!(report.random_runs(), Some((40, 80)));
        let json: serde_json::Value = serde_json::from_str(&report.json("s", "0x1")).unwrap();
        assert_eq!(json["random_runs_a_minute"], 80);
    }

    #[test]
    fn the_page_escapes_and_shows_what_a_failure_was() {
        let page = report().page("a&b", "0x1");
        assert!(page.contains("<h1>Conformance of a&amp;b</h1>"), "{page}");
        assert!(page.contains("1 passed, 2 failed, 1 skipped"), "{page}");
        assert!(
            page.contains("<tr class=\"failed\"><td>LS-BAS-02</td><td>MUST</td><td>b</td>"),
            "{page}"
        );
        assert!(
            page.contains("one &quot;two&quot; &lt;three&gt;&#10;four?"),
            "{page}"
        );
    }

    #[test]
    fn junit_escapes_and_the_badge_counts_what_binds() {
        let junit = report().junit("a&b");
        assert!(
            junit.contains("name=\"a&amp;b\" tests=\"4\" failures=\"2\" skipped=\"1\""),
            "{junit}"
        );
        assert!(
            junit.contains("one &quot;two&quot; &lt;three&gt;&#10;four?"),
            "{junit}"
        );
        assert!(junit.contains("<skipped message=\"not yet\"/>"), "{junit}");
        let badge = report().badge("s", "0x1");
        assert!(
            badge.starts_with("**s**: 1/3 MUST, 0/0 SHOULD, seed 0x1"),
            "{badge}"
        );
    }
}
