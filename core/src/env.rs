//! The seam to time, randomness, tasks and disk threads.
//!
//! Code outside the server's runtime module and the listeners takes these from an [`Env`], so that whole
//! clusters run under a simulated clock and the runtime can be replaced.

use crate::BoxFuture;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Two clocks: a monotonic one for timeouts, and wall time for what is written into entries.
pub trait Clock: Send + Sync + Debug {
    /// Time since some fixed moment; never goes back. It stands still while the process is stopped or runs on:
    /// both happen, and callers that hold a lease must treat either as expiry.
    fn now(&self) -> Duration;
    /// Milliseconds since the Unix epoch; may jump.
    fn wall_ms(&self) -> i64;
    /// Completes once `now` has advanced by `duration`. Cancel safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A source of random numbers.
pub trait Rng: Send + Sync + Debug {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Starts tasks.
pub trait Spawn: Send + Sync + Debug {
    /// Runs `task` to its end in the background. `name` says whose it is in logs and dumps.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// Which disk thread does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskLane {
    /// Writes and syncs that somebody waits for; one job at a time, in order.
    Journal,
    /// Copies, checkpoints, recycling; one job at a time, in order; nobody waits for it.
    Background,
    /// Cold reads; jobs run in any order on a small pool.
    Read,
}

/// Runs blocking disk work away from the executor.
pub trait DiskQueue: Send + Sync + Debug {
    /// Queues `job`. A job may submit further jobs. Jobs of an ordered lane run in the order of submission.
    fn submit(&self, lane: DiskLane, job: Box<dyn FnOnce() + Send>);
}

/// Everything that a part takes from outside.
#[derive(Clone, Debug)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Disk threads.
    pub disk: Arc<dyn DiskQueue>,
}
