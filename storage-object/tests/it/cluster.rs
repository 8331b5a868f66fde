//! A partition with one replica over the simulated disk, its tier, and what a client was told.
//!
//! The test plays the part of the broker: it appends, applies what is committed, proposes what the tier asks for, and
//! drops local data. Power cuts take everything but the synced bytes of the disk and the bucket.

use crate::faulty::FaultyBucket;
use bytes::Bytes;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{SimDisk, Unit};
use chronik_conformance::world::{Prng, Seed, SimEnv};
use chronik_core::fs::FileSystem;
use chronik_core::log_store::{Checkpoint, Purge, SegmentPolicy, TimeQuery};
use chronik_core::{
    Entry, EntryKind, GroupId, GroupLog, LogError, LogId, LogIndex, LogReader, LogStore, Offset, Term, Ticket,
};
use chronik_storage_object::bucket::{Bucket, RetryPolicy, Retrying};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::{Fence, Publisher, read_manifest};
use chronik_storage_object::state::Applied;
use chronik_storage_object::upload::{UploadOptions, next_work};
use chronik_storage_object::{
    ColdReader, Collector, PartitionKey, TierCommand, TierMetrics, TierState, TierView, TieredReader,
    Uploader,
};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) const PARTITION: PartitionKey = PartitionKey {
    topic_id: 0x77,
    partition: 1,
};
const GROUP: GroupId = GroupId(3);
const POLICY: SegmentPolicy = SegmentPolicy { segment_bytes: 1500 };
const DIR: &str = "/node";
pub(crate) const GRACE_MS: i64 = 60_000;

/// What the flat model knows of a record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) term: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) payload: Bytes,
}

pub(crate) struct Cluster {
    pub(crate) sim: SimEnv,
    disk: SimDisk,
    store: MemStore,
    log: GroupLog,
    pub(crate) bucket: FaultyBucket,
    pub(crate) retrying: Arc<dyn Bucket>,
    pub(crate) uploader: Arc<Uploader>,
    collector: Arc<Collector>,
    pub(crate) metrics: Arc<TierMetrics>,
    pub(crate) view: Arc<TierView>,
    pub(crate) reader: Arc<TieredReader>,
    pub(crate) state: TierState,
    applied: LogId,
    pub(crate) log_start: Offset,
    pub(crate) term: u64,
    pub(crate) publisher: Arc<async_lock::Mutex<Publisher>>,
    /// Every batch that was ever acknowledged.
    pub(crate) flat: Vec<Known>,
    seed: Seed,
    starts: u64,
}

/// The commands that background work asks the leader to propose.
pub(crate) type Inbox = Arc<Mutex<Vec<TierCommand>>>;

fn ends(ticket: Result<Ticket, LogError>, sim: &SimEnv) {
    sim.wait(&ticket.unwrap()).unwrap().unwrap();
}

impl Cluster {
    pub(crate) fn new(seed: Seed) -> Self {
        let disk = SimDisk::new(seed.child("disk"));
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let sim = SimEnv::new(seed.child("world"));
        let bucket = FaultyBucket::new(&sim, seed.child("bucket").prng());
        Self::start(seed, disk, sim, bucket, Vec::new(), 0)
    }

