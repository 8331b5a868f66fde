//! Runs the checks in a process of their own, so that a subject that never returns, ends its process or takes all memory
//! gets a verdict like any other.

use super::child::{self, News};
use super::{Args, Line, Report, Status};
use crate::check::{Failure, Marks, Trial};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often the process is looked at.
const PACE: Duration = Duration::from_millis(20);
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// How a process with checks ended.
enum End {
    /// By itself, and as one that has nothing to complain of; checks may be left all the same.
    Left(String),
    /// By itself, by a signal or with a complaint; the text says how.
    Died(String),
    /// A check took longer than it may.
    Hung(usize),
    /// It took more memory than it may.
    Grew,
    /// It ran no check for as long as one may take, and did not end.
    Idled,
}

/// Those that ran when a process ended: each has to show by itself whether it was the one.
#[derive(Default)]
struct Suspects {
    all: Vec<usize>,
    left: VecDeque<usize>,
    /// How the process ended, where one of them has to have ended it.
    how: Option<String>,
}

/// What became of the checks so far, reported in their order.
struct Board<'a> {
    trials: &'a [&'a Trial<'a>],
    lines: BTreeMap<usize, Line>,
    told: usize,
    done: &'a mut (dyn FnMut(&Line) + Send),
}

impl Board<'_> {
    fn add(&mut self, number: usize, line: Line) {
        self.lines.entry(number).or_insert(line);
        while let Some(line) = self.lines.get(&self.told) {
            (self.done)(line);
            self.told += 1;
        }
    }

    fn name(&self, number: usize) -> Option<String> {
        self.trials.get(number).map(|trial| trial.full_name())
    }

    fn failed(&self, number: usize) -> bool {
        let line = self.lines.get(&number);
        line.is_some_and(|line| line.status.counts_as_failure())
    }

    /// Adds a line; that of a check which did not fail becomes an error where there is something to say.
    fn add_unless(&mut self, number: usize, mut line: Line, wrong: Option<String>) {
        if let Some(what) = wrong.filter(|_| !line.status.counts_as_failure()) {
            line.status = Status::Error(Failure(what));
        }
        self.add(number, line);
    }

    fn error(&mut self, number: usize, what: String, took: Duration) {
        let Some(trial) = self.trials.get(number) else {
            return;
        };
        let line = Line {
            name: trial.full_name(),
            level: trial.level,
            status: Status::Error(Failure(what)),
            marks: Marks::default(),
            took,
        };
        self.add(number, line);
    }
}

