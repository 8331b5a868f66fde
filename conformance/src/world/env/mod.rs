//! The simulated environment: nothing moves unless the driver steps it, and the seed decides what moves first.

mod clock;
mod executor;
mod life;
mod node;
mod queue;
#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use executor::Executor;
pub use node::SimNode;
pub use queue::SimDiskQueue;

use super::{Prng, Seed, locked};
use chronik_core::env::{Env, Rng};
use chronik_core::{LogError, Ticket};
use executor::NodeSpawn;
use life::Life;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A run that takes more steps than this without an answer is taken for a livelock.
pub(crate) const MAX_STEPS: u64 = 1_000_000;
/// How long a blocking call may wait in real time while nothing is left to step.
const BLOCKED_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct SimRng {
    prng: Mutex<Prng>,
}

impl SimRng {
    fn new(seed: Seed) -> Self {
        Self {
            prng: Mutex::new(seed.prng()),
        }
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        locked(&self.prng).next_u64()
    }
}

/// Why a wait ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Nothing is left to step, and no timer is set: the answer can never come.
    Idle,
    /// The step budget ran out.
    Livelock,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "nothing is left to run and the answer did not come",
            Self::Livelock => "the step budget ran out before the answer came",
        })
    }
}

impl std::error::Error for Stuck {}

/// A simulated environment with the means to drive it. It has a process of its own, whose environment is
/// [`SimEnv::env`], and can have more ([`SimEnv::node`]). Clones drive the same one.
#[derive(Clone, Debug)]
pub struct SimEnv {
    clock: Arc<SimClock>,
    executor: Arc<Executor>,
    life: Arc<Life>,
    queue: Arc<SimDiskQueue>,
    rng: Arc<SimRng>,
    order: Arc<Mutex<Prng>>,
    nodes: Arc<Mutex<Vec<SimNode>>>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl SimEnv {
    /// An environment at time zero.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let clock = Arc::new(SimClock::default());
        Self {
            executor: Arc::new(Executor::default()),
            life: Arc::default(),
            queue: Arc::new(SimDiskQueue::new(seed.child("queue").prng(), Arc::clone(&clock))),
            rng: Arc::new(SimRng::new(seed.child("rng"))),
            order: Arc::new(Mutex::new(seed.child("order").prng())),
            nodes: Arc::default(),
            clock,
        }
    }

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

    fn adopt(&self, node: SimNode) {
        let mut nodes = locked(&self.nodes);
        nodes.retain(|node| !node.is_dead());
        nodes.push(node);
    }

