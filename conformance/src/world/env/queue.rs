//! Disk threads whose jobs run when the driver says so.

use super::SimClock;
use crate::world::{Prng, locked};
use chronik_core::env::{DiskLane, DiskQueue};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A job and the moment from which on it can run.
struct Waiting {
    job: Job,
    due: Duration,
}

struct Lanes {
    journal: VecDeque<Waiting>,
    background: VecDeque<Waiting>,
    read: Vec<Waiting>,
    prng: Prng,
    done: u64,
    /// How long a job takes, from and to.
    takes: (Duration, Duration),
}

/// A disk queue that keeps jobs until they are stepped: ordered lanes in their order, cold reads in any, and the
/// lanes mixed as the seed says.
pub struct SimDiskQueue {
    lanes: Mutex<Lanes>,
    clock: Arc<SimClock>,
}

impl SimDiskQueue {
    pub(super) fn new(prng: Prng, clock: Arc<SimClock>) -> Self {
        Self {
            lanes: Mutex::new(Lanes {
                journal: VecDeque::new(),
                background: VecDeque::new(),
                read: Vec::new(),
                prng,
                done: 0,
                takes: (Duration::ZERO, Duration::ZERO),
            }),
            clock,
        }
    }

    /// From now on a new job waits this long, from and to, before it runs: a slow disk. Those that wait already keep
    /// their time.
    pub fn set_job_time(&self, from: Duration, to: Duration) {
        locked(&self.lanes).takes = (from, to.max(from));
    }

    /// Whether a job can run now.
    #[must_use]
    pub fn has_jobs(&self) -> bool {
        !locked(&self.lanes).filled(self.clock.elapsed()).is_empty()
    }

    /// How many jobs wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        locked(&self.lanes).waiting()
    }

    /// How many jobs ran.
    #[must_use]
    pub fn done(&self) -> u64 {
        locked(&self.lanes).done
    }

    /// Runs one job of a lane that the seed picks; false where none waits.
    pub fn step(&self) -> bool {
        let lane = {
            let mut lanes = locked(&self.lanes);
            let filled = lanes.filled(self.clock.elapsed());
            match filled.len() {
                0 => return false,
                count => {
                    let pick = lanes.prng.index(count);
                    filled[pick]
                }
            }
        };
        self.step_lane(lane)
    }

    /// Runs one job of `lane`; false where none waits.
    pub fn step_lane(&self, lane: DiskLane) -> bool {
        let job = {
            let now = self.clock.elapsed();
            let mut lanes = locked(&self.lanes);
            let job = match lane {
                DiskLane::Journal => take_first(&mut lanes.journal, now),
                DiskLane::Background => take_first(&mut lanes.background, now),
                DiskLane::Read => lanes.take_read(now),
            };
            lanes.done += u64::from(job.is_some());
            job.map(|waiting| waiting.job)
        };
        // The job runs without the lock, so that it may submit others.
        match job {
            Some(job) => {
                job();
                true
            }
            None => false,
        }
    }

    /// Drops the jobs that wait, as the end of a process does.
    pub fn clear(&self) {
        let dropped = {
            let mut lanes = locked(&self.lanes);
            let ordered = std::mem::take(&mut lanes.journal)
                .into_iter()
                .chain(std::mem::take(&mut lanes.background));
            ordered.chain(std::mem::take(&mut lanes.read)).collect::<Vec<_>>()
        };
        // Dropping a job resolves its tickets, whose callbacks may look at the queue.
        drop(dropped);
    }
}

fn take_first(jobs: &mut VecDeque<Waiting>, now: Duration) -> Option<Waiting> {
    if jobs.front()?.due > now {
        return None;
    }
    jobs.pop_front()
}

impl Lanes {
    fn waiting(&self) -> usize {
        self.journal.len() + self.background.len() + self.read.len()
    }

    /// The lanes with a job that can run at `now`.
    fn filled(&self, now: Duration) -> Vec<DiskLane> {
        let due = |waiting: &Waiting| waiting.due <= now;
        [
            (DiskLane::Journal, self.journal.front().is_some_and(due)),
            (DiskLane::Background, self.background.front().is_some_and(due)),
            (DiskLane::Read, self.read.iter().any(due)),
        ]
        .into_iter()
        .filter(|(_, filled)| *filled)
        .map(|(lane, _)| lane)
        .collect()
    }

    fn take_read(&mut self, now: Duration) -> Option<Waiting> {
        let due: Vec<usize> = (0..self.read.len())
            .filter(|at| self.read.get(*at).is_some_and(|waiting| waiting.due <= now))
            .collect();
        let pick = self.prng.index(due.len());
        due.get(pick).map(|at| self.read.swap_remove(*at))
    }

    fn due(&mut self, now: Duration) -> Duration {
        let (from, to) = self.takes;
        if to.is_zero() {
            return now;
        }
        let spread = u64::try_from((to - from).as_nanos()).unwrap_or(u64::MAX);
        now + from + Duration::from_nanos(self.prng.below(spread.saturating_add(1)))
    }
}

impl DiskQueue for SimDiskQueue {
    fn submit(&self, lane: DiskLane, job: Job) {
        let now = self.clock.elapsed();
        let mut lanes = locked(&self.lanes);
        let due = lanes.due(now);
        if due > now {
            self.clock.stop_at(due);
        }
        let waiting = Waiting { job, due };
        match lane {
            DiskLane::Journal => lanes.journal.push_back(waiting),
            DiskLane::Background => lanes.background.push_back(waiting),
            DiskLane::Read => lanes.read.push(waiting),
        }
    }
}

impl fmt::Debug for SimDiskQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDiskQueue")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
