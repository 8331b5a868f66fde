//! The metadata of a run: the server's own state machine, which every node sees at once.

use crate::bucket::PARTITION;
use crate::plan::NODES;
use chronik_core::consensus::Member;
use chronik_core::{LogId, NodeId, ReplicaId};
use chronik_server::cluster::TopicId;
use chronik_server::cluster::state::{Command, Partition, State};
use chronik_server::kafka::wire::Uuid;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TOPIC: &str = "topic";

struct Shared {
    state: State,
    /// The entries that made it.
    index: u64,
    /// A leader has made the group's membership what the metadata was after this entry.
    confirmed: u64,
}

/// What nodes know of where the partition is. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Metadata(Arc<Mutex<Shared>>);

impl Metadata {
    /// That of a new cluster, with a topic of one partition.
    pub(crate) fn found() -> Self {
        let metadata = Self::of(State::default());
        metadata.apply(Command::CreateTopic {
            name: TOPIC.to_owned(),
            id: TopicId::from_wire(Uuid::from_u128(PARTITION.topic_id)).expect("it is not zero"),
            placements: vec![(1..=NODES).collect()],
            configs: BTreeMap::new(),
            replica_limit: 1000,
        });
        metadata
    }

    /// That of a cluster which begins with `state`.
    pub(crate) fn of(state: State) -> Self {
        let shared = Shared {
            state,
            index: 0,
            confirmed: 0,
        };
        let metadata = Self(Arc::new(Mutex::new(shared)));
        (1..=NODES).for_each(|node| metadata.register(node));
        metadata
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, command: Command) {
        let mut shared = self.lock();
        shared.index += 1;
        let at = LogId::new(1, shared.index);
        let applied = shared.state.apply(at, command);
        assert!(applied.is_ok(), "{applied:?}");
    }

    /// A node starts on a directory that nobody has seen before: its replicas are others now.
    pub(crate) fn register(&self, node: u64) {
        let incarnation = self.lock().index + 1;
        self.apply(Command::RegisterBroker {
            node,
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            incarnation,
            peer: None,
        });
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.lock().state.to_bytes()
    }

    /// Where the partition is, and after which entry it is there.
    pub(crate) fn placed(&self) -> (Partition, u64) {
        let shared = self.lock();
        let topic = shared.state.topic(TOPIC).expect("the topic is never deleted");
        let partition = topic.partition(0).expect("it has one partition");
        (partition.clone(), shared.index)
    }

    pub(crate) fn member_on(&self, node: u64) -> Member {
        let (placed, _) = self.placed();
        let replica = placed.replica_on(NodeId(node));
        replica.expect("every node has a replica").member()
    }

    pub(crate) fn node_of(&self, replica: ReplicaId) -> Option<u64> {
        let (placed, _) = self.placed();
        let held = placed.replicas().iter().find(|held| held.replica() == replica);
        held.map(|held| held.node().0)
    }

    /// The group's membership is what it shall be since `entry`, and committed.
    pub(crate) fn confirm(&self, entry: u64) {
        let mut shared = self.lock();
        shared.confirmed = shared.confirmed.max(entry);
    }

    /// Whether the group has the membership that it shall have.
    pub(crate) fn is_settled(&self) -> bool {
        let shared = self.lock();
        shared.confirmed == shared.index
    }
}
