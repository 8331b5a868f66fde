//! What a run found, as one page of HTML that needs nothing else.

use super::report::{escaped, level_name, status_name};
use super::{Line, Report};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.45 sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}\
td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left;vertical-align:top}pre{white-space:pre-wrap;margin:0}\
.passed{background:#dff2df}.failed,.inconclusive,.error{background:#f7d9d9}.skipped,.disabled{background:#eee}";

impl Report {
    /// The report as a page: the counts, and of each check the clause, the verdict with its evidence, and what it met.
    #[must_use]
    pub fn page(&self, subject: &str, seed: &str) -> String {
        let (passed, failed, skipped) = self.counts();
        let name = escaped(subject);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Conformance of {name}</title>\
             <style>{STYLE}</style></head><body>\n<h1>Conformance of {name}</h1>\n<p>{passed} passed, {failed} failed, \
             {skipped} skipped; seed <code>{}</code>, suite {}.</p>\n<table>\n<tr><th>Clause</th><th>Level</th>\
             <th>Check</th><th>Verdict</th><th>Evidence</th><th>Met</th><th>Seconds</th></tr>\n",
            escaped(seed),
            env!("CARGO_PKG_VERSION")
        );
        self.lines.iter().for_each(|line| add_row(&mut out, line));
        out.push_str("</table>\n</body></html>\n");
        out
    }
}

fn add_row(out: &mut String, line: &Line) {
    let (clause, name) = line.name.split_once(' ').unwrap_or(("", &line.name));
    let evidence = line.status.text();
    let status = status_name(&line.status);
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<tr class=\"{status}\"><td>{}</td><td>{}</td><td>{}</td><td>{status}</td><td><pre>{}</pre></td><td>{}</td>\
         <td>{:.2}</td></tr>",
        escaped(clause),
        level_name(line.level),
        escaped(&name.replace('_', " ")),
        escaped(evidence),
        escaped(&line.marks.to_string()),
        line.took.as_secs_f64()
    );
}
