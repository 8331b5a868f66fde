//! One replica and scripted messages: each guard, on and off, against the defect that it answers.

mod ingress;
mod leading;

use super::engine::AsyncRaftEngine;
use super::guards::Guards;
use super::options::AsyncRaftOptions;
use super::replica::Replica;
use super::wire::{Append, AppendAnswer};
use crate::membership::encode_membership;
use bytes::{Bytes, BytesMut};
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::real::RealEnv;
use chronik_conformance::world::{Seed, SimDisk};
use chronik_core::consensus::{Consensus, GroupSpec, Member, Membership, Stamper};
use chronik_core::env::{DiskLane, DiskQueue};
use chronik_core::log_store::SegmentPolicy;
use chronik_core::transport::{CallOutcome, Inbound, InboundStream, Lane, Peer, PeerState, SendError};
use chronik_core::{
    BoxFuture, Entry, EntryKind, GroupId, LogId, LogIndex, LogStore, NodeId, Offset, ReplicaId, Term,
    Transport, Watch,
};
use futures_lite::future::block_on;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const GROUP: GroupId = GroupId(1);

/// Nobody is there.
#[derive(Debug)]
struct Silence;

impl Transport for Silence {
    fn set_peers(&self, _: Vec<Peer>) {}

    fn call(&self, _: NodeId, _: Lane, _: Bytes, _: Duration) -> BoxFuture<'static, CallOutcome> {
        Box::pin(std::future::pending())
    }

    fn send(&self, _: NodeId, _: Lane, _: Bytes) -> Result<(), SendError> {
        Err(SendError::Disconnected)
    }

    fn room(&self, _: NodeId, _: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        Box::pin(std::future::pending())
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        Watch::new(BTreeMap::new())
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl InboundStream for Silence {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(std::future::pending())
    }
}

#[derive(Debug)]
struct Plain;

impl Stamper for Plain {
    fn stamp(&self, _: &mut BytesMut, _: Offset, _: Term) {}
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
struct DiskThread(Mutex<mpsc::Sender<Job>>);

impl DiskQueue for DiskThread {
    fn submit(&self, _: DiskLane, job: Job) {
        drop(self.0.lock().unwrap().send(job));
    }
}

fn member(id: u64) -> Member {
    Member {
        replica: ReplicaId(id),
        node: NodeId(id),
    }
}

fn voters(ids: impl IntoIterator<Item = u64>) -> Membership {
    Membership {
        voters: ids.into_iter().map(member).collect(),
        ..Membership::default()
    }
}

/// Replica 1 of voters 1 to 3, which never campaigns by itself. Its log has the founding entry, 1@1.
struct Lab {
    engine: AsyncRaftEngine,
    replica: Arc<Replica>,
    _store: MemStore,
}

impl Lab {
    fn new(guards: Guards) -> Self {
        Self::among(guards, Duration::from_secs(1_000_000), Arc::new(Silence))
    }

    /// Campaigns before `election_max`, among peers of a test's own.
    fn among(guards: Guards, election_max: Duration, peers: Arc<dyn Transport>) -> Self {
        let mut env = RealEnv::new(Seed(1)).env();
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        env.disk = Arc::new(DiskThread(Mutex::new(jobs)));
        let disk = SimDisk::new(Seed(1));
        let store = MemStore::open(&disk, Path::new("/data"), env.clone(), MemOptions::default()).unwrap();
        let policy = SegmentPolicy {
            segment_bytes: 1 << 20,
        };
        let log = store.open_group(GROUP, policy).unwrap();
        let options = AsyncRaftOptions {
            heartbeat: Duration::from_millis(10),
            election_min: Duration::from_millis(30),
            election_max,
            ..AsyncRaftOptions::new(NodeId(1))
        };
        let engine = AsyncRaftEngine::with_guards(options, guards, env, peers, Box::new(Silence)).unwrap();
        let spec = GroupSpec {
            group: GROUP,
            replica: member(1),
            founding: voters(1..=3),
            log,
            stamper: Arc::new(Plain),
        };
        block_on(engine.open_group(spec)).unwrap();
        let replica = engine.replica(GROUP);
        Self {
            engine,
            replica,
            _store: store,
        }
    }

    /// A leader's message: entries of `terms` behind `previous`.
    fn append(&self, leader: u64, term: u64, previous: LogId, terms: &[u64], commit: u64) -> AppendAnswer {
        let entries = terms
            .iter()
            .zip(previous.index.0 + 1..)
            .map(|(term, index)| self.entry(*term, index));
        self.deliver(leader, term, previous, entries.collect(), commit)
    }

    fn deliver(
        &self,
        leader: u64,
        term: u64,
        previous: LogId,
        entries: Vec<Entry>,
        commit: u64,
    ) -> AppendAnswer {
        let append = Append {
            term: Term(term),
            previous,
            commit: LogIndex(commit),
            floor: LogIndex(0),
            fenced: false,
            entries,
        };
        block_on(self.replica.on_append(ReplicaId(leader), append)).expect("the crate answers")
    }

    /// A data entry of one record; the founding entry has none.
    fn entry(&self, term: u64, index: u64) -> Entry {
        Entry {
            id: LogId::new(term, index),
            kind: EntryKind::Data,
            base_offset: Offset(index as i64 - 2),
            record_count: 1,
            max_timestamp_ms: 1,
            payload: Bytes::copy_from_slice(&index.to_be_bytes()),
        }
    }

    fn membership(&self, term: u64, index: u64, membership: &Membership) -> Entry {
        Entry {
            id: LogId::new(term, index),
            kind: EntryKind::Membership,
            base_offset: Offset(index as i64 - 2),
            record_count: 0,
            max_timestamp_ms: -1,
            payload: encode_membership(membership).into(),
        }
    }

    fn last(&self) -> LogId {
        self.replica.last()
    }

    fn commit(&self) -> LogIndex {
        self.replica.progress.get().commit
    }

    fn counter(&self, name: &str) -> u64 {
        let snapshot = self.replica.counters().snapshot();
        snapshot.into_iter().find(|(known, _)| *known == name).unwrap().1
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        block_on(self.engine.close());
    }
}
