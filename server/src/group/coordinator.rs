//! The public face of the group coordinator: one method for each API.

mod members;
mod offsets;

use super::find::{Endpoint, find_coordinator};
use super::limits::GroupLimits;
use super::partitioner::partition_for;
use super::shard::Shard;
use super::state_log::StateLog;
use super::topics::TopicDirectory;
use crate::kafka::api::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::kafka::wire::{ErrorCode, KafkaString};
use chronik_core::{Env, Watch};
use futures_lite::FutureExt;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who sent a request, and in which version.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    /// The version of the API.
    pub api_version: i16,
    /// The client id of the request header, empty if there is none.
    pub client_id: KafkaString,
    /// The address of the client; Kafka shows it with a leading slash.
    pub client_host: KafkaString,
}

/// The logs of `__consumer_offsets` on this node.
#[derive(Clone, Debug, Default)]
pub struct HostedLogs {
    /// How many partitions the topic has; 0 while it does not exist.
    pub partitions: i32,
    /// Those of them that this node has a replica of.
    pub logs: BTreeMap<i32, Arc<dyn StateLog>>,
}

/// The group coordinator of a node. Clones share it.
///
/// A method's future may be dropped at any time; what the request asked for is then done or not, as if the answer had been
/// lost on its way.
#[derive(Clone)]
pub struct GroupCoordinator {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    limits: GroupLimits,
    topics: Arc<dyn TopicDirectory>,
    hosted: Watch<HostedLogs>,
    shards: Mutex<BTreeMap<i32, Arc<Shard>>>,
    closed: Watch<bool>,
}

impl GroupCoordinator {
    /// Starts a coordinator that serves the groups of the logs in `hosted`, now and as they come and go.
    #[must_use]
    pub fn start(
        env: Env,
        limits: GroupLimits,
        topics: Arc<dyn TopicDirectory>,
        hosted: Watch<HostedLogs>,
    ) -> Self {
        let inner = Arc::new(Inner {
            env,
            limits,
            topics,
            hosted,
            shards: Mutex::new(BTreeMap::new()),
            closed: Watch::new(false),
        });
        let (now, seen) = inner.hosted.versioned();
        inner.host(&now);
        let follower = Arc::clone(&inner);
        inner
            .env
            .spawn
            .spawn("group-coordinator", Box::pin(follower.follow(seen)));
        Self { inner }
    }

    /// Stops serving: requests that wait are told to look for the coordinator elsewhere, so that connections can drain.
    pub fn close(&self) {
        self.inner
            .closed
            .update(|closed| !std::mem::replace(closed, true));
        for shard in std::mem::take(&mut *self.inner.lock()).values() {
            shard.close();
        }
    }

    /// Handles FindCoordinator; see [`find_coordinator`].
    pub fn find_coordinator(
        &self,
        api_version: i16,
        request: &FindCoordinatorRequest,
        leader: impl Fn(i32) -> Option<Endpoint>,
    ) -> FindCoordinatorResponse {
        let partitions = self.inner.hosted.with(|hosted| hosted.partitions);
        find_coordinator(api_version, request, partitions, leader)
    }

    /// The shard of a group.
    fn shard(&self, group_id: &str) -> Result<Arc<Shard>, ErrorCode> {
        match self.inner.hosted.with(|hosted| hosted.partitions) {
            0 => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            partitions => self.shard_of(partition_for(group_id, partitions)),
        }
    }

    fn shard_of(&self, partition: i32) -> Result<Arc<Shard>, ErrorCode> {
        let shards = self.inner.lock();
        shards.get(&partition).cloned().ok_or(ErrorCode::NOT_COORDINATOR)
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        self.inner.lock().values().cloned().collect()
    }

    /// The groups by the partition that they belong to.
    fn by_partition(&self, groups: impl Iterator<Item = KafkaString>) -> BTreeMap<i32, Vec<KafkaString>> {
        let partitions = self.inner.hosted.with(|hosted| hosted.partitions);
        let mut sorted: BTreeMap<i32, Vec<KafkaString>> = BTreeMap::new();
        for group in groups {
            sorted
                .entry(partition_for(&group, partitions))
                .or_default()
                .push(group);
        }
        sorted
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(self: Arc<Self>, mut seen: u64) {
        loop {
            let closed = async {
                self.closed.wait_for(|closed| *closed).await;
                None
            };
            let changed = async { Some(self.hosted.changed(seen).await) };
            let Some((hosted, version)) = closed.or(changed).await else {
                return;
            };
            seen = version;
            self.host(&hosted);
        }
    }

    /// Starts and ends shards so that there is one for each log.
    fn host(&self, hosted: &HostedLogs) {
        let mut shards = self.lock();
        if self.closed.get() {
            return;
        }
        shards.retain(|partition, shard| {
            let keep = hosted.logs.get(partition).is_some_and(|log| shard.has_log(log));
            if !keep {
                shard.close();
            }
            keep
        });
        for (partition, log) in &hosted.logs {
            shards.entry(*partition).or_insert_with(|| {
                let (env, limits) = (self.env.clone(), self.limits.clone());
                let shard = Arc::new(Shard::new(*partition, env, limits, Arc::clone(log)));
                let task = Arc::clone(&shard).run();
                self.env.spawn.spawn("group-shard", Box::pin(task));
                shard
            });
        }
    }
}

impl fmt::Debug for GroupCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCoordinator")
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}
