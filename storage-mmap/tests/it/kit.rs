//! What the tests share: stores on a simulated disk and on the real one, and entries to put into them.

use bytes::Bytes;
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_core::env::{Clock, Rng, Spawn};
use chronik_core::fs::FileSystem;
use chronik_core::log_store::{LogStore, Read, SegmentPolicy};
use chronik_core::{BoxFuture, Entry, EntryKind, Env, LogError, LogId, Offset, Ticket};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Small segments, so that little data makes many.
pub(crate) const POLICY: SegmentPolicy = SegmentPolicy { segment_bytes: 4096 };

/// Small files, so that little data uses many.
pub(crate) fn small(dir: &str) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.journal_file_bytes = 32 << 10;
    options.journal_files_max = 4;
    options.payload_bytes_max = 8 << 10;
    options.flush_bytes_max = 8 << 10;
    options.tail_bytes_max = 4 << 10;
    options.copy_bytes = 2 << 10;
    options.sync_bytes = 4 << 10;
    options.open_files_max = 2;
    options.maps_max = 2;
    options.pool_bytes_max = 16 << 10;
    options.shrink_step_bytes = 4 << 10;
    options.free_bytes_min = 0;
    options
}

/// A simulated machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    pub(crate) env: SimEnv,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(Seed(seed)),
            env: SimEnv::new(Seed(seed)),
        }
    }

    pub(crate) fn open(&self, options: StoreOptions) -> Result<MmapStore, LogError> {
        MmapStore::open(options, Arc::new(self.disk.clone()), self.env.env())
    }

    pub(crate) fn done(&self, ticket: &Ticket) {
        self.env.wait(ticket).unwrap().unwrap();
    }

    pub(crate) fn get<T>(&self, read: Read<T>) -> Result<T, LogError> {
        self.env.block_on(read.get()).unwrap()
    }
}

/// An entry with a payload that tells which entry it is.
pub(crate) fn entry(id: LogId, offset: i64, records: u32, bytes: usize) -> Entry {
    let mut payload = format!("{id} {offset};").into_bytes();
    payload.resize(bytes.max(payload.len()), b'.');
    Entry {
        id,
        kind: if records == 0 {
            EntryKind::Blank
        } else {
            EntryKind::Data
        },
        base_offset: Offset(offset),
        record_count: records,
        max_timestamp_ms: if records == 0 { -1 } else { 1000 + offset },
        payload: Bytes::from(payload),
    }
}

#[derive(Debug)]
struct RealEnv {
    started: Instant,
    state: AtomicU64,
}

impl Clock for RealEnv {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Rng for RealEnv {
    fn next_u64(&self) -> u64 {
        let step = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}

impl Spawn for RealEnv {
    fn spawn(&self, _name: &'static str, _task: BoxFuture<'static, ()>) {}
}

/// The production disk threads with a plain clock.
pub(crate) fn real_env() -> Env {
    // No two stores of a process get the same numbers: that is how they tell their files apart.
    static STREAMS: AtomicU64 = AtomicU64::new(77);
    let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
    let shared = Arc::new(RealEnv {
        started: Instant::now(),
        state: AtomicU64::new(u64::from(std::process::id()) << 40 | stream << 24),
    });
    Env {
        clock: shared.clone(),
        rng: shared.clone(),
        spawn: shared,
        disk: Arc::new(DiskThreads::start().unwrap()),
    }
}

/// A directory that goes with the test.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chronik-store-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A store on the real file system.
pub(crate) fn open_real(options: StoreOptions) -> Result<MmapStore, LogError> {
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    MmapStore::open(options, fs, real_env())
}

/// Closes a store whose environment is simulated.
pub(crate) fn close(machine: &Machine, store: &dyn LogStore) {
    machine.env.run_blocking(|| store.close()).unwrap();
}