    fn start(
        seed: Seed,
        disk: SimDisk,
        sim: SimEnv,
        bucket: FaultyBucket,
        flat: Vec<Known>,
        starts: u64,
    ) -> Self {
        let env = sim.env();
        let store = MemStore::open(&disk, Path::new(DIR), env.clone(), MemOptions::default()).unwrap();
        let log = store.open_group(GROUP, POLICY).unwrap();
        let metrics = Arc::new(TierMetrics::default());
        let retrying: Arc<dyn Bucket> = Arc::new(Retrying::new(
            Arc::new(bucket.clone()),
            env.clone(),
            RetryPolicy::default(),
            Arc::clone(&metrics),
        ));
        let options = UploadOptions {
            single_put_bytes_max: 1200,
            part_bytes: 500,
            read_bytes: 300,
            ..UploadOptions::default()
        };
        let uploader = Uploader::new(Arc::clone(&retrying), env.clone(), options, Arc::clone(&metrics));
        let collector = Collector::new(Arc::clone(&retrying), env.clone(), GRACE_MS, Arc::clone(&metrics));
        let disk_cache = Arc::new(DiskCache::none());
        let cold = ColdReader::new(
            Arc::clone(&retrying),
            env.clone(),
            ColdOptions {
                memory_bytes: 8 << 20,
                ..ColdOptions::default()
            },
            disk_cache,
            Arc::clone(&metrics),
        );
        let view = Arc::new(TierView::default());
        let hot = Arc::clone(&log.reader);
        let reader = TieredReader::new(hot, cold, PARTITION, Arc::clone(&view));
        let publisher = Publisher::new(Arc::clone(&retrying), env, PARTITION, Fence::new(1, Term(1), 1));
        let mut cluster = Self {
            sim,
            disk,
            store,
            log,
            bucket,
            retrying,
            uploader: Arc::new(uploader),
            collector: Arc::new(collector),
            metrics,
            view,
            reader: Arc::new(reader),
            state: TierState::default(),
            applied: LogId::default(),
            log_start: Offset(0),
            term: 1,
            publisher: Arc::new(async_lock::Mutex::new(publisher)),
            flat,
            seed,
            starts,
        };
        cluster.recover();
        cluster
    }

    /// Takes the newest checkpoint, replays what is behind it, and leads in a new term.
    fn recover(&mut self) {
        let state = self.log.reader.state();
        if let Some(checkpoint) = self.log.reader.checkpoint(state.last.index).unwrap() {
            let (start, tier) = checkpoint.data.split_at(8);
            self.log_start = Offset(i64::from_le_bytes(start.try_into().unwrap()));
            self.state = TierState::decode(&Bytes::copy_from_slice(tier)).unwrap();
            self.applied = checkpoint.at;
            self.view.set(self.state.clone());
        }
        self.apply();
        self.lead(self.term.max(state.last.term.0) + 1);
    }

    /// Begins a term.
    pub(crate) fn lead(&mut self, term: u64) {
        self.term = term;
        let fence = Fence::new(1, Term(term), 1);
        let publisher = Publisher::new(Arc::clone(&self.retrying), self.sim.env(), PARTITION, fence);
        self.publisher = Arc::new(async_lock::Mutex::new(publisher));
        self.append(EntryKind::Blank, 0, -1, Bytes::new());
    }

    fn append(&mut self, kind: EntryKind, records: u32, timestamp_ms: i64, payload: Bytes) -> Entry {
        let state = self.log.reader.state();
        let entry = Entry {
            id: LogId::new(self.term, state.last.index.next().0),
            kind,
            base_offset: state.offset_end,
            record_count: records,
            max_timestamp_ms: timestamp_ms,
            payload,
        };
        let ticket = self.log.writer.append(std::slice::from_ref(&entry));
        ends(ticket, &self.sim);
        self.apply();
        entry
    }

    /// Appends a batch; it is acknowledged when this returns.
    pub(crate) fn produce(&mut self, records: u32, timestamp_ms: i64, payload: Bytes) {
        let entry = self.append(EntryKind::Data, records, timestamp_ms, payload);
        self.flat.push(Known {
            base: entry.base_offset.0,
            end: entry.end_offset().0,
            term: self.term,
            timestamp_ms,
            payload: entry.payload,
        });
    }

    pub(crate) fn propose(&mut self, command: &TierCommand) {
        self.append(EntryKind::Command, 0, -1, command.encode());
    }

    pub(crate) fn roll(&mut self) {
        self.log.writer.roll(POLICY, true).unwrap();
    }

    /// Moves the log start: the command that retention proposes.
    pub(crate) fn advance_log_start(&mut self, to: Offset) {
        let mut payload = vec![0xff];
        payload.extend_from_slice(&to.0.to_le_bytes());
        self.append(EntryKind::Command, 0, -1, payload.into());
    }

