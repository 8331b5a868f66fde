//! The partitions of this node: opened, reconfigured and removed as the metadata says.

use super::topic_settings::partition_config;
use crate::cluster::state::{Partition as Placed, Replica, State, Topic};
use crate::cluster::{ClusterImage, PartitionView, PartitionsReady};
use crate::config::Config;
use crate::kafka::wire::ErrorCode;
use crate::partition::{NodeTier, Partition, PartitionConfig, PartitionSpec, TierSpec};
use chronik_core::consensus::{GroupStatus, Member, Membership};
use chronik_core::{BoxFuture, Consensus, Env, GroupId, LogStore, NodeId, Term, Watch};
use chronik_storage_object::PartitionKey;
use futures_lite::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// The metadata group's id.
pub const METADATA_GROUP: GroupId = GroupId(0);

/// How soon the table is looked at again where it could not be brought to what the metadata says.
const RETRY: Duration = Duration::from_secs(1);

/// Where a partition of this node stands.
#[derive(Clone, Debug)]
pub enum Slot {
    /// It is being opened.
    Opening,
    /// It takes requests.
    Open(Arc<Partition>),
    /// It could not be opened.
    Failed(Arc<str>),
}

/// A partition as the metadata describes it.
#[derive(Clone, Debug)]
struct Wanted {
    topic: Arc<Topic>,
    index: usize,
    replica: Member,
    founding: Membership,
    config: PartitionConfig,
}

/// All partitions of this node.
#[derive(Debug)]
pub struct PartitionTable {
    node: NodeId,
    config: Arc<Config>,
    store: Arc<dyn LogStore>,
    consensus: Arc<dyn Consensus>,
    tier: Option<Arc<NodeTier>>,
    env: Env,
    slots: RwLock<BTreeMap<GroupId, Slot>>,
    /// Counts changes of `slots`.
    changed: Watch<u64>,
    past_leader_changes: AtomicU64,
    /// Set when the node stops: nothing is opened any more.
    closing: AtomicBool,
}

