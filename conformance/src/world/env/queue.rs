//! Disk threads whose jobs run when the driver says so.

use crate::world::{Prng, locked};
use chronik_core::env::{DiskLane, DiskQueue};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;

type Job = Box<dyn FnOnce() + Send>;

struct Lanes {
    journal: VecDeque<Job>,
    background: VecDeque<Job>,
    read: Vec<Job>,
    prng: Prng,
    done: u64,
}

/// A disk queue that keeps jobs until they are stepped: ordered lanes in their order, cold reads in any, and the
/// lanes mixed as the seed says.
pub struct SimDiskQueue {
    lanes: Mutex<Lanes>,
}

impl SimDiskQueue {
    pub(super) fn new(prng: Prng) -> Self {
        Self {
            lanes: Mutex::new(Lanes {
                journal: VecDeque::new(),
                background: VecDeque::new(),
                read: Vec::new(),
                prng,
                done: 0,
            }),
        }
    }

    /// Whether jobs wait.
    #[must_use]
    pub fn has_jobs(&self) -> bool {
        locked(&self.lanes).waiting() > 0
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
            let filled = lanes.filled();
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
            let mut lanes = locked(&self.lanes);
            let job = match lane {
                DiskLane::Journal => lanes.journal.pop_front(),
                DiskLane::Background => lanes.background.pop_front(),
                DiskLane::Read => {
                    let count = lanes.read.len();
                    let pick = lanes.prng.index(count);
                    (count > 0).then(|| lanes.read.swap_remove(pick))
                }
            };
            lanes.done += u64::from(job.is_some());
            job
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

impl Lanes {
    fn waiting(&self) -> usize {
        self.journal.len() + self.background.len() + self.read.len()
    }

    fn filled(&self) -> Vec<DiskLane> {
        [
            (DiskLane::Journal, self.journal.len()),
            (DiskLane::Background, self.background.len()),
            (DiskLane::Read, self.read.len()),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(lane, _)| lane)
        .collect()
    }
}

impl DiskQueue for SimDiskQueue {
    fn submit(&self, lane: DiskLane, job: Job) {
        let mut lanes = locked(&self.lanes);
        match lane {
            DiskLane::Journal => lanes.journal.push_back(job),
            DiskLane::Background => lanes.background.push_back(job),
            DiskLane::Read => lanes.read.push(job),
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
