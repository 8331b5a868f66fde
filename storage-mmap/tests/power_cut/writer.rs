//! The process that writes: it says on its standard output what was acknowledged, when it was.

use super::content::{GROUPS, POLICY, entry};
use super::unsynced::Unsynced;
use chronik_conformance::world::{Prng, Seed};
use chronik_core::env::{Clock, Rng, Spawn};
use chronik_core::log_store::{HardState, Purge};
use chronik_core::{
    BoxFuture, Entry, Env, FileSystem, GroupId, GroupLog, LogError, LogId, LogIndex, LogStore, ReplicaId,
    Term, Ticket,
};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the writer is told through its environment.
pub(crate) struct Plan {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// The term of everything that this process writes.
    pub(crate) term: u64,
    /// Whether syncs are real.
    pub(crate) synced: bool,
}

const VARIABLE: &str = "CHRONIK_POWER_CUT_WRITER";

impl Plan {
    /// The plan, where this process is a writer.
    pub(crate) fn of_this_process() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            term: parts.next()?.parse().ok()?,
            synced: parts.next()? == "synced",
            dir: PathBuf::from(parts.next()?),
        })
    }

    /// The environment variable that carries it.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        let synced = if self.synced { "synced" } else { "unsynced" };
        (VARIABLE, format!("{} {synced} {}", self.term, self.dir.display()))
    }
}

#[derive(Debug)]
struct Real {
    started: Instant,
    state: AtomicU64,
}

impl Clock for Real {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

impl Rng for Real {
    fn next_u64(&self) -> u64 {
        Seed(self.state.fetch_add(1, Ordering::Relaxed)).prng().next_u64()
    }
}

impl Spawn for Real {
    fn spawn(&self, _name: &'static str, _task: BoxFuture<'static, ()>) {}
}

/// Opens the store as a server would, with files so small that a second crosses many.
pub(crate) fn open(dir: &Path, synced: bool) -> Result<MmapStore, LogError> {
    let mut options = StoreOptions::new(dir);
    options.journal_file_bytes = 2 << 20;
    options.journal_files_max = 4;
    options.payload_bytes_max = 256 << 10;
    options.flush_bytes_max = 256 << 10;
    options.tail_bytes_max = 512 << 10;
    options.copy_bytes = 256 << 10;
    options.sync_bytes = 512 << 10;
    options.pool_bytes_max = 2 << 20;
    options.shrink_step_bytes = 64 << 10;
    options.free_bytes_min = 1 << 20;
    let real = Arc::new(Real {
        started: Instant::now(),
        // Of every opening alone: the judge opens many times in one process, and a store tells files apart by numbers
        // that no two of them share.
        state: AtomicU64::new(super::mount::now_ns() as u64),
    });
    let threads = DiskThreads::start().map_err(|error| LogError::Poisoned(error.to_string().into()))?;
    let env = Env {
        clock: real.clone(),
        rng: real.clone(),
        spawn: real,
        disk: Arc::new(threads),
    };
    let fs: Arc<dyn FileSystem> = if synced {
        Arc::new(RealFs)
    } else {
        Arc::new(Unsynced)
    };
    MmapStore::open(options, fs, env)
}

/// Writes until something fails.
pub(crate) fn run(plan: &Plan) -> ExitCode {
    match write_on(plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_on(plan: &Plan) -> Result<(), LogError> {
    let store = open(&plan.dir, plan.synced)?;
    let mut prng = Seed(plan.term).prng();
    let mut groups = Vec::new();
    for group in 1..=GROUPS {
        groups.push((group, store.open_group(GroupId(group), POLICY)?));
    }
    let mut waiting = std::collections::VecDeque::new();
    say("open");
    loop {
        let pick = prng.index(groups.len());
        let Some((group, log)) = groups.get_mut(pick) else {
            continue;
        };
        let ticket = one(*group, log, plan.term, &mut prng)?;
        let (barrier_sender, barrier) = Ticket::pair();
        let (line, ticket) = ticket;
        ticket.on_resolve(move |result| {
            if result.is_ok() {
                say(&line);
            }
            barrier_sender.resolve(result.clone());
        });
        waiting.push_back(barrier);
        // Some writes are always on their way when the power goes.
        while waiting.len() > 40 {
            if let Some(oldest) = waiting.pop_front() {
                oldest.wait()?;
            }
        }
    }
}

/// One write, and what to say once it is durable.
fn one(group: u64, log: &mut GroupLog, term: u64, prng: &mut Prng) -> Result<(String, Ticket), LogError> {
    let state = log.reader.state();
    let length = state.last.index.0 - state.purged.index.0;
    match prng.below(40) {
        0 => {
            let vote = HardState {
                term: Term(term),
                vote: Some(ReplicaId(group)),
            };
            Ok((format!("vote {group} {term}"), log.writer.save_hard_state(vote)?))
        }
        1 if length > 400 => {
            let index = LogIndex(state.purged.index.0 + 200);
            let through = LogId {
                term: log.reader.term_at(index)?,
                index,
            };
            let offset_start = super::content::offset_of(index.0 + 1);
            let purge = Purge {
                through,
                offset_start,
            };
            Ok((format!("purge {group} {index}"), log.writer.purge(purge)?))
        }
        2 if length > 10 && state.last.term.0 == term => {
            // Only what this process wrote, and announced: it may happen without being acknowledged.
            let from = state.last.index;
            say(&format!("cutting {group} {from}"));
            Ok((
                format!("truncate {group} {from}"),
                log.writer.truncate_from(from)?,
            ))
        }
        _ => {
            let entries: Vec<Entry> = (1..=prng.between(1, 4))
                .map(|ahead| entry(group, LogId::new(term, state.last.index.0 + ahead)))
                .collect();
            let last = entries.last().map_or(state.last, |entry| entry.id);
            let line = format!("append {group} {}", last.index);
            Ok((line, log.writer.append(&entries)?))
        }
    }
}

/// One line with its time, at once; a reader that is gone has cut the power.
fn say(line: &str) {
    let line = format!("{line} {}\n", super::mount::now_ns());
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