impl PartitionTable {
    /// A table without partitions.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        store: Arc<dyn LogStore>,
        consensus: Arc<dyn Consensus>,
        tier: Option<Arc<NodeTier>>,
        env: Env,
    ) -> Arc<Self> {
        let node = config.node_id();
        let slots = RwLock::new(BTreeMap::new());
        Arc::new(Self {
            node,
            config,
            store,
            consensus,
            tier,
            env,
            slots,
            changed: Watch::new(0),
            past_leader_changes: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        })
    }

    /// The object tier, where the node has one.
    #[must_use]
    pub const fn tier(&self) -> Option<&Arc<NodeTier>> {
        self.tier.as_ref()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<GroupId, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<GroupId, Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, group: GroupId, slot: Slot) {
        self.write().insert(group, slot);
        self.changed.update(|count| {
            *count += 1;
            true
        });
    }

    /// The partition whose log is `group`, where it is open here.
    #[must_use]
    pub fn get(&self, group: GroupId) -> Option<Arc<Partition>> {
        match self.read().get(&group) {
            Some(Slot::Open(partition)) => Some(Arc::clone(partition)),
            _ => None,
        }
    }

    /// Every open partition.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let open = |slot: &Slot| match slot {
            Slot::Open(partition) => Some(Arc::clone(partition)),
            _ => None,
        };
        self.read().values().filter_map(open).collect()
    }

    /// Every open partition, by its group.
    #[must_use]
    pub fn open(&self) -> Vec<(GroupId, Arc<Partition>)> {
        let open = |(group, slot): (&GroupId, &Slot)| match slot {
            Slot::Open(partition) => Some((*group, Arc::clone(partition))),
            _ => None,
        };
        self.read().iter().filter_map(open).collect()
    }

    /// The groups that are led here, and in which term.
    #[must_use]
    pub fn led(&self) -> BTreeMap<GroupId, Term> {
        let led = |(group, slot): (&GroupId, &Slot)| match slot {
            Slot::Open(partition) => partition.led_term().map(|term| (*group, term)),
            _ => None,
        };
        self.read().iter().filter_map(led).collect()
    }

    /// Every partition that belongs on this node, by its group.
    #[must_use]
    pub fn slots(&self) -> BTreeMap<GroupId, Slot> {
        self.read().clone()
    }

    /// How often leaders changed in partitions that are not open any more; the others count themselves.
    #[must_use]
    pub fn past_leader_changes(&self) -> u64 {
        self.past_leader_changes.load(Ordering::Relaxed)
    }

    /// Checks that the store and the metadata belong together: a group above every id that the metadata has issued
    /// means that the metadata went back, and removing it would remove acknowledged records.
    ///
    /// # Errors
    /// A text that names the group.
    pub fn check(&self, image: &ClusterImage) -> Result<(), String> {
        match self
            .store
            .groups()
            .into_iter()
            .find(|group| *group >= image.state.next_group())
        {
            None => Ok(()),
            Some(group) => Err(format!(
                "the data directory holds the log of group {group}, which the metadata never issued: the metadata is \
                 older than the data; restore the directory as a whole"
            )),
        }
    }

    /// Follows the metadata until its watch ends with the process.
    pub async fn follow(self: Arc<Self>, images: Watch<Arc<ClusterImage>>) {
        let (mut image, mut version) = images.versioned();
        loop {
            let done = self.reconcile(&image.state).await;
            let changed = async { Some(images.changed(version).await) };
            let again = async {
                match done {
                    true => std::future::pending().await,
                    false => self.env.clock.sleep(RETRY).await,
                }
                None
            };
            if let Some(news) = changed.or(again).await {
                (image, version) = news;
            }
        }
    }

    /// Whether the partitions here are now those of the metadata. One that is being opened can neither be removed nor
    /// be given other settings, and one that somebody still reads or writes cannot be removed.
    async fn reconcile(self: &Arc<Self>, state: &State) -> bool {
        if self.closing.load(Ordering::Relaxed) {
            return true;
        }
        let mut done = true;
        let wanted = self.wanted(state);
        let present: BTreeSet<GroupId> = self.store.groups().into_iter().collect();
        let known: BTreeSet<GroupId> = self.read().keys().copied().chain(present).collect();
        for group in known {
            if group != METADATA_GROUP && !wanted.contains_key(&group) {
                done &= self.remove(group).await;
            }
        }
        for (group, wanted) in wanted {
            let slot = self.read().get(&group).cloned();
            match slot {
                Some(Slot::Open(partition)) => {
                    if let Err(error) = partition.set_config(wanted.config) {
                        log::error!(
                            "event=config_not_set partition={} error=\"{error}\"",
                            partition.name()
                        );
                    }
                }
                Some(Slot::Opening) => done = false,
                Some(Slot::Failed(_)) => {}
                None => {
                    let table = Arc::clone(self);
                    table.set(group, Slot::Opening);
                    let task = async move { table.open_slot(group, wanted).await };
                    self.env.spawn.spawn("partition-open", Box::pin(task));
                }
            }
        }
        done
    }

    fn wanted(&self, state: &State) -> BTreeMap<GroupId, Wanted> {
        let mut wanted = BTreeMap::new();
        for topic in state.topics().values() {
            let config = partition_config(topic, state, &self.config);
            for (index, placed) in topic.partitions.iter().enumerate() {
                if let Some(replica) = placed.replica_on(self.node) {
                    let topic = Arc::clone(topic);
                    wanted.insert(
                        placed.group(),
                        Wanted {
                            topic,
                            index,
                            replica: replica.member(),
                            founding: founding(placed, replica),
                            config: config.clone(),
                        },
                    );
                }
            }
        }
        wanted
    }

    async fn open_slot(self: Arc<Self>, group: GroupId, wanted: Wanted) {
        let topic = Arc::clone(&wanted.topic);
        match self.try_open(group, wanted).await {
            Ok(partition) => self.set(group, Slot::Open(partition)),
            Err(error) => {
                log::error!(
                    "event=partition_not_opened topic={} group={group} error=\"{error}\"",
                    topic.name
                );
                self.set(group, Slot::Failed(error.into()));
            }
        }
    }

    async fn try_open(&self, group: GroupId, wanted: Wanted) -> Result<Arc<Partition>, String> {
        let spec = PartitionSpec {
            name: format!("{}-{}", wanted.topic.name, wanted.index).into(),
            group,
            replica: wanted.replica,
            founding: wanted.founding,
            config: wanted.config,
            tier: self.tier.as_ref().map(|node| TierSpec {
                node: Arc::clone(node),
                key: PartitionKey {
                    topic_id: u128::from_be_bytes(wanted.topic.id.to_wire().0),
                    partition: wanted.index as u32,
                },
            }),
        };
        let opened = Partition::open(spec, &*self.store, &*self.consensus, self.env.clone()).await;
        opened.map_err(|error| error.to_string())
    }

    /// Whether nothing is left of the partition.
    async fn remove(&self, group: GroupId) -> bool {
        let slot = {
            let mut slots = self.write();
            if matches!(slots.get(&group), Some(Slot::Opening)) {
                return false;
            }
            slots.remove(&group)
        };
        if let Some(Slot::Open(partition)) = slot {
            self.past_leader_changes
                .fetch_add(partition.leader_changes(), Ordering::Relaxed);
            partition.close_deleted().await;
        }
        let removed = match self.store.remove_group(group) {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        match &removed {
            Ok(()) => log::info!("event=partition_removed group={group}"),
            Err(error) => log::warn!("event=partition_not_removed group={group} error=\"{error}\""),
        }
        removed.is_ok()
    }

    /// Closes every partition; each gives up its log.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let slots = std::mem::take(&mut *self.write());
        for slot in slots.into_values() {
            if let Slot::Open(partition) = slot {
                partition.close().await;
            }
        }
    }

    /// How the groups stand that belong here: `None` while one is being opened.
    fn settled(&self, groups: &[GroupId]) -> Option<Result<(), String>> {
        let slots = self.read();
        for group in groups {
            match slots.get(group) {
                None | Some(Slot::Opening) => return None,
                Some(Slot::Failed(why)) => return Some(Err(why.to_string())),
                Some(Slot::Open(_)) => {}
            }
        }
        Some(Ok(()))
    }
}

