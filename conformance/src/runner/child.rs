//! The process that runs checks, and what it tells the one that started it: a line in a file when a check starts, and one
//! when it ends. The file lies in the folder that the process has for temporary files: whatever it leaves there when it is
//! killed goes with it.

use super::{Args, Line, Status, run_one};
use crate::check::{Failure, Marks, Trial};
use crate::world::locked;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The variable with the path of the file.
pub(super) const NEWS: &str = "CHRONIK_CONFORMANCE_NEWS";
/// The variable with the numbers of the checks to run.
pub(super) const CHECKS: &str = "CHRONIK_CONFORMANCE_CHECKS";
/// The variable with the id of the process that started this one.
pub(super) const PARENT: &str = "CHRONIK_CONFORMANCE_PARENT";

/// How a process ends that cannot tell anything.
pub(super) const SPEECHLESS: u8 = 3;

/// How many folders were made, or tried.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What a process told.
pub(super) enum Told {
    Started(usize),
    Ended(usize, Outcome),
}

/// How a check ended.
pub(super) struct Outcome {
    status: Status,
    marks: Marks,
    took: Duration,
}

impl Outcome {
    pub(super) fn into_line(self, trial: &Trial<'_>) -> Line {
        Line {
            name: trial.full_name(),
            level: trial.level,
            status: self.status,
            marks: self.marks,
            took: self.took,
        }
    }
}

/// Reads what a process tells.
pub(super) struct News {
    file: File,
    /// The start of a line whose end did not come yet.
    rest: Vec<u8>,
}

/// The folder of this process with that number.
fn folder_path(number: usize) -> PathBuf {
    let name = format!("chronik-conformance-{}-{number}", std::process::id());
    std::env::temp_dir().join(name)
}

/// The file in the folder of a process through which it tells.
pub(super) fn news_path(folder: &Path) -> PathBuf {
    folder.join("news")
}

/// Makes the folder of a process, with the file through which it tells.
pub(super) fn open_news() -> io::Result<(PathBuf, News)> {
    loop {
        let folder = folder_path(COUNT.fetch_add(1, Ordering::SeqCst));
        match std::fs::create_dir(&folder) {
            // Of one that had the same id, and was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(news_path(&folder));
        if file.is_err() {
            drop(std::fs::remove_dir(&folder));
        }
        let rest = Vec::new();
        return Ok((folder, News { file: file?, rest }));
    }
}

impl News {
    /// What was told since.
    pub(super) fn take(&mut self) -> Vec<Told> {
        // What cannot be read now is read the next time, or is missed as if it had not been told.
        let _ = self.file.read_to_end(&mut self.rest);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        String::from_utf8_lossy(&lines)
            .lines()
            .filter_map(decode)
            .collect()
    }
}

/// Numbers as the variable has them.
pub(super) fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(",")
}

fn decode(line: &str) -> Option<Told> {
    let mut fields = line.split('\t').map(unescaped);
    let (what, number) = (fields.next()?, fields.next()?.parse().ok()?);
    if what == "started" {
        return Some(Told::Started(number));
    }
    let (status, text, nanos) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    let marks = Marks::default();
    while let (Some(mark), Some(count)) = (fields.next(), fields.next()) {
        marks.add(mark, count.parse().ok()?);
    }
    let status = match status.as_str() {
        "passed" => Status::Passed,
        "failed" => Status::Failed(Failure(text)),
        "inconclusive" => Status::Inconclusive(Failure(text)),
        "error" => Status::Error(Failure(text)),
        "disabled" => Status::Disabled(text),
        _ => Status::Skipped(text),
    };
    let took = Duration::from_nanos(nanos);
    Some(Told::Ended(number, Outcome { status, marks, took }))
}

fn encode(number: usize, line: &Line) -> String {
    let nanos = u64::try_from(line.took.as_nanos()).unwrap_or(u64::MAX);
    let status = super::report::status_name(&line.status);
    let mut text = format!(
        "ended\t{number}\t{status}\t{}\t{nanos}",
        escaped(line.status.text())
    );
    for (mark, count) in line.marks.counts() {
        text.push_str(&format!("\t{}\t{count}", escaped(&mark)));
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                other => out.extend(other),
            },
            (other, false) => out.push(other),
        }
    }
    out
}

/// Runs the checks that the process was started for; `None` where this process is no such one.
pub(super) fn run(trials: &[&Trial<'_>], args: &Args) -> Option<ExitCode> {
    let path = PathBuf::from(std::env::var_os(NEWS)?);
    let file = match OpenOptions::new().append(true).open(&path) {
        Ok(file) => file,
        Err(error) => {
            // It must not go on as if nobody had started it: all checks would run again in each process.
            let path = path.display();
            let wrong =
                format!("error: {path}, in which a process with checks tells what becomes of them: {error}");
            // A closed pipe is the reader's choice.
            let _ = writeln!(io::stderr(), "{wrong}");
            return Some(ExitCode::from(SPEECHLESS));
        }
    };
    leave_with_parent();
    let numbers: Vec<usize> = std::env::var(CHECKS)
        .unwrap_or_default()
        .split(',')
        .filter_map(|number| number.parse().ok())
        .collect();
    let file = Mutex::new(file);
    // A line that cannot be written is missed by the one that waits for it.
    let tell = |text: String| drop(locked(&file).write_all(format!("{text}\n").as_bytes()));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.min(numbers.len()) {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Some(trial) = trials.get(*number) {
                        tell(format!("started\t{number}"));
                        tell(encode(*number, &run_one(trial, args)));
                    }
                }
            });
        }
    });
    Some(ExitCode::SUCCESS)
}

/// Who started this process may be killed, also before this is reached: nobody would end it then.
fn leave_with_parent() {
    let told = std::env::var(PARENT).ok().and_then(|id| id.parse().ok());
    let parent = told.unwrap_or_else(std::os::unix::process::parent_id);
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn a_file_or_folder_of_another_is_left_alone() {
        let next = COUNT.load(Ordering::SeqCst);
        let (file, theirs) = (folder_path(next), folder_path(next + 1));
        std::fs::write(&file, "theirs").unwrap();
        std::fs::create_dir(&theirs).unwrap();
        let opened = open_news();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs");
        std::fs::remove_file(file).unwrap();
        // It is empty.
        std::fs::remove_dir(theirs).unwrap();
        let (folder, _) = opened.unwrap();
        assert_eq!(folder, folder_path(next + 2));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_told_is_understood() {
        let marks = Marks::default();
        marks.add("a\tmark", 3);
        let line = Line {
            name: "LS-BAS-01 a".to_owned(),
            level: Level::Must,
            status: Status::Failed(Failure::new("one\ntwo\t\\three")),
            marks,
            took: Duration::from_nanos(17),
        };
        let Some(Told::Ended(5, outcome)) = decode(&encode(5, &line)) else {
            panic!("{}", encode(5, &line));
        };
        assert_eq!((&outcome.status, outcome.took), (&line.status, line.took));
        assert_eq!(outcome.marks.count("a\tmark"), 3);
        assert!(matches!(decode("started\t7"), Some(Told::Started(7))));
        assert!(decode("started\t").is_none());
    }
}
