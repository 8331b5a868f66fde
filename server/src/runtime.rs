//! The production environment: async-std's reactor and executor, the system clocks, and the disk threads.
//!
//! The one place beside the listeners that names the runtime. One executor thread drives all sockets and state
//! machines; disk work runs on the threads of the queue that it is given.

use chronik_core::BoxFuture;
use chronik_core::env::{Clock, DiskQueue, Env, Rng, Spawn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs `main` to its end on this thread, with one more thread for all tasks.
pub fn block_on<T>(main: impl Future<Output = T>) -> T {
    async_global_executor::init_with_config(
        async_global_executor::GlobalExecutorConfig::default()
            .with_min_threads(1)
            .with_max_threads(1)
            .with_thread_name_fn(|| "chronik-worker".to_owned()),
    );
    async_std::task::block_on(main)
}

/// The environment of a server process, with `disk` for blocking work.
#[must_use]
pub fn environment(disk: Arc<dyn DiskQueue>) -> Env {
    Env {
        clock: clock(),
        rng: rng(),
        spawn: Arc::new(GlobalSpawn),
        disk,
    }
}

/// Blocks that are smaller than this are taken out of memory that the process has.
const KEPT_BYTES: usize = 31 << 20;

/// Has the allocator keep what is freed, for processes that free and take megabytes all the time: glibc gives such blocks
/// back to the system and gets them again, page by page, which can cost more than what is done with them. It raises its
/// thresholds to the size of a large block that it saw freed.
pub fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BYTES)));
}

/// The system's clocks, for a command that needs no environment.
#[must_use]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock {
        start: Instant::now(),
    })
}

/// Randomness, for a command that needs no environment.
#[must_use]
pub fn rng() -> Arc<dyn Rng> {
    Arc::new(SystemRng {
        state: Mutex::new(fastrand::Rng::new()),
    })
}

#[derive(Debug)]
struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async_std::task::sleep(duration))
    }
}

#[derive(Debug)]
struct SystemRng {
    state: Mutex<fastrand::Rng>,
}

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }
}

#[derive(Debug)]
struct GlobalSpawn;

impl Spawn for GlobalSpawn {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        log::trace!("event=task_started name={name}");
        // The handle detaches on drop; a panic in a task ends the process through the hook in `run`.
        drop(async_std::task::spawn(task));
    }
}
