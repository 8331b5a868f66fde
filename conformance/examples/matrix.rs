//! Writes the page that shows which shipped backend keeps which clause, from the reports of their conformance runs:
//! `matrix FOLDER`, where `CHRONIK_REPORT_DIR=FOLDER` was set for the runs. `.ci/run matrix` does both.

use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a backend is judged.
#[derive(Clone, Copy)]
enum Judge {
    /// By the suite; the name of the subject in its report.
    Suite(&'static str),
    /// By tests of its own: those that the contract names and that stand here, and those that this page names with their
    /// clauses; and why the suite does not.
    OwnTests(&'static str, Option<&'static str>, &'static str),
}

struct Column {
    name: &'static str,
    judge: Judge,
}

struct Contract {
    title: &'static str,
    page: &'static str,
    prefix: &'static str,
    columns: &'static [Column],
}

const fn suite(name: &'static str, subject: &'static str) -> Column {
    let judge = Judge::Suite(subject);
    Column { name, judge }
}

const CONTRACTS: &[Contract] = &[
    Contract {
        title: "File system",
        page: "log-store.md",
        prefix: "FS",
        columns: &[
            suite("simulated disk", "simulated disk"),
            suite("ext4", "storage-mmap on ext4"),
        ],
    },
    Contract {
        title: "Log store",
        page: "log-store.md",
        prefix: "LS",
        columns: &[
            suite("reference", "reference"),
            suite("storage-mmap", "storage-mmap"),
        ],
    },
    Contract {
        title: "Transport",
        page: "transport.md",
        prefix: "TR",
        columns: &[
            suite("reference", "simulated"),
            suite("transport-capnp", "transport-capnp"),
        ],
    },
    Contract {
        title: "Consensus",
        page: "consensus.md",
        prefix: "CS",
        columns: &[
            suite("reference", "reference"),
            suite("raft-rs", "raft-rs"),
            suite("raft-rs over storage-mmap", "raft-rs over storage-mmap"),
            Column {
                name: "standalone",
                judge: Judge::OwnTests(
                    "consensus/tests/standalone.rs",
                    None,
                    "the suite plays clusters, and this engine has one replica: what speaks of several does not bind it, and no \
                     test of its own looks at the rest",
                ),
            },
            Column {
                name: "async-raft",
                judge: Judge::OwnTests(
                    "consensus/tests/async_raft",
                    Some("docs/conformance/track-record.md"),
                    "the suite plays under a simulated clock, and the crate brings a runtime of its own: clusters of it run \
                     under real time, where no test looks at this clause alone",
                ),
            },
        ],
    },
];

const HEAD: &str = "\
# Which shipped backend keeps which clause

Written from the reports of the conformance runs by `CHRONIK_WRITE=1 .ci/run matrix`, which runs the suite on every backend
first; CI compares this page with the reports of its own runs.

**pass**: every check of the clause passed. **FAIL**, **inconclusive**, **error**, *skipped* (a capability that is not
declared), *disabled* (by the backend's authors): a check did not; the note says why. *own tests*: the suite cannot run this
backend, and tests of its own judge the clause. *other*: the suite has no check of the clause; the note says what looks at
it. *in part*, *none*: as the note says. What the clauses say in full, and the names of their checks, stands in
[docs/contract](../contract). Backends of others are judged the same way:
[conformance/third-party](../../conformance/third-party/README.md).

`storage-object` is no log store: it moves sealed segments of one to a bucket and reads them back, and
`storage-object/tests/it` and `tests/s3` judge it. Stores are judged on a simulated disk; `storage-mmap/tests/power_cut`
also cuts the power of real ones.
";

/// A row of a contract.
struct Clause {
    id: String,
    level: String,
    says: String,
    judged_by: String,
}

/// The reasons of a table's cells, each once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    /// A cell that needs a reason.
    fn cell(&mut self, verdict: &str, why: &str) -> String {
        let why = why.replace('\n', " ").replace('|', "\\|");
        let at = self.0.iter().position(|note| *note == why).unwrap_or_else(|| {
            self.0.push(why);
            self.0.len() - 1
        });
        format!("{verdict} [{}]", at + 1)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The cells of the rows of every table of a page.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| "));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn clauses(page: &str, prefix: &str) -> Result<Vec<Clause>, Box<dyn Error>> {
    let text = read(&root().join("docs/contract").join(page))?;
    let clauses = rows(&text).filter_map(|cells| match cells.as_slice() {
        [id, level @ ("MUST" | "SHOULD"), guarantee, _, judged_by] if id.starts_with(prefix) => {
            Some(Clause {
                id: (*id).to_owned(),
                level: (*level).to_owned(),
                says: first_sentence(guarantee),
                judged_by: (*judged_by).to_owned(),
            })
        }
        _ => None,
    });
    Ok(clauses.collect())
}

fn first_sentence(text: &str) -> String {
    let end = text.find(". ").map_or(text.len(), |at| at + 1);
    text.get(..end).unwrap_or(text).to_owned()
}

/// Names in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a report says of each clause: status and evidence of its checks.
type Verdicts = BTreeMap<String, Vec<(String, String)>>;

fn verdicts(folder: &Path, prefix: &str, subject: &str) -> Result<Verdicts, Box<dyn Error>> {
    let name = format!("{prefix} {subject}").to_lowercase().replace(' ', "-");
    let path = folder.join(format!("{name}.json"));
    let report: Value = serde_json::from_str(&read(&path)?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut verdicts = Verdicts::new();
    for check in report["checks"].as_array().into_iter().flatten() {
        let verdict = (text(&check["status"]), text(&check["evidence"]));
        verdicts.entry(text(&check["clause"])).or_default().push(verdict);
    }
    if report["subject"] != subject || verdicts.is_empty() {
        return Err(format!("{} is no report of {subject}", path.display()).into());
    }
    Ok(verdicts)
}

/// The verdict of the suite, the worst of the clause's checks.
fn judged(checks: Option<&Vec<(String, String)>>, clause: &Clause, notes: &mut Notes) -> String {
    let Some(checks) = checks else {
        return notes.cell("*other*", &clause.judged_by);
    };
    let words = [
        ("failed", "**FAIL**"),
        ("inconclusive", "**inconclusive**"),
        ("error", "**error**"),
        ("skipped", "*skipped*"),
        ("disabled", "*disabled*"),
    ];
    for (status, word) in words {
        if let Some((_, why)) = checks.iter().find(|(found, _)| found == status) {
            return notes.cell(word, why);
        }
    }
    // A status that this page does not know is no pass.
    match checks.iter().find(|(status, _)| status != "passed") {
        Some((status, why)) => notes.cell(status, why),
        None => "pass".to_owned(),
    }
}

/// The cells of one column, in the order of the clauses.
fn column(
    folder: &Path,
    contract: &Contract,
    column: &Column,
    clauses: &[Clause],
    notes: &mut Notes,
) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(match column.judge {
        Judge::Suite(subject) => {
            let verdicts = verdicts(folder, contract.prefix, subject)?;
            let cell = |clause: &Clause| judged(verdicts.get(&clause.id), clause, notes);
            clauses.iter().map(cell).collect()
        }
        Judge::OwnTests(place, record, reason) => {
            let mut tests = String::new();
            sources(&root().join(place), &mut tests)?;
            let record = record.map(|page| read(&root().join(page))).transpose()?;
            let record = record.unwrap_or_default();
            let named: Vec<&str> = rows(&record).filter_map(|cells| cells.get(4).copied()).collect();
            let exists = |name: &str| tests.contains(&format!("fn {name}()"));
            let cell = |clause: &Clause| match quoted(&clause.judged_by).find(|name| exists(name)) {
                Some(_) => "*own tests*".to_owned(),
                None => recorded(&named, clause, reason, notes),
            };
            clauses.iter().map(cell).collect()
        }
    })
}

/// The text of a file, or of all files of a folder.
fn sources(path: &Path, found: &mut String) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sources(&entry?.path(), found)?;
        }
    } else {
        found.push_str(&read(path)?);
    }
    Ok(())
}

