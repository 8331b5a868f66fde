//! The real world, for subjects that need it: real time, real threads, and proxies on loopback.

mod descriptors;
mod proxy;
mod timer;

pub use descriptors::open_descriptors;
pub use proxy::Proxy;

use super::{Prng, Seed, locked};
use chronik_core::BoxFuture;
use chronik_core::env::{Clock, DiskLane, DiskQueue, Env, Rng, Spawn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use timer::Timer;

/// An environment of real time in which every task has a thread.
#[derive(Clone, Debug)]
pub struct RealEnv {
    clock: Arc<RealClock>,
    rng: Arc<RealRng>,
}

#[derive(Debug)]
struct RealClock {
    start: Instant,
    timer: Timer,
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.timer.sleep(Instant::now() + duration)
    }
}

#[derive(Debug)]
struct RealRng {
    prng: Mutex<Prng>,
}

impl Rng for RealRng {
    fn next_u64(&self) -> u64 {
        locked(&self.prng).next_u64()
    }
}

#[derive(Debug)]
struct Threads;

impl Spawn for Threads {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            block_on(task, None);
        });
        assert!(spawned.is_ok(), "the system has threads: {spawned:?}");
    }
}

impl DiskQueue for Threads {
    fn submit(&self, _: DiskLane, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

impl RealEnv {
    /// An environment whose random numbers follow `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            clock: Arc::new(RealClock {
                start: Instant::now(),
                timer: Timer::start(),
            }),
            rng: Arc::new(RealRng {
                prng: Mutex::new(seed.prng()),
            }),
        }
    }

    /// What the subject takes.
    #[must_use]
    pub fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as Arc<_>,
            rng: Arc::clone(&self.rng) as Arc<_>,
            spawn: Arc::new(Threads),
            disk: Arc::new(Threads),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread; `None` where it is not ready within `limit`.
pub(crate) fn block_on<T>(future: impl Future<Output = T>, limit: Option<Duration>) -> Option<T> {
    let mut future = pin!(future);
    let start = Instant::now();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        match limit.map(|limit| limit.saturating_sub(start.elapsed())) {
            Some(Duration::ZERO) => return None,
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}