/// The membership that a replica begins with: that of the founders where it is one of them; otherwise none, because the
/// group exists already and its leader will add the replica.
#[must_use]
pub fn founding(placed: &Placed, replica: Replica) -> Membership {
    let founders = placed.founders();
    let voters = if founders.contains(&replica) {
        founders.iter().map(|founder| founder.member()).collect()
    } else {
        Vec::new()
    };
    Membership {
        voters,
        ..Membership::default()
    }
}

impl PartitionTable {
    /// A partition that is open here, as its engine sees it; only a leader knows who is in sync.
    #[must_use]
    pub fn partition(&self, group: GroupId) -> Option<PartitionView> {
        self.get(group).map(|partition| view_of(&partition))
    }
}

/// A partition as its engine sees it.
pub(super) fn view_of(partition: &Partition) -> PartitionView {
    let view = partition.view();
    let status = partition.group().status();
    let node_of = |replica| {
        status
            .membership
            .voters
            .iter()
            .find(|m| m.replica == replica)
            .map(|m| m.node)
    };
    PartitionView {
        leader: view.leader.and_then(node_of),
        leader_epoch: view.leader_epoch,
        in_sync: in_sync(partition, &status),
    }
}

/// The nodes of the voters that answered lately, this one included (`replica.lag.time.max.ms`).
fn in_sync(partition: &Partition, status: &GroupStatus) -> Vec<NodeId> {
    let patience = Duration::from_millis(partition.config().replica_lag_time_max_ms);
    let answered = |member: &&Member| {
        let matched = status.matched.get(&member.replica);
        member.replica == status.replica.replica
            || matched.is_some_and(|matched| matched.silent_for <= patience)
    };
    status
        .membership
        .voters
        .iter()
        .filter(answered)
        .map(|member| member.node)
        .collect()
}

impl PartitionsReady for Arc<PartitionTable> {
    fn ready(&self, groups: Vec<GroupId>) -> BoxFuture<'static, Result<(), String>> {
        let table = Arc::clone(self);
        Box::pin(async move {
            loop {
                let listener = table.changed.listen();
                if let Some(settled) = table.settled(&groups) {
                    return settled;
                }
                listener.await;
            }
        })
    }
}

impl PartitionTable {
    /// The partition of a topic, where it is open here.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `NOT_LEADER_OR_FOLLOWER`.
    pub fn of_topic(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let placed = topic
            .partition(index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.get(placed.group()).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)
    }

    /// The groups of a topic that belong on this node.
    #[must_use]
    pub fn placed_here(&self, topic: &Topic) -> Vec<GroupId> {
        let here = |placed: &&Placed| {
            placed
                .replicas()
                .iter()
                .any(|replica| replica.node() == self.node)
        };
        topic.partitions.iter().filter(here).map(Placed::group).collect()
    }

    /// Counts the changes of which partitions are open.
    #[must_use]
    pub fn changes(&self) -> Watch<u64> {
        self.changed.clone()
    }
}

#[cfg(test)]
mod tests;
