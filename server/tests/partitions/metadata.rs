//! The metadata of a run: the server's own state machine, which every node sees at once.

use crate::bucket::PARTITION;
use crate::plan::REPLICAS;
use chronik_core::consensus::Member;
use chronik_core::{GroupId, LogId, LogIndex, NodeId, ReplicaId, Watch};
use chronik_server::cluster::state::{Command, Partition, State};
use chronik_server::cluster::{ClusterImage, TopicId};
use chronik_server::kafka::wire::Uuid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TOPIC: &str = "topic";

struct Shared {
    state: State,
    /// The entries that made it.
    index: u64,
    /// A leader has made the group's membership what the metadata was after this entry.
    confirmed: u64,
    /// The replica that is to go: it stays where it is until the group is without it.
    leaving: Option<ReplicaId>,
}

/// What nodes know of where the partition is. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Metadata {
    shared: Arc<Mutex<Shared>>,
    images: Watch<Arc<ClusterImage>>,
}

impl Metadata {
    /// That of a new cluster, with a topic of one partition.
    pub(crate) fn found(nodes: u64) -> Self {
        let metadata = Self::of(State::default(), nodes);
        metadata.apply(Command::CreateTopic {
            name: TOPIC.to_owned(),
            id: TopicId::from_wire(Uuid::from_u128(PARTITION.topic_id)).expect("it is not zero"),
            placements: vec![(1..=REPLICAS).collect()],
            configs: BTreeMap::new(),
            replica_limit: 1000,
        });
        metadata
    }

    /// That of a cluster which begins with `state`.
    pub(crate) fn of(state: State, nodes: u64) -> Self {
        let shared = Shared {
            state,
            index: 0,
            confirmed: 0,
            leaving: None,
        };
        let metadata = Self {
            shared: Arc::new(Mutex::new(shared)),
            images: Watch::new(Arc::default()),
        };
        (1..=nodes).for_each(|node| metadata.register(node));
        metadata
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, command: Command) {
        let mut shared = self.lock();
        shared.index += 1;
        let at = LogId::new(1, shared.index);
        let applied = shared.state.apply(at, command);
        assert!(applied.is_ok(), "{applied:?}");
        self.show(&shared);
    }

    /// Shows every node what there is now.
    fn show(&self, shared: &Shared) {
        let image = Arc::new(ClusterImage {
            applied: LogIndex(shared.index),
            state: shared.state.clone(),
        });
        self.images.update(|shown| {
            *shown = image;
            true
        });
    }

    pub(crate) fn watch(&self) -> Watch<Arc<ClusterImage>> {
        self.images.clone()
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

    pub(crate) fn group(&self) -> GroupId {
        self.placed().0.group()
    }

    /// The members that the group shall have, and after which entry.
    pub(crate) fn wanted(&self) -> (Vec<Member>, u64) {
        let (placed, entry) = self.placed();
        let leaving = self.lock().leaving;
        let stay = placed.replicas().iter().map(|held| held.member());
        (
            stay.filter(|member| Some(member.replica) != leaving).collect(),
            entry,
        )
    }

    /// The nodes that have a replica.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        let (placed, _) = self.placed();
        placed.replicas().iter().map(|held| held.node().0).collect()
    }

    /// The replica on a node, if it has one.
    pub(crate) fn replica_on(&self, node: u64) -> Option<ReplicaId> {
        let (placed, _) = self.placed();
        Some(placed.replica_on(NodeId(node))?.replica())
    }

    /// The replica on a node is to move to another, which gets a new one.
    pub(crate) fn relocate(&self, from: u64, to: u64) {
        let mut shared = self.lock();
        let Some(leaving) = held_on(&shared.state, from) else {
            return;
        };
        shared.edit(|partition, next_replica| {
            if partition.get("founders").is_none() {
                partition["founders"] = partition["replicas"].clone();
            }
            let replicas = partition["replicas"].as_array_mut().expect("a list");
            replicas.push(json!({ "replica": *next_replica, "node": to }));
            *next_replica += 1;
        });
        shared.leaving = Some(leaving);
        self.show(&shared);
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
        if shared.confirmed == shared.index
            && let Some(leaving) = shared.leaving.take()
        {
            shared.edit(|partition, _| {
                let replicas = partition["replicas"].as_array_mut().expect("a list");
                replicas.retain(|held| held["replica"] != json!(leaving.0));
            });
            shared.confirmed = shared.index;
            self.show(&shared);
        }
    }

    /// Whether the group has the membership that it shall have.
    pub(crate) fn is_settled(&self) -> bool {
        let shared = self.lock();
        shared.confirmed == shared.index
    }
}

fn held_on(state: &State, node: u64) -> Option<ReplicaId> {
    let partition = state.topic(TOPIC)?.partition(0)?;
    Some(partition.replica_on(NodeId(node))?.replica())
}

impl Shared {
    /// Changes where the partition is, and the next replica's id. The metadata has no command that moves a replica to another
    /// node yet: this leaves what such a command would.
    fn edit(&mut self, change: impl FnOnce(&mut Value, &mut u64)) {
        let mut stored: Value = serde_json::from_slice(&self.state.to_bytes()).expect("it is JSON");
        let mut next_replica = stored["next_replica"].as_u64().expect("a number");
        change(&mut stored["topics"][0]["partitions"][0], &mut next_replica);
        stored["next_replica"] = json!(next_replica);
        let state = State::from_bytes(&serde_json::to_vec(&stored).expect("it is JSON"));
        self.state = state.expect("a state");
        self.index += 1;
    }
}
