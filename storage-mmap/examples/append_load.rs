//! Appends to a store on the real file system and says how fast that was and what it cost.
//!
//! `append_load DIR GROUPS BATCH_BYTES TOTAL_MIB IN_FLIGHT [retain MIB]`: each append is one entry; up to IN_FLIGHT
//! are not durable at any time; with a last argument, data beyond that many MiB a group is purged.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use chronik_core::env::{Clock, Rng, Spawn};
use chronik_core::log_store::{GroupLog, LogStore, Purge, SegmentPolicy};
use chronik_core::{BoxFuture, Entry, EntryKind, Env, GroupId, LogId, Offset, Ticket};
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Plain {
    started: Instant,
    numbers: AtomicU64,
}

impl Clock for Plain {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        std::thread::sleep(duration);
        Box::pin(async {})
    }
}

impl Rng for Plain {
    fn next_u64(&self) -> u64 {
        let next = self.numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        (next ^ (next >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

impl Spawn for Plain {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let run = move || futures_lite::future::block_on(task);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .unwrap();
    }
}

struct Args {
    dir: String,
    groups: u64,
    batch_bytes: usize,
    total: u64,
    in_flight: usize,
    retain: Option<u64>,
}

fn args() -> Args {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| words[place].parse::<u64>().unwrap();
    Args {
        dir: words[0].clone(),
        groups: number(1),
        batch_bytes: number(2) as usize,
        total: number(3) << 20,
        in_flight: number(4) as usize,
        retain: (words.len() > 5).then(|| number(5) << 20),
    }
}

/// User and system seconds of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn append(log: &mut GroupLog, payload: &Bytes) -> Ticket {
    let state = log.reader.state();
    let entry = Entry {
        id: LogId::new(1, state.last.index.0 + 1),
        kind: EntryKind::Data,
        base_offset: state.offset_end,
        record_count: 1,
        max_timestamp_ms: 1,
        payload: payload.clone(),
    };
    log.writer.append(&[entry]).unwrap()
}

fn purge(log: &mut GroupLog, keep: u64) {
    let state = log.reader.state();
    if state.size_bytes <= keep {
        return;
    }
    let first = log.reader.segments().into_iter().find(|segment| segment.sealed);
    if let Some(segment) = first {
        let purge = Purge {
            through: segment.last,
            offset_start: Offset(segment.offsets.end.0.max(state.offset_start.0)),
        };
        drop(log.writer.purge(purge).unwrap());
    }
}

fn env() -> Env {
    let shared = Arc::new(Plain {
        started: Instant::now(),
        numbers: AtomicU64::new(u64::from(std::process::id())),
    });
    Env {
        clock: shared.clone(),
        rng: shared.clone(),
        spawn: shared,
        disk: Arc::new(DiskThreads::start().unwrap()),
    }
}

fn main() {
    let args = args();
    let env = env();
    let opening = Instant::now();
    let store = MmapStore::open(StoreOptions::new(&args.dir), Arc::new(RealFs), env).unwrap();
    println!(
        "open_ms={:.1} rss_mib={}",
        opening.elapsed().as_secs_f64() * 1e3,
        rss_mib()
    );
    let policy = SegmentPolicy {
        segment_bytes: if args.retain.is_some() { 64 << 20 } else { 1 << 30 },
    };
    let mut logs: Vec<GroupLog> = (0..args.groups)
        .map(|id| store.open_group(GroupId(id), policy).unwrap())
        .collect();
    println!(
        "opened groups={} ms={:.1} rss_mib={}",
        args.groups,
        opening.elapsed().as_secs_f64() * 1e3,
        rss_mib()
    );
    let payload = Bytes::from(vec![0x5a; args.batch_bytes]);
    let count = args.total / args.batch_bytes as u64;
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut waiting: VecDeque<(Instant, Ticket)> = VecDeque::new();
    let mut times = Vec::new();
    let mut settle = |waiting: &mut VecDeque<(Instant, Ticket)>| {
        let (since, ticket) = waiting.pop_front().unwrap();
        ticket.wait().unwrap();
        times.push(since.elapsed().as_secs_f64() * 1e3);
    };
    for number in 0..count {
        let place = (number % args.groups) as usize;
        if waiting.len() >= args.in_flight {
            settle(&mut waiting);
        }
        let ticket = append(&mut logs[place], &payload);
        waiting.push_back((Instant::now(), ticket));
        if let Some(keep) = args.retain
            && number % 64 == 0
        {
            purge(&mut logs[place], keep);
        }
    }
    while !waiting.is_empty() {
        settle(&mut waiting);
    }
    let seconds = started.elapsed().as_secs_f64();
    let gb = args.total as f64 / 1e9;
    times.sort_by(f64::total_cmp);
    let at = |part: f64| {
        times
            .get((times.len() as f64 * part) as usize)
            .copied()
            .unwrap_or(0.0)
    };
    println!(
        "mb_per_s={:.0} cpu_s_per_gb={:.3} p50_ms={:.2} p99_ms={:.2} p999_ms={:.2} rss_mib={}",
        args.total as f64 / 1e6 / seconds,
        (cpu_seconds() - cpu) / gb,
        at(0.5),
        at(0.99),
        at(0.999),
        rss_mib()
    );
    drop(logs);
    store.close().unwrap();
}
