//! This node's own state, read when it is asked for.

use super::lifecycle::Phase;
use super::peers::{Answer, PeerStatus};
use super::report::{
    FollowerReport, MetadataReport, NodeReport, OpenReplica, PartitionCounts, ReplicaReport, StoreReport,
};
use crate::broker::Broker;
use crate::broker::partitions::Slot;
use crate::cluster::ClusterImage;
use crate::cluster::controller::ApplyStatus;
use crate::cluster::state::Topic;
use crate::kafka::listener::Open;
use crate::partition::{Ended, Partition};
use chronik_core::consensus::{GroupStatus, Member, Role};
use chronik_core::log_store::StoreHealth;
use chronik_core::{GroupId, LogStore, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parts of a node that operators look into.
#[derive(Debug)]
pub struct NodeParts {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its store.
    pub store: Arc<dyn LogStore>,
    /// Its connections with Kafka clients.
    pub connections: Arc<Open>,
    /// The other nodes.
    pub peers: Arc<dyn PeerStatus>,
    /// What clients are told to connect to.
    pub advertised: (String, u16),
}

/// A node that is open.
#[derive(Debug)]
pub struct Node {
    parts: NodeParts,
}

/// The name of a role in reports.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

/// Host and port as one text.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl Node {
    /// A node of these parts.
    #[must_use]
    pub const fn new(parts: NodeParts) -> Self {
        Self { parts }
    }

    pub(super) const fn parts(&self) -> &NodeParts {
        &self.parts
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.parts.broker
    }

    pub(super) fn id(&self) -> NodeId {
        self.broker().control().node
    }

    pub(super) fn image(&self) -> Arc<ClusterImage> {
        self.broker().image()
    }

    pub(super) fn store_health(&self) -> StoreHealth {
        self.parts.store.health().get()
    }

    /// How the partitions stand that belong on this node.
    pub(super) fn replicas(&self) -> Vec<ReplicaReport> {
        let image = self.image();
        let slots = self.broker().partitions().slots();
        let topics = image.state.topics().values();
        topics.flat_map(|topic| self.replicas_of(topic, &slots)).collect()
    }

    /// The same of one topic.
    pub(super) fn replicas_of(&self, topic: &Topic, slots: &BTreeMap<GroupId, Slot>) -> Vec<ReplicaReport> {
        let placed = (0..).zip(&topic.partitions);
        let here = placed.filter(|(_, placed)| {
            let mut replicas = placed.replicas().iter();
            replicas.any(|replica| replica.node() == self.id())
        });
        here.map(|(index, placed)| self.replica((topic, index), placed.group(), slots.get(&placed.group())))
            .collect()
    }

    fn replica(
        &self,
        (topic, partition): (&Topic, i32),
        group: GroupId,
        slot: Option<&Slot>,
    ) -> ReplicaReport {
        let (state, reason, open) = match slot {
            None => ("absent", Some("it is not opened yet".to_owned()), None),
            Some(Slot::Opening) => ("opening", None, None),
            Some(Slot::Failed(why)) => ("failed", Some(why.to_string()), None),
            Some(Slot::Open(partition)) => match partition.view().ended {
                Some(Ended::Failed) => ("failed", Some("its log or its engine failed".to_owned()), None),
                Some(Ended::Closed | Ended::Deleted) => ("closed", None, None),
                None => ("open", None, Some(self.open_replica(group, partition))),
            },
        };
        ReplicaReport {
            topic: topic.name.to_string(),
            partition,
            group: group.0,
            node: self.id().0,
            state: state.to_owned(),
            reason,
            open,
        }
    }

    fn open_replica(&self, group: GroupId, partition: &Partition) -> OpenReplica {
        let status = partition.group().status();
        let (view, log) = (partition.view(), partition.log_state());
        let leads = status.progress.role == Role::Leader;
        let in_sync = if leads {
            let seen = self.broker().partitions().partition(group);
            seen.map(|seen| seen.in_sync.iter().map(|node| node.0).collect::<Vec<u64>>())
        } else {
            None
        };
        OpenReplica {
            replica: status.replica.replica.0,
            role: role_name(status.progress.role).to_owned(),
            term: status.progress.term.0,
            leader: leader_node(&status).map(|node| node.0),
            commit: status.progress.commit.0,
            applied: view.applied.0,
            durable: log.durable.0,
            log_start_offset: view.log_start.0,
            high_watermark: view.high_watermark.0,
            log_end_offset: log.offset_end.0,
            size_bytes: log.size_bytes,
            min_in_sync: partition.config().min_insync_replicas,
            followers: in_sync
                .as_ref()
                .map(|in_sync| followers(&status, log.last.index.0, in_sync)),
            in_sync,
        }
    }

    pub(super) fn metadata(&self) -> MetadataReport {
        let controller = self.broker().controller();
        let status = controller.group_status();
        MetadataReport {
            role: role_name(status.progress.role).to_owned(),
            term: status.progress.term.0,
            leader: controller.leader().map(|node| node.0),
            commit: status.progress.commit.0,
            applied: self.image().applied.0,
            state: match controller.status().get() {
                ApplyStatus::Running => "followed".to_owned(),
                ApplyStatus::Closed => "closed".to_owned(),
                ApplyStatus::Failed(why) => why.to_string(),
            },
        }
    }

    fn store(&self) -> StoreReport {
        let (total, free) = self.broker().disk_bytes();
        StoreReport {
            backend: self.broker().config().storage.backend.to_string(),
            health: match self.store_health() {
                StoreHealth::Working => "working".to_owned(),
                StoreHealth::Full => "full".to_owned(),
                StoreHealth::Poisoned(why) => format!("poisoned: {why}"),
            },
            logs: self.parts.store.groups().len(),
            total_bytes: u64::try_from(total).ok(),
            free_bytes: u64::try_from(free).ok(),
        }
    }

    /// What this node tells another about itself and its replicas.
    #[must_use]
    pub fn answer(&self, phase: &Phase) -> Answer {
        let replicas = self.replicas();
        Answer {
            node: self.report(phase, &replicas),
            replicas,
        }
    }

    /// What this node says of itself.
    pub(super) fn report(&self, phase: &Phase, replicas: &[ReplicaReport]) -> NodeReport {
        let (host, port) = &self.parts.advertised;
        let config = self.broker().config();
        NodeReport {
            node: self.id().0,
            address: address(host, *port),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: phase.name().to_owned(),
            uptime_ms: u64::try_from(self.broker().env().clock.now().as_millis()).unwrap_or(u64::MAX),
            cluster_id: self.image().state.cluster_id().map(ToString::to_string),
            consensus: config.consensus.backend.to_string(),
            store: self.store(),
            metadata: self.metadata(),
            partitions: count(replicas, &self.image()),
            connections: self.parts.connections.count(),
            health: super::health::of_node(self, phase, replicas),
        }
    }
}

