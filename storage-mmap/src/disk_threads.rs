//! The disk threads of a node.

use crate::sync::locked;
use chronik_core::env::{DiskLane, DiskQueue};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A thread of the read pool that had nothing to do for this long ends.
const READ_IDLE: Duration = Duration::from_secs(10);
const READERS_MAX: usize = 2;
/// How much nicer than the node's other threads those of the read pool are: cold data that is read, compared and copied must
/// not keep a produce request from its core.
const READ_NICE: i32 = 10;

struct Lane {
    state: Mutex<LaneState>,
    work: Condvar,
}

#[derive(Default)]
struct LaneState {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// One thread for the journal, one for background work, and up to two for cold reads, started when they are needed.
///
/// Jobs that were submitted before the last handle was dropped run to their end.
pub struct DiskThreads {
    journal: Arc<Lane>,
    background: Arc<Lane>,
    read: Arc<Lane>,
}

impl DiskThreads {
    /// Starts the threads that always run.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start() -> io::Result<Self> {
        let threads = Self {
            journal: Lane::new(),
            background: Lane::new(),
            read: Lane::new(),
        };
        start_worker(&threads.journal, "disk-journal", None, 0)?;
        start_worker(&threads.background, "disk-background", None, 0)?;
        Ok(threads)
    }
}

impl DiskQueue for DiskThreads {
    fn submit(&self, lane: DiskLane, job: Job) {
        match lane {
            DiskLane::Journal => self.journal.push(job),
            DiskLane::Background => self.background.push(job),
            DiskLane::Read => {
                self.read.push(job);
                self.grow_readers();
            }
        }
    }
}

impl DiskThreads {
    fn grow_readers(&self) {
        {
            let mut state = locked(&self.read.state);
            if state.jobs.len() <= state.idle || state.threads >= READERS_MAX {
                return;
            }
            state.threads += 1;
        }
        if let Err(error) = start_worker(&self.read, "disk-read", Some(READ_IDLE), READ_NICE) {
            log::error!("read_thread_not_started error={error}");
            let orphans = {
                let mut state = locked(&self.read.state);
                state.threads -= 1;
                // Without any thread the jobs would wait for ever; dropped, they answer with an error.
                if state.threads == 0 {
                    std::mem::take(&mut state.jobs)
                } else {
                    VecDeque::new()
                }
            };
            drop(orphans);
        }
    }
}

impl Lane {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LaneState::default()),
            work: Condvar::new(),
        })
    }

    fn push(&self, job: Job) {
        locked(&self.state).jobs.push_back(job);
        self.work.notify_one();
    }

    /// The next job, or `None` when the thread should end.
    fn next(&self, idle_limit: Option<Duration>) -> Option<Job> {
        let mut state = locked(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            let timed_out;
            (state, timed_out) = match idle_limit {
                None => (
                    self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                    false,
                ),
                Some(limit) => {
                    let (state, result) = self
                        .work
                        .wait_timeout(state, limit)
                        .unwrap_or_else(PoisonError::into_inner);
                    (state, result.timed_out())
                }
            };
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

fn start_worker(lane: &Arc<Lane>, name: &str, idle_limit: Option<Duration>, nice: i32) -> io::Result<()> {
    let lane = Arc::clone(lane);
    let run = move || {
        // On Linux the priority is that of the thread. Where it cannot be lowered, the work is done all the same.
        if nice > 0
            && let Err(error) = rustix::process::nice(nice)
        {
            log::debug!("event=priority_not_lowered error=\"{error}\"");
        }
        while let Some(job) = lane.next(idle_limit) {
            job();
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

impl Drop for DiskThreads {
    fn drop(&mut self) {
        for lane in [&self.journal, &self.background, &self.read] {
            locked(&lane.state).closed = true;
            lane.work.notify_all();
        }
    }
}

impl fmt::Debug for DiskThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskThreads").finish_non_exhaustive()
    }
}
