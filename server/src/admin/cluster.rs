//! What all nodes together say of the cluster. A partition is described by the replica that leads it and by no other;
//! where that one does not answer, what it alone knows stays `null` with the reason.

use super::health;
use super::lifecycle::Phase;
use super::node::{Node, address};
use super::peers::Answer;
use super::report::{
    Check, ClusterReport, IsrReport, NodeEntry, OpenReplica, PartitionReport, ReplicaReport,
};
use crate::cluster::ClusterImage;
use crate::cluster::join::join_all;
use crate::cluster::state::{Partition as Placed, Topic};
use chronik_core::{BoxFuture, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The answers of all nodes, as of one metadata image.
pub(super) struct Gathered {
    image: Arc<ClusterImage>,
    controller: Option<u64>,
    phase: Phase,
    nodes: BTreeMap<NodeId, Result<Answer, String>>,
    /// What each node says of its replica of a group.
    replicas: BTreeMap<(u64, NodeId), ReplicaReport>,
}

/// Asks every registered node, this one without a detour.
pub(super) async fn gather(node: &Node, phase: &Phase) -> Gathered {
    let image = node.image();
    let others = image.state.brokers().keys().filter(|other| **other != node.id());
    let asked = others.map(|other| -> BoxFuture<'_, _> {
        let (other, answer) = (*other, node.parts().peers.ask(*other));
        Box::pin(async move { (other, answer.await) })
    });
    let mut nodes: BTreeMap<NodeId, Result<Answer, String>> =
        join_all(asked.collect()).await.into_iter().collect();
    nodes.insert(node.id(), Ok(node.answer(phase)));
    let mut replicas = BTreeMap::new();
    for (id, answer) in &mut nodes {
        if let Ok(answer) = answer {
            for replica in std::mem::take(&mut answer.replicas) {
                replicas.insert((replica.group, *id), replica);
            }
        }
    }
    Gathered {
        controller: node.metadata().leader,
        phase: phase.clone(),
        image,
        nodes,
        replicas,
    }
}

impl Gathered {
    /// Every node.
    pub(super) fn nodes(&self) -> Vec<NodeEntry> {
        let entry = |broker: &crate::cluster::state::Broker| {
            let id = broker.node();
            let (report, unknown) = match self.nodes.get(&id) {
                Some(Ok(answer)) => (Some(answer.node.clone()), None),
                Some(Err(why)) => (None, Some(why.clone())),
                None => (None, Some("it registered while the others were asked".to_owned())),
            };
            NodeEntry {
                node: id.0,
                address: address(&broker.host, broker.port),
                rack: broker.rack.clone(),
                controller: self.controller.map(|controller| controller == id.0),
                report,
                unknown,
            }
        };
        self.image.state.brokers().values().map(entry).collect()
    }

    /// Every partition.
    pub(super) fn partitions(&self) -> Vec<PartitionReport> {
        let topics = self.image.state.topics().values();
        let all = topics.flat_map(|topic| (0..).zip(&topic.partitions).map(move |placed| (topic, placed)));
        all.map(|(topic, (index, placed))| self.partition(topic, index, placed))
            .collect()
    }

    /// One partition with all its replicas.
    pub(super) fn one(&self, topic: &str, index: i32) -> Option<PartitionReport> {
        let topic = self.image.state.topic(topic)?;
        let placed = topic.partition(index)?;
        let copy = |node| self.replicas.get(&(placed.group().0, node)).cloned();
        let mut report = self.partition(topic, index, placed);
        report.copies = placed
            .replicas()
            .iter()
            .filter_map(|replica| copy(replica.node()))
            .collect();
        Some(report)
    }