    /// Ends every process, the world's own among them: their tasks and disk jobs are dropped. Tasks that hold the
    /// world they run in would keep it in memory for ever.
    pub fn end(&self) {
        let nodes = std::mem::take(&mut *locked(&self.nodes));
        nodes.iter().for_each(SimNode::kill);
        self.life.end();
        // What was dropped may have left something behind.
        for _ in 0..2 {
            self.executor.clear();
            self.queue.clear();
        }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The disk threads.
    #[must_use]
    pub fn queue(&self) -> &SimDiskQueue {
        &self.queue
    }

    /// The tasks.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Runs one disk job or polls one task; false where nothing can move without time.
    pub fn step(&self) -> bool {
        let queues = self.busy_queues();
        let (tasks, jobs) = (self.executor.has_ready(), !queues.is_empty());
        let task_first = match (tasks, jobs) {
            (true, true) => locked(&self.order).chance(50),
            (tasks, _) => tasks,
        };
        if task_first {
            let pick = locked(&self.order).next_u64();
            self.executor.step(pick)
        } else {
            let pick = match queues.len() {
                0 | 1 => 0,
                count => locked(&self.order).index(count),
            };
            queues.get(pick).is_some_and(|queue| queue.step())
        }
    }

    /// The disk queues with a job that can run now.
    fn busy_queues(&self) -> Vec<Arc<SimDiskQueue>> {
        let nodes = locked(&self.nodes);
        let running = nodes.iter().filter(|node| node.runs()).map(SimNode::shared_queue);
        std::iter::once(&self.queue)
            .chain(running)
            .filter(|queue| queue.has_jobs())
            .map(Arc::clone)
            .collect()
    }

    /// Steps until nothing can move without time; returns how many steps that took.
    ///
    /// # Panics
    /// Where the step budget runs out.
    pub fn run_until_idle(&self) -> u64 {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < MAX_STEPS, "the subject never comes to rest");
        }
        steps
    }

    /// Lets time pass, timer by timer, running everything that becomes ready.
    pub fn advance(&self, duration: Duration) {
        let end = self.clock.elapsed() + duration;
        self.run_until_idle();
        while self.clock.fire_next(Some(end)) {
            self.run_until_idle();
        }
        self.clock.set(end);
    }

    /// Lets time pass like [`SimEnv::advance`], and calls `look` after every step; stops early where it says so.
    pub fn advance_watched(&self, duration: Duration, mut look: impl FnMut() -> bool) {
        let end = self.clock.elapsed() + duration;
        for _ in 0..MAX_STEPS {
            if !self.step() && !self.clock.fire_next(Some(end)) {
                self.clock.set(end);
                return;
            }
            if look() {
                return;
            }
        }
    }

    /// Steps, and lets time pass where nothing else moves, until `done` answers.
    ///
    /// # Errors
    /// [`Stuck`] where the answer cannot come.
    pub fn drive<T>(&self, mut done: impl FnMut() -> Option<T>) -> Result<T, Stuck> {
        for _ in 0..MAX_STEPS {
            if let Some(answer) = done() {
                return Ok(answer);
            }
            if !self.step() && !self.clock.fire_next(None) {
                return done().ok_or(Stuck::Idle);
            }
        }
        Err(Stuck::Livelock)
    }

    /// Steps until a ticket resolves.
    ///
    /// # Errors
    /// [`Stuck`] where it cannot resolve any more.
    pub fn wait(&self, ticket: &Ticket) -> Result<Result<(), LogError>, Stuck> {
        self.drive(|| ticket.result())
    }

    /// Steps until a future is ready.
    ///
    /// # Errors
    /// [`Stuck`] where it cannot become ready any more.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, Stuck> {
        let mut future = pin!(future);
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        self.drive(|| {
            // A future that yields wakes itself, and nothing else need be left to run then.
            while woken.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(answer);
                }
            }
            None
        })
    }

    /// Makes a call that may wait for its own disk jobs: it runs on a thread of its own while this one steps.
    ///
    /// # Panics
    /// With the call's own panic, or where the call waits for something that is not left to run.
    pub fn run_blocking<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let thread = scope.spawn(move || {
                // The receiver lives until this thread ends, unless the driver panics first.
                let _ = sender.send(call());
            });
            let mut idle_since = None;
            // A call that waits for nothing ends before anything steps: what it leaves undone is then seen.
            let mut patience = Duration::from_millis(20);
            loop {
                match receiver.recv_timeout(std::mem::replace(&mut patience, Duration::from_micros(20))) {
                    Ok(answer) => return answer,
                    Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => unreachable!("the call ended without an answer"),
                    },
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                }
                if self.step() {
                    idle_since = None;
                } else {
                    blocked_check(&mut idle_since);
                }
            }
        })
    }
}

/// Ends the process where a blocked call can never return: its thread cannot be stopped, and a hang says nothing.
fn blocked_check(idle_since: &mut Option<std::time::Instant>) {
    let since = idle_since.get_or_insert_with(std::time::Instant::now);
    if since.elapsed() > BLOCKED_LIMIT {
        log::error!(target: "chronik_conformance::world", "call_blocked_for_ever limit_s={}", BLOCKED_LIMIT.as_secs());
        std::process::abort();
    }
}
