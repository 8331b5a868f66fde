//! `conformance`: judges a running system from outside.
//!
//! Exit codes: 0 every check passed or does not apply; 1 a check failed; 2 the command line is wrong, or a report cannot
//! be written; 3 no broker answered.

use super::Exit;
use super::output::{complain, print};
use crate::judge::{Report, Subject, checks, run as judge};
use crate::runtime;
use std::path::{Path, PathBuf};
use structopt::StructOpt;

#[derive(Debug, StructOpt)]
pub(super) enum Command {
    /// Judges a broker that speaks Kafka's protocol: acknowledgements, order, idempotence, fetches, times, groups. It works
    /// on topics and groups of its own, and deletes the topics in the end.
    Broker(Broker),
}

/// Which broker, which checks, and where to write the reports.
#[derive(Debug, StructOpt)]
pub(super) struct Broker {
    /// The broker to judge; of a cluster, any of its brokers.
    #[structopt(long, value_name = "HOST:PORT", required_unless = "list")]
    bootstrap: Option<String>,
    /// Only names the checks.
    #[structopt(long)]
    list: bool,
    /// Filters must equal the whole name.
    #[structopt(long)]
    exact: bool,
    /// Leaves out checks whose clause and name contain this.
    #[structopt(long, value_name = "TEXT", number_of_values = 1)]
    skip: Vec<String>,
    /// Writes the report as JSON.
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    json: Option<PathBuf>,
    /// Writes the report for JUnit.
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    junit: Option<PathBuf>,
    /// Only checks whose clause and name contain one of these.
    #[structopt(value_name = "FILTER")]
    filters: Vec<String>,
}

impl Broker {
    fn selects(&self, name: &str) -> bool {
        let hit = |text: &String| {
            if self.exact {
                name == text
            } else {
                name.contains(text.as_str())
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(hit)) && !self.skip.iter().any(hit)
    }
}

/// Runs the checks and reports.
pub(super) fn run(command: &Command) -> Exit {
    let Command::Broker(asked) = command;
    if asked.list {
        let names = checks().map(crate::judge::Check::full_name);
        let lines: String = names
            .filter(|name| asked.selects(name))
            .map(|name| format!("{name}: test\n"))
            .collect();
        return print(&lines);
    }
    let bootstrap = asked.bootstrap.clone().unwrap_or_default();
    let subject = match Subject::connect(&bootstrap, runtime::clock(), &*runtime::rng()) {
        Ok(subject) => subject,
        Err(failure) => {
            complain(&format_args!(
                "{failure}; is a broker listening there (--bootstrap)?"
            ));
            return Exit::Unreachable;
        }
    };
    print(&format!("\nconformance of {bootstrap}\n"));
    let report = judge(&subject, &|name| asked.selects(name), &mut |line| {
        print(&format!("{}\n", line.text()));
    });
    finish(asked, &bootstrap, &report)
}

fn finish(asked: &Broker, bootstrap: &str, report: &Report) -> Exit {
    let written = [
        (&asked.json, report.json(bootstrap)),
        (&asked.junit, report.junit(bootstrap)),
    ];
    for (path, text) in written {
        if let Some(Err(error)) = path.as_deref().map(|path: &Path| std::fs::write(path, text)) {
            let path = path.as_deref().unwrap_or_else(|| Path::new("")).display();
            complain(&format_args!("{path}: {error}"));
            return Exit::Usage;
        }
    }
    let (_, failed, _) = report.counts();
    match print(&report.summary()) {
        Exit::Done if failed > 0 => Exit::Failed,
        exit => exit,
    }
}