/// The node that leads a group, where its replica is a known member.
pub(super) fn leader_node(status: &GroupStatus) -> Option<NodeId> {
    let leader = status.progress.leader?;
    members(status)
        .find(|(member, _)| member.replica == leader)
        .map(|(member, _)| member.node)
}

/// The members of a group, and whether they vote.
fn members(status: &GroupStatus) -> impl Iterator<Item = (Member, bool)> + '_ {
    let voters = status.membership.voters.iter().map(|member| (*member, true));
    let outgoing = status.membership.outgoing_voters.iter();
    let outgoing = outgoing.filter(|member| !status.membership.voters.contains(member));
    let learners = status.membership.learners.iter().map(|member| (*member, false));
    voters
        .chain(outgoing.map(|member| (*member, true)))
        .chain(learners)
}

fn followers(status: &GroupStatus, last: u64, in_sync: &[u64]) -> Vec<FollowerReport> {
    let follower = |(member, voter): (Member, bool)| {
        let matched = status.matched.get(&member.replica);
        FollowerReport {
            node: member.node.0,
            voter,
            matched: matched.map(|matched| matched.index.0),
            lag_entries: matched.map(|matched| last.saturating_sub(matched.index.0)),
            silent_ms: matched
                .map(|matched| u64::try_from(matched.silent_for.as_millis()).unwrap_or(u64::MAX)),
            in_sync: in_sync.contains(&member.node.0),
        }
    };
    members(status).map(follower).collect()
}

/// How many replicas each group of the metadata has.
pub(super) fn replica_counts(image: &ClusterImage) -> BTreeMap<u64, usize> {
    let partitions = image.state.topics().values().flat_map(|topic| &topic.partitions);
    partitions
        .map(|placed| (placed.group().0, placed.replicas().len()))
        .collect()
}

fn count(replicas: &[ReplicaReport], image: &ClusterImage) -> PartitionCounts {
    let expected = replica_counts(image);
    let mut counts = PartitionCounts {
        placed: replicas.len(),
        ..PartitionCounts::default()
    };
    for replica in replicas {
        match replica.state.as_str() {
            "open" => counts.open += 1,
            "failed" => counts.failed += 1,
            _ => counts.opening += 1,
        }
        let Some(open) = &replica.open else {
            counts.leaderless += 1;
            continue;
        };
        counts.leaderless += usize::from(open.leader.is_none());
        if let Some(in_sync) = &open.in_sync {
            counts.leading += 1;
            let expected = expected.get(&replica.group).copied().unwrap_or(0);
            counts.under_replicated += usize::from(in_sync.len() < expected);
        }
    }
    counts
}
