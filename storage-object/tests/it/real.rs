//! The real world: clocks, threads, temporary directories, and the S3 server of the environment.

use chronik_core::BoxFuture;
use chronik_core::env::{Clock, DiskLane, DiskQueue, Env, Rng, Spawn};
use chronik_storage_object::bucket::{Credentials, S3Options};
use event_listener::{Event, Listener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug)]
struct Real {
    start: Instant,
    random: AtomicU64,
}

impl Clock for Real {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let over = Arc::new(Event::new());
        let listener = over.listen();
        std::thread::spawn(move || {
            // A thread that nobody notifies waits for the time alone.
            let never = Event::<()>::new();
            never.listen().wait_timeout(duration);
            over.notify(usize::MAX);
        });
        Box::pin(listener)
    }
}

impl Rng for Real {
    fn next_u64(&self) -> u64 {
        // SplitMix64 over a counter.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Spawn for Real {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        std::thread::spawn(move || futures_lite::future::block_on(task));
    }
}

impl DiskQueue for Real {
    fn submit(&self, _: DiskLane, job: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(job);
    }
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub(crate) fn real_env() -> Env {
    let real = Arc::new(Real {
        start: Instant::now(),
        random: AtomicU64::new(nanos()),
    });
    Env {
        clock: Arc::clone(&real) as Arc<_>,
        rng: Arc::clone(&real) as Arc<_>,
        spawn: Arc::clone(&real) as Arc<_>,
        disk: real,
    }
}

pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let name = format!("chronik-tier-{}-{:x}", std::process::id(), nanos());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The S3 server that `CHRONIK_TEST_S3` names; none where it is not set.
pub(crate) fn s3_options(folder: &str) -> Option<S3Options> {
    let endpoint = std::env::var("CHRONIK_TEST_S3").ok()?;
    Some(S3Options {
        bucket: "chronik-test".to_owned(),
        prefix: format!("{folder}-{:x}", nanos()),
        endpoint: Some(endpoint),
        region: "us-east-1".to_owned(),
        path_style: true,
        credentials: Credentials::Environment,
        ca_file: None,
    })
}
