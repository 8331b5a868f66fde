//! Runs the checks in a process of their own, so that a subject that never returns, ends its process or takes all memory
//! gets a verdict like any other.

use super::child::{self, News};
use super::{Args, Line, Report, Status};
use crate::check::{Failure, Marks, Trial};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often the process is looked at.
const PACE: Duration = Duration::from_millis(20);
/// Bytes of a page of memory.
const PAGE_BYTES: u64 = 4096;

/// Why a process with checks ended before they did.
enum End {
    /// By itself; the text says how.
    Died(String),
    /// A check took longer than it may.
    Hung(usize),
    /// It took more memory than it may.
    Grew,
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
    // Those that ran when a process ended: each has to show by itself whether it was the one.
    let mut suspects = VecDeque::new();
    while !waiting.is_empty() || !suspects.is_empty() {
        let batch = match suspects.pop_front() {
            Some(number) => vec![number],
            None => std::mem::take(&mut waiting),
        };
        let mut process = Process::start(&batch).ok()?;
        let end = process.watch(args, &mut board);
        let running = process.running();
        let left: Vec<usize> = batch
            .iter()
            .copied()
            .filter(|number| !board.lines.contains_key(number))
            .collect();
        let blamed = match (&end, left.as_slice()) {
            (_, []) => continue,
            (End::Hung(number), _) => Some(*number),
            // Nothing ran, and it will be no better the next time.
            (_, [only]) => Some(*only),
            (_, [first, ..]) if running.is_empty() => Some(*first),
            _ => None,
        };
        if let Some(number) = blamed {
            board.error(number, end.text(args), process.ran_for(number));
        }
        for number in left.into_iter().filter(|number| Some(*number) != blamed) {
            match end {
                End::Died(_) | End::Grew if running.contains(&number) => suspects.push_back(number),
                _ => waiting.push(number),
            }
        }
    }
    Some(Report {
        lines: board.lines.into_values().collect(),
        ..Report::default()
    })
}

impl End {
    fn text(&self, args: &Args) -> String {
        match self {
            Self::Died(how) => format!("the process of the check ended: {how}"),
            Self::Hung(_) => format!("the check did not end within {} s", args.limit.as_secs()),
            Self::Grew => format!(
                "the process of the check took more than {} MiB of memory",
                args.memory_mib
            ),
        }
    }
}

/// A process with checks.
struct Process {
    child: Child,
    news: News,
    path: PathBuf,
    started: BTreeMap<usize, Instant>,
    ended: BTreeSet<usize>,
}

impl Process {
    fn start(batch: &[usize]) -> io::Result<Self> {
        let (path, news) = child::open_news()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        command
            .env(child::NEWS, &path)
            .env(child::CHECKS, child::list(batch));
        if batch.len() == 1 {
            command.arg("--test-threads").arg("1");
        }
        Ok(Self {
            child: command.spawn()?,
            news,
            path,
            started: BTreeMap::new(),
            ended: BTreeSet::new(),
        })
    }

    /// Takes note of what is told until the process ends, or has to be ended.
    fn watch(&mut self, args: &Args, board: &mut Board<'_>) -> End {
        loop {
            let ended = self.child.try_wait();
            self.take_news(board);
            match ended {
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
            std::thread::park_timeout(PACE);
        }
    }

    fn take_news(&mut self, board: &mut Board<'_>) {
        for told in self.news.take() {
            match told {
                child::Told::Started(number) => drop(self.started.insert(number, Instant::now())),
                child::Told::Ended(number, outcome) => {
                    self.ended.insert(number);
                    if let Some(trial) = board.trials.get(number) {
                        let line = outcome.into_line(trial);
                        board.add(number, line);
                    }
                }
            }
        }
    }

    fn running(&self) -> BTreeSet<usize> {
        let running = self.started.keys().copied();
        running.filter(|number| !self.ended.contains(number)).collect()
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
        drop(std::fs::remove_file(&self.path));
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