    /// Applies all that is in the log: with one replica, what is durable is committed.
    fn apply(&mut self) {
        loop {
            let range = self.applied.index.next()..LogIndex(u64::MAX);
            let read = self.log.reader.entries(range, 4096).unwrap();
            let entries = self.sim.block_on(read.get()).unwrap().unwrap();
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                self.applied = entry.id;
                if entry.kind != EntryKind::Command {
                    continue;
                }
                if let Some(to) = entry.payload.strip_prefix(&[0xff]) {
                    let to = Offset(i64::from_le_bytes(to.try_into().unwrap()));
                    self.log_start = self.log_start.max(to);
                    self.state.remove_below(self.log_start);
                    self.purge(self.log_start);
                } else {
                    let command = TierCommand::decode(&entry.payload).unwrap();
                    if let Applied::DropLocal(to) = self.state.apply(&command) {
                        self.purge(to);
                    }
                    self.state.remove_below(self.log_start);
                }
                self.view.set(self.state.clone());
            }
        }
    }

    pub(crate) fn checkpoint(&mut self) {
        let mut data = self.log_start.0.to_le_bytes().to_vec();
        data.extend_from_slice(&self.state.encode());
        let checkpoint = Checkpoint {
            at: self.applied,
            next_offset: self.log.reader.state().offset_end,
            data: data.into(),
            consensus: Bytes::new(),
        };
        ends(self.log.writer.save_checkpoint(checkpoint), &self.sim);
    }

    /// Drops local data below an offset, as far as checkpoints go.
    fn purge(&mut self, to: Offset) {
        let state = self.log.reader.state();
        if to <= state.offset_start || self.applied.index != state.last.index {
            return;
        }
        self.checkpoint();
        let purge = Purge {
            through: self.applied,
            offset_start: to.max(state.offset_start),
        };
        ends(self.log.writer.purge(purge), &self.sim);
    }

    /// Uploads the next segment in the background; the command arrives in the inbox.
    pub(crate) fn start_upload(&self, inbox: &Inbox) -> bool {
        let committed = self.log.reader.state().last.index;
        let Some(work) = next_work(
            &self.log.reader.segments(),
            &self.state,
            committed,
            self.log_start,
        ) else {
            return false;
        };
        let (uploader, reader) = (Arc::clone(&self.uploader), Arc::clone(&self.log.reader));
        let (state, inbox) = (self.state.clone(), Arc::clone(inbox));
        let task = async move {
            // Whatever fails is tried again by the next round.
            if let Ok(segment) = uploader.upload(PARTITION, &reader, &state, &work).await {
                inbox.lock().unwrap().push(TierCommand::Add(segment));
            }
        };
        self.sim.env().spawn.spawn("upload", Box::pin(task));
        true
    }

    /// Publishes, and collects garbage, in the background.
    pub(crate) fn start_upkeep(&self, inbox: &Inbox) {
        let (publisher, collector) = (Arc::clone(&self.publisher), Arc::clone(&self.collector));
        let (state, inbox) = (self.state.clone(), Arc::clone(inbox));
        let task = async move {
            let mut publisher = publisher.lock().await;
            if let Ok(Some(command)) = publisher.publish(&state).await {
                inbox.lock().unwrap().push(command);
            }
            if let Ok(Some(command)) = collector.collect(PARTITION, &state, &mut publisher).await {
                inbox.lock().unwrap().push(command);
            }
        };
        self.sim.env().spawn.spawn("upkeep", Box::pin(task));
    }

    /// Cuts the power and starts again; what ran in the background is gone, what it asked for as well.
    pub(crate) fn crash(self, prng: &mut Prng) -> Self {
        let disk = self.disk.crash(prng, Unit::Sector);
        let (seed, starts) = (self.seed, self.starts + 1);
        let sim = SimEnv::new(seed.child("world").nth(starts));
        let elapsed = self.sim.clock().elapsed();
        let bucket = self.bucket.in_world(&sim);
        let flat = self.flat.clone();
        drop(self);
        sim.advance(elapsed);
        Self::start(seed, disk, sim, bucket, flat, starts)
    }

    /// The batches that a consumer can still ask for.
    pub(crate) fn visible(&self) -> &[Known] {
        let at = self.flat.partition_point(|known| known.end <= self.log_start.0);
        &self.flat[at..]
    }

    pub(crate) fn end(&self) -> Offset {
        self.log.reader.state().offset_end
    }

    pub(crate) fn hot_start(&self) -> Offset {
        self.log.reader.state().offset_start
    }

    /// Reads from an offset as a fetch does.
    pub(crate) fn read(&self, from: Offset, max_bytes: u64) -> Result<Vec<Entry>, LogError> {
        let read = self.reader.read_offsets(from..self.end(), max_bytes)?;
        self.sim.block_on(read.get()).unwrap()
    }

    /// Reads everything, and compares it byte by byte.
    pub(crate) fn check_all(&self, max_bytes: u64) {
        let expected = self.visible();
        let mut next = self.log_start;
        let mut seen = 0;
        while next < self.end() {
            let entries = self.read(next, max_bytes).unwrap_or_else(|error| {
                panic!(
                    "offset {next} of {}..{}: {error}; {:?}",
                    self.log_start,
                    self.end(),
                    self.state.offsets()
                )
            });
            assert!(!entries.is_empty(), "no entry at {next}");
            for entry in entries {
                let known = &expected[seen];
                assert_eq!(entry.base_offset.0, known.base, "neither a gap nor a repetition");
                assert_eq!(entry.payload, known.payload, "byte for byte");
                assert_eq!(
                    (entry.id.term.0, entry.max_timestamp_ms),
                    (known.term, known.timestamp_ms)
                );
                seen += 1;
                next = entry.end_offset();
            }
        }
        assert_eq!(seen, expected.len(), "nothing is lost");
    }

    /// The entry that a time leads to, by the flat model. Records below the log start are not looked at by the caller.
    pub(crate) fn check_time(&self, query: TimeQuery) {
        let found = self.reader.find_time(query, self.end()).unwrap();
        let found = self.sim.block_on(found.get()).unwrap().unwrap();
        let start = self.reader.state().offset_start.0;
        let mut readable = self.flat.iter().filter(|known| known.end > start);
        let expected = match query {
            TimeQuery::AtOrAfter(time) => readable.find(|known| known.timestamp_ms >= time),
            TimeQuery::Maximum => readable.fold(None, |best: Option<&Known>, known| match best {
                Some(best) if best.timestamp_ms >= known.timestamp_ms => Some(best),
                _ => Some(known),
            }),
        };
        assert_eq!(
            found.map(|meta| meta.base_offset.0),
            expected.map(|known| known.base),
            "{query:?}"
        );
    }

    pub(crate) fn check_terms(&self) {
        for term in 0..=self.term {
            let found = self.reader.end_of_term(Term(term));
            let start = self.reader.state().offset_start.0;
            let known = self
                .flat
                .iter()
                .rfind(|known| known.term <= term && known.end > start);
            // The local log may know more of what was dropped than the model looks at.
            if let Some(known) = known {
                assert_eq!(found, Some((Term(known.term), Offset(known.end))), "term {term}");
            }
        }
    }

    /// Nothing that the state or the published manifest refers to is missing in the bucket.
    pub(crate) fn check_references(&self) {
        let published = self
            .sim
            .block_on(read_manifest(&self.bucket.inner, PARTITION))
            .unwrap();
        let published = published.unwrap().map(|manifest| manifest.state);
        for state in published.iter().chain([&self.state]) {
            for segment in state.segments() {
                let key = segment.key(PARTITION).to_string();
                let want = chronik_storage_object::bucket::Want::Meta;
                let found = self.sim.block_on(self.bucket.inner.get(&key, want)).unwrap();
                let found = found.unwrap_or_else(|error| panic!("a dangling reference: {error}"));
                assert_eq!(found.meta.size_bytes, segment.object_bytes);
            }
        }
    }

    /// Uploads until nothing is left to upload.
    pub(crate) fn upload_all(&mut self) {
        let inbox = Inbox::default();
        for _ in 0..1000 {
            if !self.start_upload(&inbox) {
                return;
            }
            self.settle();
            let commands = std::mem::take(&mut *inbox.lock().unwrap());
            commands.iter().for_each(|command| self.propose(command));
        }
        panic!("uploads never end");
    }

    /// Publishes and collects once.
    pub(crate) fn upkeep(&mut self) {
        let inbox = Inbox::default();
        self.start_upkeep(&inbox);
        self.settle();
        let commands = std::mem::take(&mut *inbox.lock().unwrap());
        commands.iter().for_each(|command| self.propose(command));
    }

    /// Lets everything in the background come to its end.
    pub(crate) fn settle(&self) {
        self.sim.run_until_idle();
        while self.sim.clock().fire_next(None) {
            self.sim.run_until_idle();
        }
    }

    /// The store, so that it lives as long as its group.
    pub(crate) fn health(&self) -> bool {
        self.store.health().get() == chronik_core::log_store::StoreHealth::Working
    }
}