/// What a record with its clauses in `named` says of a clause; behind a semicolon stands what is kept in part.
fn recorded(named: &[&str], clause: &Clause, reason: &str, notes: &mut Notes) -> String {
    let whole = |cell: &&str| {
        let list = cell.split(';').next().unwrap_or_default();
        list.split(", ").any(|id| id == clause.id)
    };
    if named.iter().any(whole) {
        return "*own tests*".to_owned();
    }
    let part = named.iter().find(|cell| cell.contains(&clause.id));
    match part.and_then(|cell| cell.split("; ").nth(1)) {
        Some(_) => notes.cell(
            "*in part*",
            "the crate has no pre-vote: only removed replicas are kept from raising the term",
        ),
        None => notes.cell("*none*", reason),
    }
}

fn table(folder: &Path, contract: &Contract, out: &mut String) -> Result<(), Box<dyn Error>> {
    let clauses = clauses(contract.page, contract.prefix)?;
    let mut notes = Notes::default();
    let columns: Vec<Vec<String>> = contract
        .columns
        .iter()
        .map(|one| column(folder, contract, one, &clauses, &mut notes))
        .collect::<Result<_, _>>()?;
    let names: Vec<&str> = contract.columns.iter().map(|column| column.name).collect();
    writeln!(
        out,
        "\n## {}\n| Clause | Level | Guarantee | {} |\n|---|---|---|{}",
        contract.title,
        names.join(" | "),
        "---|".repeat(names.len())
    )?;
    for (number, clause) in clauses.iter().enumerate() {
        let cells: Vec<&str> = columns
            .iter()
            .filter_map(|cells| cells.get(number))
            .map(String::as_str)
            .collect();
        let Clause { id, level, says, .. } = clause;
        let link = format!("[{id}](../contract/{})", contract.page);
        writeln!(out, "| {link} | {level} | {says} | {} |", cells.join(" | "))?;
    }
    if !notes.0.is_empty() {
        out.push('\n');
    }
    for (number, note) in notes.0.iter().enumerate() {
        writeln!(out, "{}. {note}", number + 1)?;
    }
    Ok(())
}

fn page(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut out = HEAD.to_owned();
    for contract in CONTRACTS {
        table(folder, contract, &mut out)?;
    }
    Ok(out)
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: matrix FOLDER-WITH-REPORTS");
        return ExitCode::from(2);
    };
    let written = page(Path::new(&folder)).and_then(|page| Ok(std::io::stdout().write_all(page.as_bytes())?));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