    fn partition(&self, topic: &Topic, index: i32, placed: &Placed) -> PartitionReport {
        let group = placed.group().0;
        let replicas: Vec<u64> = placed.replicas().iter().map(|replica| replica.node().0).collect();
        let of = |node: &u64| self.replicas.get(&(group, NodeId(*node)));
        let leading = |node: &u64| {
            let open = of(node)?.open.as_ref()?;
            open.in_sync.is_some().then_some((*node, open))
        };
        let leader = replicas
            .iter()
            .filter_map(leading)
            .max_by_key(|(_, open)| open.term);
        let in_sync = leader.and_then(|(_, open)| open.in_sync.clone());
        let fewer_than = |needed: usize| in_sync.as_ref().map(|in_sync| in_sync.len() < needed);
        let of_leader = |field: fn(&OpenReplica) -> i64| leader.map(|(_, open)| field(open));
        PartitionReport {
            topic: topic.name.to_string(),
            partition: index,
            group,
            leader: leader.map(|(node, _)| node),
            leader_epoch: leader.map(|(_, open)| open.term),
            under_replicated: fewer_than(replicas.len()),
            under_min_in_sync: leader
                .and_then(|(_, open)| fewer_than(usize::try_from(open.min_in_sync).ok()?)),
            log_start_offset: of_leader(|open| open.log_start_offset),
            high_watermark: of_leader(|open| open.high_watermark),
            size_bytes: leader.map(|(_, open)| open.size_bytes),
            unknown: if leader.is_none() {
                self.why_unknown(group, &replicas)
            } else {
                None
            },
            in_sync,
            replicas,
            copies: Vec::new(),
        }
    }

    /// Which replicas could not be asked; nothing where all say that they do not lead.
    fn why_unknown(&self, group: u64, replicas: &[u64]) -> Option<String> {
        let why = |node: &u64| match self.nodes.get(&NodeId(*node)) {
            None => Some(format!("node {node} is not registered")),
            Some(Err(why)) => Some(format!("node {node}: {why}")),
            Some(Ok(_)) => match self.replicas.get(&(group, NodeId(*node))) {
                None => Some(format!("node {node} does not know the partition yet")),
                Some(replica) if replica.open.is_none() => {
                    let reason = replica.reason.as_deref().unwrap_or("it says no more");
                    Some(format!("node {node}: its replica is {}: {reason}", replica.state))
                }
                Some(_) => None,
            },
        };
        let reasons: Vec<String> = replicas.iter().filter_map(why).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The cluster at a glance.
    pub(super) fn cluster(&self) -> ClusterReport {
        let (nodes, partitions) = (self.nodes(), self.partitions());
        let count =
            |wanted: fn(&PartitionReport) -> bool| partitions.iter().filter(|one| wanted(one)).count();
        let leaderless = count(|one| one.leader.is_none() && one.unknown.is_none());
        let under_replicated = count(|one| one.under_replicated == Some(true));
        let unknown = count(|one| one.unknown.is_some());
        let mut checks = vec![Check {
            name: "controller".to_owned(),
            ok: self.controller.is_some(),
            detail: match self.controller {
                Some(node) => format!("node {node} leads the metadata group"),
                None => "no leader of the metadata group is known".to_owned(),
            },
        }];
        checks.extend(nodes.iter().map(node_check));
        for (name, number, what) in [
            ("leaders", leaderless, "partitions have no leader"),
            ("replicas", under_replicated, "partitions are under-replicated"),
            (
                "known",
                unknown,
                "partitions of which the leader could not be asked",
            ),
        ] {
            checks.push(Check {
                name: name.to_owned(),
                ok: number == 0,
                detail: format!("{number} {what}"),
            });
        }
        ClusterReport {
            cluster_id: self.image.state.cluster_id().map(ToString::to_string),
            controller: self.controller,
            topics: self.image.state.topics().len(),
            partitions: partitions.len(),
            leaderless,
            under_replicated,
            unknown,
            health: health::report(&self.phase, checks, true),
            nodes,
        }
    }

    /// Whether partitions are in sync.
    pub(super) fn isr(&self) -> IsrReport {
        let mut report = IsrReport {
            in_sync: 0,
            under_replicated: 0,
            under_min_in_sync: 0,
            unknown: 0,
            partitions: Vec::new(),
        };
        for partition in self.partitions() {
            report.under_min_in_sync += usize::from(partition.under_min_in_sync == Some(true));
            match partition.under_replicated {
                Some(false) => {
                    report.in_sync += 1;
                    continue;
                }
                Some(true) => report.under_replicated += 1,
                None => report.unknown += 1,
            }
            report.partitions.push(partition);
        }
        report
    }
}

fn node_check(entry: &NodeEntry) -> Check {
    let node = entry.node;
    let (ok, detail) = match (&entry.report, &entry.unknown) {
        (Some(report), _) if report.health.ok => (true, format!("node {node} is well")),
        (Some(report), _) => (
            false,
            format!("node {node}: {}", report.health.reasons.join("; ")),
        ),
        (None, why) => {
            let why = why.as_deref().unwrap_or("it did not answer");
            (false, format!("node {node}: {why}"))
        }
    };
    Check {
        name: format!("node-{node}"),
        ok,
        detail,
    }
}