/// Runs the checks; `None` where no process can be started for them.
pub(super) fn run(
    trials: &[&Trial<'_>],
    args: &Args,
    done: &mut (dyn FnMut(&Line) + Send),
) -> Option<Report> {
    let mut board = Board {
        trials,
        lines: BTreeMap::new(),
        told: 0,
        done,
    };
    let mut waiting: Vec<usize> = (0..trials.len()).collect();
    let mut suspects = Suspects::default();
    let mut notes = Vec::new();
    let mut first = true;
    while !waiting.is_empty() || !suspects.left.is_empty() {
        let batch = match suspects.left.pop_front() {
            Some(number) => vec![number],
            None => std::mem::take(&mut waiting),
        };
        let mut process = match Process::start(&batch) {
            Ok(process) => process,
            Err(error) if first => {
                // A closed pipe is the reader's choice.
                let _ = writeln!(
                    io::stderr(),
                    "the checks run without a process of their own: {error}"
                );
                return None;
            }
            Err(error) => {
                for number in batch.into_iter().chain(suspects.left).chain(waiting) {
                    let what = format!("no process could be started for the check: {error}");
                    board.error(number, what, Duration::ZERO);
                }
                break;
            }
        };
        first = false;
        let end = process.watch(args, &mut board);
        if let Some((number, line)) = process.last.take() {
            let what = suspects.judged(number, &process, &end, &board, args);
            board.add_unless(number, line, what);
        }
        let blamed = process.blamed(&end);
        if matches!(end, End::Grew) && blamed.is_none() && batch.len() > 1 {
            notes.push(process.grown(&board, args));
        }
        if let Some(number) = blamed {
            board.error(number, end.text(args), process.ran_for(number));
        }
        let (running, mut left) = (process.running(), process.left());
        left.retain(|number| Some(*number) != blamed);
        // There are none left here: each of them ran alone, and would be to blame.
        if blamed.is_none() && !running.is_empty() {
            left.retain(|number| !running.contains(number));
            suspects = Suspects::new(running.into_iter().collect(), &end);
        }
        waiting.extend(left);
    }
    Some(Report {
        lines: board.lines.into_values().collect(),
        notes,
        ..Report::default()
    })
}

impl Suspects {
    fn new(all: Vec<usize>, end: &End) -> Self {
        let left = all.iter().copied().collect();
        let how = match end {
            End::Left(how) | End::Died(how) => Some(how.clone()),
            // What many took together need not be the fault of one.
            End::Hung(_) | End::Grew | End::Idled => None,
        };
        Self { all, left, how }
    }

    /// What is wrong with how the process of the check ended, which ended last in it; or with how that of all suspects did,
    /// where this is the last of them, and none did it alone.
    fn judged(
        &self,
        number: usize,
        process: &Process,
        end: &End,
        board: &Board<'_>,
        args: &Args,
    ) -> Option<String> {
        match (end, &self.how) {
            (End::Grew, _) if process.batch.len() > 1 => None,
            (End::Left(_), Some(how)) if self.all.last() == Some(&number) => {
                let failed = self.all.iter().any(|number| board.failed(*number));
                let names: Vec<String> = self.all.iter().filter_map(|number| board.name(*number)).collect();
                let names = names.join(", ");
                (!failed).then(|| format!("the process ended {how} while {names} ran; none did it alone"))
            }
            (End::Left(_), _) => None,
            _ => Some(end.text(args)),
        }
    }
}

impl End {
    fn text(&self, args: &Args) -> String {
        let limit = args.limit.as_secs();
        match self {
            Self::Left(how) | Self::Died(how) => format!("the process of the check ended: {how}"),
            Self::Hung(_) => format!("the check did not end within {limit} s"),
            Self::Grew => format!(
                "the process of the check took more than {} MiB of memory",
                args.memory_mib
            ),
            Self::Idled => format!("the process of the check ran none for {limit} s, and did not end"),
        }
    }
}

/// A process with checks.
struct Process {
    child: Child,
    news: News,
    folder: PathBuf,
    batch: Vec<usize>,
    started: BTreeMap<usize, Instant>,
    ended: BTreeSet<usize>,
    /// When it last told something.
    heard: Instant,
    /// The check of the batch that ended last: how the process ends belongs to it.
    last: Option<(usize, Line)>,
}

impl Process {
    fn start(batch: &[usize]) -> io::Result<Self> {
        let (folder, news) = child::open_news()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command
            .env("TMPDIR", &folder)
            .env(child::NEWS, child::news_path(&folder))
            .env(child::CHECKS, child::list(batch))
            .env(child::PARENT, std::process::id().to_string());
        if batch.len() == 1 {
            command.arg("--test-threads").arg("1");
        }
        let child = command.spawn();
        if child.is_err() {
            drop(std::fs::remove_dir_all(&folder));
        }
        Ok(Self {
            child: child?,
            news,
            folder,
            batch: batch.to_vec(),
            started: BTreeMap::new(),
            ended: BTreeSet::new(),
            heard: Instant::now(),
            last: None,
        })
    }

    /// Takes note of what is told until the process ends, or has to be ended.
    fn watch(&mut self, args: &Args, board: &mut Board<'_>) -> End {
        loop {
            let ended = self.child.try_wait();
            self.take_news(board);
            match ended {
                Ok(Some(status)) if status.success() => return End::Left(how(status)),
                Ok(Some(status)) if self.is_speechless(status) => {
                    return End::Died(
                        "it could not open the file in which it tells what becomes of checks".to_owned(),
                    );
                }
                Ok(Some(status)) => return End::Died(how(status)),
                Ok(None) => {}
                Err(error) => return End::Died(error.to_string()),
            }
            let late = |number: &&usize| self.ran_for(**number) > args.limit;
            if let Some(number) = self.running().iter().find(late) {
                self.kill();
                return End::Hung(*number);
            }
            if resident_mib(self.child.id()).is_some_and(|mib| mib > args.memory_mib) {
                self.kill();
                return End::Grew;
            }
            if self.running().is_empty() && self.heard.elapsed() > args.limit {
                self.kill();
                return End::Idled;
            }
            std::thread::park_timeout(PACE);
        }
    }

    fn take_news(&mut self, board: &mut Board<'_>) {
        for told in self.news.take() {
            self.heard = Instant::now();
            match told {
                child::Told::Started(number) => drop(self.started.insert(number, Instant::now())),
                child::Told::Ended(number, outcome) => {
                    self.ended.insert(number);
                    if let Some(trial) = board.trials.get(number) {
                        let line = outcome.into_line(trial);
                        if self.left().is_empty() {
                            self.last = Some((number, line));
                        } else {
                            board.add(number, line);
                        }
                    }
                }
            }
        }
    }

    /// Whether it ended as one that could not tell anything.
    fn is_speechless(&self, status: ExitStatus) -> bool {
        self.started.is_empty() && status.code() == Some(i32::from(child::SPEECHLESS))
    }

    /// What is to be said of checks that took too much memory, and none of them alone.
    fn grown(&self, board: &Board<'_>, args: &Args) -> String {
        let names: Vec<String> = self
            .started
            .keys()
            .filter_map(|number| board.name(*number))
            .collect();
        format!(
            "{} took more than {} MiB of memory together in one process; what each takes alone is judged",
            names.join(", "),
            args.memory_mib
        )
    }

    fn running(&self) -> BTreeSet<usize> {
        let running = self.started.keys().copied();
        running.filter(|number| !self.ended.contains(number)).collect()
    }

    /// The checks of the batch that did not end.
    fn left(&self) -> Vec<usize> {
        let batch = self.batch.iter().copied();
        batch.filter(|number| !self.ended.contains(number)).collect()
    }

    /// The check that is to blame for the end without a doubt, or without hope that a further run tells more.
    fn blamed(&self, end: &End) -> Option<usize> {
        let first = *self.left().first()?;
        let running = self.running();
        match end {
            End::Hung(number) => Some(*number),
            // What those took that ended before is none of its fault.
            End::Grew => (self.batch.len() == 1 || self.started.is_empty()).then_some(first),
            End::Left(_) | End::Died(_) | End::Idled if running.len() > 1 => None,
            // Where nothing ran it will be no better the next time.
            End::Left(_) | End::Died(_) | End::Idled => Some(running.first().copied().unwrap_or(first)),
        }
    }

    fn ran_for(&self, number: usize) -> Duration {
        self.started.get(&number).map_or(Duration::ZERO, Instant::elapsed)
    }

    fn kill(&mut self) {
        // It may have ended by itself meanwhile.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("by signal {signal}"),
        None => format!("with {status}"),
    }
}

/// How much memory a process has, where the system tells.
fn resident_mib(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some((pages * PAGE_BYTES) >> 20)
}
