//! The store on a real disk: appends until they are durable, and opening what was written.
//!
//! `cargo bench -p chronik-storage-mmap --bench store`; `CHRONIK_BENCH_DIR` names a directory on the file system that is
//! to be measured (the default is the one for temporary files, which is often in memory).

use bytes::Bytes;
use chronik_core::env::{Clock, Rng, Spawn};
use chronik_core::log_store::{GroupLog, LogStore, SegmentPolicy};
use chronik_core::{BoxFuture, Entry, EntryKind, Env, GroupId, LogId, Ticket};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const POLICY: SegmentPolicy = SegmentPolicy {
    segment_bytes: 64 << 20,
};
/// Appends that may wait for the disk at once.
const IN_FLIGHT: usize = 16;

#[derive(Debug)]
struct BenchEnv {
    started: Instant,
    numbers: AtomicU64,
}

impl Clock for BenchEnv {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    // Nothing is spawned here, so nobody waits.
    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Rng for BenchEnv {
    fn next_u64(&self) -> u64 {
        fastrand::Rng::with_seed(self.numbers.fetch_add(1, Ordering::Relaxed)).u64(..)
    }
}

impl Spawn for BenchEnv {
    fn spawn(&self, _name: &'static str, _task: BoxFuture<'static, ()>) {}
}

fn env() -> Env {
    let shared = Arc::new(BenchEnv {
        started: Instant::now(),
        numbers: AtomicU64::new(fastrand::u64(..)),
    });
    Env {
        clock: shared.clone(),
        rng: shared.clone(),
        spawn: shared,
        disk: Arc::new(DiskThreads::start().expect("threads")),
    }
}

fn open(dir: &Path) -> MmapStore {
    MmapStore::open(StoreOptions::new(dir), Arc::new(RealFs), env()).expect("the store opens")
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let root = std::env::var_os("CHRONIK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self(root.join(format!("chronik-bench-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn append(log: &mut GroupLog, payload: &Bytes) -> Ticket {
    let state = log.reader.state();
    let entry = Entry {
        id: LogId::new(1, state.last.index.0 + 1),
        kind: EntryKind::Data,
        base_offset: state.offset_end,
        record_count: 1,
        max_timestamp_ms: 0,
        payload: payload.clone(),
    };
    log.writer.append(&[entry]).expect("there is space")
}

/// Appends to the groups in turn, and waits for the oldest while as many as may be are under way.
fn write(logs: &mut [GroupLog], payload: &Bytes, count: u64) {
    let mut waiting = std::collections::VecDeque::new();
    let groups = logs.len() as u64;
    for number in 0..count {
        if waiting.len() == IN_FLIGHT {
            wait(waiting.pop_front());
        }
        waiting.push_back(append(&mut logs[(number % groups) as usize], payload));
    }
    waiting.into_iter().for_each(|ticket| wait(Some(ticket)));
}

fn wait(ticket: Option<Ticket>) {
    if let Some(ticket) = ticket {
        futures_lite::future::block_on(ticket).expect("it is durable");
    }
}

fn appends(c: &mut Criterion) {
    let mut group = c.benchmark_group("append_until_durable");
    group.sample_size(10);
    for (groups, bytes) in [
        (1, 100),
        (1, 1 << 10),
        (1, 64 << 10),
        (1, 1 << 20),
        (100, 1 << 10),
        (100, 64 << 10),
    ] {
        let scratch = Scratch::new("append");
        let store = open(&scratch.0);
        let mut logs: Vec<GroupLog> = (1..=groups)
            .map(|id| store.open_group(GroupId(id), POLICY).expect("a group"))
            .collect();
        let payload = Bytes::from(vec![b'x'; bytes]);
        let count = (64_u64 << 20).div_ceil(bytes as u64).min(2_000);
        group.throughput(Throughput::Bytes(count * bytes as u64));
        group.bench_function(BenchmarkId::new(format!("{groups} groups"), bytes), |b| {
            b.iter(|| write(&mut logs, &payload, count));
        });
        drop(logs);
        store.close().expect("it closes");
    }
    group.finish();
}

/// Opening after a close; what a kill leaves is replayed from the journal, which is bounded.
fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    for (groups, mib) in [(1, 64_u64), (1, 1024), (1000, 64)] {
        let scratch = Scratch::new("open");
        let store = open(&scratch.0);
        let mut logs: Vec<GroupLog> = (1..=groups)
            .map(|id| store.open_group(GroupId(id), POLICY).expect("a group"))
            .collect();
        let payload = Bytes::from(vec![b'x'; 64 << 10]);
        write(&mut logs, &payload, mib * 16);
        drop(logs);
        store.close().expect("it closes");
        drop(store);
        group.bench_function(
            BenchmarkId::new(format!("{groups} groups"), format!("{mib} MiB")),
            |b| {
                b.iter(|| {
                    let store = open(&scratch.0);
                    assert_eq!(store.groups().len() as u64, groups);
                    store.close().expect("it closes");
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, appends, recovery);
criterion_main!(benches);
