//! raft-rs and async-raft behind its guards side by side: one group of three replicas in this process, each on a store of its
//! own whose journal is synced, with messages over channels.
//!
//! Each writer keeps one proposal of 16 bytes open. Run it several times and compare ratios: the disk decides the rest.

mod channels;

use bytes::BytesMut;
use channels::Channels;
use chronik_consensus::async_raft::AsyncRaftOptions;
use chronik_consensus::raft_rs::RaftOptions;
use chronik_consensus::{AsyncRaftEngine, RaftRsEngine};
use chronik_core::consensus::{Consensus, ConsensusGroup, GroupSpec, Member, Membership, Role, Stamper};
use chronik_core::log_store::{LogStore, SegmentPolicy};
use chronik_core::{EntryKind, Proposal};
use chronik_core::{Env, GroupId, NodeId, Offset, Outcome, ReplicaId, Term};
use chronik_server::runtime;
use chronik_storage_mmap::{DiskThreads, MmapStore, RealFs, StoreOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GROUP: GroupId = GroupId(1);
const PAYLOAD_BYTES: usize = 16;

#[derive(Debug)]
struct NoStamp;

impl Stamper for NoStamp {
    fn stamp(&self, _: &mut BytesMut, _: Offset, _: Term) {}
}

fn member(node: u64) -> Member {
    Member {
        replica: ReplicaId(node),
        node: NodeId(node),
    }
}

/// Three nodes with a group that is led.
struct Trio {
    env: Env,
    engines: Vec<Arc<dyn Consensus>>,
    leader: Arc<dyn ConsensusGroup>,
    dir: PathBuf,
}

impl Trio {
    fn start(backend: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("engines-{backend}"));
        drop(std::fs::remove_dir_all(&dir));
        let channels = Channels::default();
        let (mut engines, mut groups) = (Vec::new(), Vec::new());
        let mut first = None;
        for node in 1..=3 {
            let disk = DiskThreads::start().expect("the system gives threads");
            let env = runtime::environment(Arc::new(disk));
            let options = StoreOptions::new(dir.join(node.to_string()));
            let store = MmapStore::open(options, Arc::new(RealFs), env.clone()).expect("a new store");
            let (transport, inbound) = channels.bind(NodeId(node), &env);
            let engine: Arc<dyn Consensus> = if backend == "raft-rs" {
                let options = RaftOptions::new(NodeId(node));
                Arc::new(RaftRsEngine::new(options, env.clone(), transport, inbound).expect("options"))
            } else {
                let options = AsyncRaftOptions::new(NodeId(node));
                Arc::new(AsyncRaftEngine::new(options, env.clone(), transport, inbound).expect("options"))
            };
            let policy = SegmentPolicy {
                segment_bytes: 64 << 20,
            };
            let spec = GroupSpec {
                group: GROUP,
                replica: member(node),
                founding: Membership {
                    voters: (1..=3).map(member).collect(),
                    ..Membership::default()
                },
                log: store.open_group(GROUP, policy).expect("a new group"),
                stamper: Arc::new(NoStamp),
            };
            groups.push(futures_lite::future::block_on(engine.open_group(spec)).expect("a new group"));
            engines.push(engine);
            first.get_or_insert(env);
        }
        let leader = wait_for_leader(&groups);
        Self {
            env: first.expect("there are three"),
            engines,
            leader,
            dir,
        }
    }

    /// How long `writers` take for `proposals` together.
    fn write(&self, writers: u64, proposals: u64) -> Duration {
        let left = Arc::new(AtomicU64::new(proposals));
        let (ended, ends) = async_channel::unbounded();
        let start = Instant::now();
        for _ in 0..writers {
            let (leader, left, ended) = (Arc::clone(&self.leader), Arc::clone(&left), ended.clone());
            let writer = async move {
                let more = |left: u64| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                    .is_ok()
                {
                    propose(leader.as_ref()).await;
                }
                ended.send(()).await.unwrap_or_default();
            };
            self.env.spawn.spawn("writer", Box::pin(writer));
        }
        for _ in 0..writers {
            ends.recv_blocking().expect("every writer comes to its end");
        }
        start.elapsed()
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for engine in &self.engines {
            futures_lite::future::block_on(engine.close());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn wait_for_leader(groups: &[Arc<dyn ConsensusGroup>]) -> Arc<dyn ConsensusGroup> {
    loop {
        let leads = |group: &&Arc<dyn ConsensusGroup>| {
            let progress = group.watch().get();
            let own = progress.own_term_start;
            progress.role == Role::Leader && own.is_some_and(|own| own <= progress.commit)
        };
        if let Some(leader) = groups.iter().find(leads) {
            return Arc::clone(leader);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn propose(leader: &dyn ConsensusGroup) {
    let proposal = Proposal {
        kind: EntryKind::Data,
        payload: BytesMut::zeroed(PAYLOAD_BYTES),
        record_count: 1,
        max_timestamp_ms: 1,
    };
    let handle = leader.propose(proposal).expect("the leader stays");
    let outcome = handle.outcome().await;
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

fn engines(c: &mut Criterion) {
    runtime::block_on(async {});
    let mut group = c.benchmark_group("one_group_of_three");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for writers in [1, 16, 256] {
        for backend in ["raft-rs", "async-raft"] {
            let trio = Trio::start(backend);
            group.bench_function(format!("{backend}/{writers}"), |b| {
                b.iter_custom(|proposals| trio.write(writers, proposals));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engines);
criterion_main!(benches);
