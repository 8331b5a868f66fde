//! One process among several in a simulated world.

use super::executor::{Executor, NodeSpawn};
use super::life::Life;
use super::{SimClock, SimDiskQueue, SimEnv, SimRng};
use crate::world::Seed;
use chronik_core::BoxFuture;
use chronik_core::env::{Clock, Env};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A process: its tasks and disk threads are its own, time is the world's. It can stand still ([`SimNode::pause`])
/// and end at any moment ([`SimNode::kill`]); what starts afterwards is another process. Clones are the same one.
#[derive(Clone, Debug)]
pub struct SimNode {
    executor: Arc<Executor>,
    life: Arc<Life>,
    clock: Arc<NodeClock>,
    queue: Arc<SimDiskQueue>,
    rng: Arc<SimRng>,
}

/// How a process sees time.
#[derive(Debug)]
struct NodeClock {
    clock: Arc<SimClock>,
    drift_ppm: i64,
    wall_shift_ms: AtomicI64,
}

const MILLION: i128 = 1_000_000;

impl NodeClock {
    fn scaled(&self, time: Duration, by: i128, of: i128) -> Duration {
        if self.drift_ppm == 0 {
            return time;
        }
        let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / (2 * MILLION));
        let scaled = (nanos * by + of - 1) / of;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Duration {
        let rate = MILLION + i128::from(self.drift_ppm);
        self.scaled(self.clock.elapsed(), rate, MILLION)
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms() + self.wall_shift_ms.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let rate = MILLION + i128::from(self.drift_ppm);
        self.clock.sleep(self.scaled(duration, MILLION, rate))
    }
}

impl SimEnv {
    /// Starts a process whose clock runs true.
    #[must_use]
    pub fn node(&self, seed: Seed) -> SimNode {
        self.drifting_node(seed, 0)
    }

    /// Starts a process whose monotonic clock gains this many parts per million on the world's.
    #[must_use]
    pub fn drifting_node(&self, seed: Seed, drift_ppm: i64) -> SimNode {
        let node = SimNode {
            executor: Arc::clone(&self.executor),
            life: Arc::default(),
            clock: Arc::new(NodeClock {
                clock: Arc::clone(&self.clock),
                drift_ppm,
                wall_shift_ms: AtomicI64::new(0),
            }),
            queue: Arc::new(SimDiskQueue::new(
                seed.child("queue").prng(),
                Arc::clone(&self.clock),
            )),
            rng: Arc::new(SimRng::new(seed.child("rng"))),
        };
        self.adopt(node.clone());
        node
    }
}

impl SimNode {
    /// What the subject takes.
    #[must_use]
    pub fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as Arc<_>,
            rng: Arc::clone(&self.rng) as Arc<_>,
            spawn: Arc::new(NodeSpawn {
                executor: Arc::clone(&self.executor),
                life: Arc::clone(&self.life),
            }),
            disk: Arc::clone(&self.queue) as Arc<_>,
        }
    }

    /// Its disk threads.
    #[must_use]
    pub fn queue(&self) -> &SimDiskQueue {
        &self.queue
    }

    pub(super) fn shared_queue(&self) -> &Arc<SimDiskQueue> {
        &self.queue
    }

    /// Shifts the wall time that it sees.
    pub fn shift_wall_ms(&self, by: i64) {
        self.clock.wall_shift_ms.fetch_add(by, Ordering::SeqCst);
    }

    /// Stops it as SIGSTOP does: no task and no disk job runs, timers wait for it.
    pub fn pause(&self) {
        self.life.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.life.resume();
    }

    /// Ends it: its tasks and disk jobs are dropped, and what is left of it starts none. What the caller holds of
    /// the subject must be dropped by the caller.
    pub fn kill(&self) {
        self.life.end();
        self.executor.clear_of(&self.life);
        self.queue.clear();
        // What was dropped may have left something behind.
        self.executor.clear_of(&self.life);
        self.queue.clear();
    }

    /// Whether it runs: neither paused nor ended.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.life.runs()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.life.is_dead()
    }

    /// The names of its tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> Vec<&'static str> {
        self.executor.names_of(&self.life)
    }
}
