//! The metadata of a cluster that begins with what another one left.

use super::topic::Replica;
use super::{PRODUCER_ID_BLOCK, State, Topic};
use chronik_core::{NodeId, ReplicaId};
use std::sync::Arc;

/// Blocks of producer ids that the old cluster may have given away since its metadata was copied.
const BLOCKS_SKIPPED: i64 = 1000;

impl State {
    /// The same topics, with their ids, groups and configs, in a cluster of another id: every partition begins with one
    /// replica on `first`, which holds its data, and gets as many more on the other nodes of `nodes` as it had before, as
    /// far as there are so many. No broker is registered, and no id is issued again.
    #[must_use]
    pub fn moved_to(&self, cluster_id: &str, first: NodeId, nodes: &[NodeId]) -> Self {
        let mut others = nodes.iter().copied().filter(|node| *node != first).cycle();
        let others_max = nodes.iter().filter(|node| **node != first).count();
        let mut state = Self {
            cluster_id: Some(cluster_id.into()),
            features: self.features.clone(),
            broker_defaults: self.broker_defaults.clone(),
            next_group: self.next_group,
            next_replica: self.next_replica,
            next_producer_id: self
                .next_producer_id
                .saturating_add(BLOCKS_SKIPPED * PRODUCER_ID_BLOCK),
            ..Self::default()
        };
        for topic in self.topics.values() {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let more = partition.replicas().len().saturating_sub(1).min(others_max);
                let held = std::iter::once(first).chain(others.by_ref().take(more));
                let replicas = held.map(|node| {
                    state.next_replica += 1;
                    Replica::new(ReplicaId(state.next_replica - 1), node)
                });
                partitions.push(partition.moved(replicas.collect()));
            }
            let topic = Arc::new(Topic {
                partitions,
                ..Topic::clone(topic)
            });
            state.index(&topic);
            state.topics.insert(Arc::clone(&topic.name), topic);
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ids::TopicId;
    use crate::cluster::state::Command;
    use crate::kafka::wire::Uuid;
    use chronik_core::LogId;
    use std::collections::BTreeMap;

    #[test]
    fn topics_keep_their_identity_and_get_new_replicas_of_which_the_first_founds() {
        let id = TopicId::from_wire(Uuid::from_u128(9)).unwrap();
        let mut old = State::default();
        for node in 1..=3 {
            let register = Command::RegisterBroker {
                node,
                host: "localhost".to_owned(),
                port: 9092,
                rack: None,
                incarnation: 0,
                peer: None,
            };
            old.apply(LogId::new(1, node), register).unwrap();
        }
        let create = Command::CreateTopic {
            name: "t".to_owned(),
            id,
            placements: vec![vec![1, 2, 3], vec![2, 3, 1]],
            configs: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
            replica_limit: 100,
        };
        old.apply(LogId::new(1, 5), create).unwrap();
        let new = old.moved_to("new", NodeId(7), &[NodeId(7), NodeId(8)]);
        let (was, is) = (old.topic("t").unwrap(), new.topic("t").unwrap());
        assert_eq!((is.id, &is.configs), (id, &was.configs));
        assert_eq!(new.cluster_id().map(|id| &**id), Some("new"));
        for (was, is) in was.partitions.iter().zip(&is.partitions) {
            assert_eq!(is.group(), was.group());
            let nodes: Vec<u64> = is.replicas().iter().map(|replica| replica.node().0).collect();
            assert_eq!(nodes, [7, 8]);
            assert_eq!(is.founders(), &is.replicas()[..1]);
            let issued_before = |replica: &Replica| old.next_replica > replica.replica().0;
            assert!(!is.replicas().iter().any(issued_before));
        }
        assert_eq!(State::from_bytes(&new.to_bytes()), Ok(new));
        let alone = old.moved_to("new", NodeId(7), &[NodeId(7)]);
        assert!(
            alone
                .topic("t")
                .unwrap()
                .partitions
                .iter()
                .all(|partition| partition.replicas().len() == 1)
        );
    }
}
