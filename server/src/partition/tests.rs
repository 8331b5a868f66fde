//! Tests of the partition over the standalone engine, a log store in memory, and the stepped environment.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{DropAll, Unit};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_consensus::standalone::{StandaloneEngine, StandaloneOptions};
use chronik_core::consensus::{Member, Membership};
use chronik_core::{Entry, GroupId, NodeId, ReplicaId};

use super::*;
use crate::kafka::record::{BatchBuilder, BatchView, Codec, Records, compression::DecompressLimits};

mod engine;
mod follower;
mod log;
mod path;
mod producers;
mod retain;
mod tiered;

const GROUP: GroupId = GroupId(7);
const ME: Member = Member {
    replica: ReplicaId(70),
    node: NodeId(1),
};

/// One node with one partition, over the reference store on a simulated disk.
struct Rig {
    sim: SimEnv,
    disk: SimDisk,
    partition: Arc<Partition>,
}

impl Rig {
    fn new() -> Self {
        Self::with(PartitionConfig::DEFAULTS)
    }

    fn with(config: PartitionConfig) -> Self {
        Self::over(SimDisk::new(Seed(1)), config, MemOptions::default())
    }

    /// Opens the partition over what the disk holds.
    fn over(disk: SimDisk, config: PartitionConfig, options: MemOptions) -> Self {
        let sim = SimEnv::new(Seed(1));
        let store = MemStore::open(&disk, Path::new("/data"), sim.env(), options).expect("the store opens");
        let founding = Membership {
            voters: vec![ME],
            ..Membership::default()
        };
        let spec = PartitionSpec {
            name: "t-0".into(),
            group: GROUP,
            replica: ME,
            founding,
            config,
            tier: None,
        };
        let engine = StandaloneEngine::new(StandaloneOptions::default());
        let opened = sim.block_on(Partition::open(spec, &store, &engine, sim.env()));
        let partition = opened
            .expect("the open makes progress")
            .expect("the partition opens");
        Self { sim, disk, partition }
    }

    /// The power fails, everything that was not synced is lost, and the node starts again.
    fn crash(self) -> Self {
        self.crash_with(MemOptions::default())
    }

    fn crash_with(self, options: MemOptions) -> Self {
        let disk = self.disk.crash(&mut DropAll, Unit::Sector);
        self.sim.queue().clear();
        self.sim.executor().clear();
        Self::over(disk, (*self.partition.config()).clone(), options)
    }

    /// Polls once without letting the disk or any task move.
    fn peek<T>(&self, future: impl Future<Output = T> + Unpin) -> Option<T> {
        self.sim
            .block_on(futures_lite::future::poll_once(future))
            .expect("ready at once")
    }

    /// All entries of the log.
    fn entries(&self) -> Vec<Entry> {
        let state = self.partition.reader.state();
        let range = state.index_start()..state.last.index.next();
        let read = self.partition.reader.entries(range, u64::MAX).expect("readable");
        self.sim.block_on(read.get()).expect("ends").expect("readable")
    }

    fn produce(&self, batch: BytesMut) -> Result<ProduceOutcome, PartitionError> {
        self.produce_with(batch, Acks::All)
    }

    fn produce_with(&self, batch: BytesMut, acks: Acks) -> Result<ProduceOutcome, PartitionError> {
        let progress = self.partition.produce(batch, acks, true)?;
        self.sim.block_on(progress.outcome()).expect("the outcome comes")
    }

    fn fetch(&self, query: FetchQuery) -> Result<Fetched, PartitionError> {
        self.sim
            .block_on(self.partition.fetch(query))
            .expect("the fetch ends")
    }

    fn list(&self, query: OffsetQuery) -> FoundOffset {
        let answer = self
            .partition
            .list_offsets(query, Isolation::ReadUncommitted, None);
        self.sim
            .block_on(answer)
            .expect("the answer comes")
            .expect("the leader answers")
    }

    fn values(&self) -> Vec<Vec<u8>> {
        values(
            &self
                .fetch(from(self.partition.view().log_start.0))
                .expect("in range"),
        )
    }
}

/// A query for everything from an offset on.
fn from(offset: i64) -> FetchQuery {
    FetchQuery {
        offset,
        max_bytes: u64::MAX,
        min_one_batch: true,
        isolation: Isolation::ReadUncommitted,
        leader_epoch: None,
        last_fetched_epoch: None,
        follower_read: false,
    }
}

/// A batch of records with these values.
fn batch(values: &[&str]) -> BytesMut {
    timed_batch(Codec::None, values.iter().map(|value| (1000, *value)))
}

fn timed_batch<'a>(codec: Codec, records: impl Iterator<Item = (i64, &'a str)>) -> BytesMut {
    let mut builder = BatchBuilder::new(codec);
    records.for_each(|(time, value)| builder.push(time, Some(b"key"), Some(value.as_bytes())));
    builder.build().expect("fits")
}

/// A batch of `count` records of an idempotent producer.
fn idempotent(id: i64, epoch: i16, sequence: i32, count: i32) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, sequence);
    for index in 0..count {
        builder.push(
            1000,
            None,
            Some(format!("{id}/{epoch}/{}", i64::from(sequence) + i64::from(index)).as_bytes()),
        );
    }
    builder.build().expect("fits")
}

/// The values of all records of an answer, whose offsets must continue.
fn values(fetched: &Fetched) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut next = None;
    for slice in &fetched.records {
        for batch in crate::kafka::record::Batches::new(slice) {
            let batch = batch.expect("whole batches");
            assert_eq!(batch.crc(), batch.computed_crc(), "the client's CRC holds");
            assert!(
                next.is_none_or(|next| next == batch.base_offset()),
                "offsets continue"
            );
            next = Some(batch.last_offset() + 1);
            let mut expanded = Vec::new();
            let records = Records::open(&batch, DecompressLimits::STORED, &mut expanded).expect("readable");
            all.extend(records.map(|record| record.expect("readable").value.unwrap_or_default().to_vec()));
        }
    }
    all
}

/// The base offsets of the batches of an answer.
fn base_offsets(fetched: &Fetched) -> Vec<i64> {
    let batches = fetched
        .records
        .iter()
        .flat_map(|slice| crate::kafka::record::Batches::new(slice));
    batches
        .map(|batch| batch.expect("whole batches").base_offset())
        .collect()
}

/// The leader epoch of the batch at the front of an answer.
fn first_epoch(fetched: &Fetched) -> i32 {
    BatchView::parse(fetched.records.first().expect("a batch"))
        .expect("a batch")
        .leader_epoch()
}

/// Runs `case` with a generator whose seed is printed, and taken from `CHRONIK_TEST_SEED` if that is set.
fn seeded(case: impl Fn(&mut fastrand::Rng)) {
    let seed = std::env::var("CHRONIK_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("CHRONIK_TEST_SEED={seed}");
    case(&mut fastrand::Rng::with_seed(seed));
}
