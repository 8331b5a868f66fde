//! The life of a partition: open with replay, settings, close.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chronik_core::consensus::{Consensus, GroupSpec, Maintenance, Member, Membership, Progress, Role};
use chronik_core::log_store::{Checkpoint, LogState};
use chronik_core::{ConsensusGroup, Env, GroupId, LogIndex, LogReader, LogStore, ReplicaId, Term, Watch};

use super::apply::Applier;
use super::checkpoint::CheckpointPace;
use super::config::PartitionConfig;
use super::error::PartitionError;
use super::in_flight::InFlight;
use super::notify::{Ended, Notifier, Signal, Subscription, View};
use super::retention::UpkeepState;
use super::stamp::{BatchStamper, leader_epoch};
use super::state::PartitionState;
use super::tier::{PartitionTier, TierSpec};

/// What a partition is opened from.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Topic and index, for the log.
    pub name: Arc<str>,
    /// The group whose log this is.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: Member,
    /// The membership that founds the group.
    pub founding: Membership,
    /// The settings.
    pub config: PartitionConfig,
    /// Its place in the object tier, on a node that has one.
    pub tier: Option<TierSpec>,
}

/// What all decisions about producers are taken under.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What was applied.
    pub(super) state: PartitionState,
    /// What is proposed and not applied.
    pub(super) in_flight: InFlight,
    /// What was applied since the last checkpoint.
    pub(super) pace: CheckpointPace,
    /// When each producer was last heard, in wall milliseconds; kept by the leader for
    /// [`Command::ForgetProducers`](super::command::Command::ForgetProducers).
    pub(super) heard_ms: HashMap<i64, i64>,
}

/// One replica of a partition that is open on this node.
pub struct Partition {
    pub(super) name: Arc<str>,
    pub(super) replica: Member,
    pub(super) group: Arc<dyn ConsensusGroup>,
    pub(super) progress: Watch<Progress>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) env: Env,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) notifier: Notifier,
    pub(super) upkeep: Mutex<UpkeepState>,
    /// A checkpoint that was made again, until it is stored.
    pub(super) missing: async_lock::Mutex<Option<Checkpoint>>,
    pub(super) tier: PartitionTier,
    config: Mutex<Arc<PartitionConfig>>,
}

impl Partition {
    /// Opens the group's log, starts its engine, replays what is committed, and starts to apply what will be. When it
    /// returns, everything that was acknowledged before is served.
    ///
    /// # Errors
    /// `Storage` and `Unreadable`; the group is closed again then.
    pub async fn open(
        spec: PartitionSpec,
        store: &dyn LogStore,
        engine: &dyn Consensus,
        env: Env,
    ) -> Result<Arc<Self>, PartitionError> {
        let PartitionSpec {
            name,
            group,
            replica,
            founding,
            config,
            tier,
        } = spec;
        let log = store.open_group(group, config.segment_policy())?;
        let reader = Arc::clone(&log.reader);
        let stamper = Arc::new(BatchStamper);
        let group = engine
            .open_group(GroupSpec {
                group,
                replica,
                founding,
                log,
                stamper,
            })
            .await?;
        let progress = group.watch();
        let tier = PartitionTier::new(tier, &reader);
        let partition = Arc::new(Self::assemble(
            (name, replica, tier),
            group,
            progress,
            reader,
            env,
            config,
        )?);
        let mut applier = Applier::new(Arc::clone(&partition));
        if let Err(error) = applier.replay().await {
            partition.group.close().await;
            return Err(error);
        }
        partition
            .env
            .spawn
            .spawn("partition-apply", Box::pin(applier.run()));
        Ok(partition)
    }

    /// Puts the parts together, with the state of the newest checkpoint that is committed.
    fn assemble(
        (name, replica, tier): (Arc<str>, Member, PartitionTier),
        group: Arc<dyn ConsensusGroup>,
        progress: Watch<Progress>,
        reader: Arc<dyn LogReader>,
        env: Env,
        config: PartitionConfig,
    ) -> Result<Self, PartitionError> {
        let state = starting_state(&*reader, progress.get().commit)?;
        let view = View {
            applied: state.applied.index,
            high_watermark: state.next_offset,
            last_stable_offset: state.next_offset,
            log_start: state.log_start,
            leader_epoch: leader_epoch(progress.get().term),
            leader: None,
            serving: false,
            ended: None,
        };
        tier.show(&state.tier);
        let ledger = Ledger {
            pace: CheckpointPace::new(state.applied.index),
            state,
            in_flight: InFlight::default(),
            heard_ms: HashMap::new(),
        };
        Ok(Self {
            name,
            replica,
            group,
            progress,
            reader,
            env,
            ledger: Mutex::new(ledger),
            notifier: Notifier::new(view),
            upkeep: Mutex::new(UpkeepState::default()),
            missing: async_lock::Mutex::default(),
            tier,
            config: Mutex::new(Arc::new(config)),
        })
    }

    /// The topic and index, for the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The engine's group, for its status.
    pub fn group(&self) -> &Arc<dyn ConsensusGroup> {
        &self.group
    }

    /// The partition as it stands.
    pub fn view(&self) -> View {
        self.notifier.view()
    }

    /// The term in which this replica leads.
    pub fn led_term(&self) -> Option<Term> {
        self.progress
            .with(|progress| (progress.role == Role::Leader).then_some(progress.term))
    }

    /// How often a leader or a term became known here that was not before.
    pub fn leader_changes(&self) -> u64 {
        self.notifier.leader_changes()
    }

    /// Where the log of this replica stands.
    pub fn log_state(&self) -> LogState {
        self.reader.state()
    }

    /// Waits until `ready` says yes to the view. Cancel safe.
    pub async fn wait_for(&self, ready: impl FnMut(&View) -> bool) -> View {
        self.notifier.wait_for(ready).await
    }

    /// Fires `signal` with `token` whenever the high watermark, the last stable offset, the log start, the leader or
    /// its epoch changes, and when the partition ends; until the subscription is dropped. Subscribe first, then look.
    pub fn subscribe(&self, signal: &Signal, token: u64) -> Subscription {
        self.notifier.subscribe(signal, token)
    }

    /// Fires `signal` with `token` whenever [`Partition::led_term`] changes, without waiting for anything to be applied;
    /// until the subscription is dropped. Subscribe first, then look.
    pub fn follow_leadership(&self, signal: &Signal, token: u64) -> Subscription {
        self.notifier.follow_leadership(signal, token)
    }

    /// Bytes of the log on this node (DescribeLogDirs).
    pub fn size_bytes(&self) -> u64 {
        self.reader.state().size_bytes
    }

    /// The offset after the last record in this replica's log, committed or not.
    pub fn log_end(&self) -> i64 {
        self.reader.state().offset_end.0
    }

    /// The settings now.
    pub fn config(&self) -> Arc<PartitionConfig> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the settings. They hold for the next batch; a new segment size for the next segment.
    ///
    /// # Errors
    /// `Storage` if the log takes no settings any more.
    pub fn set_config(&self, config: PartitionConfig) -> Result<(), PartitionError> {
        let policy = config.segment_policy();
        let before = {
            let mut slot = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, Arc::new(config))
        };
        if before.segment_policy() != policy {
            self.group.maintain(Maintenance::Roll { policy, now: false })?;
        }
        Ok(())
    }

    /// Stops the partition because the node stops or gives up the replica. Those who wait are told.
    pub async fn close(&self) {
        self.checkpoint_if_worthwhile();
        self.end(Ended::Closed).await;
    }

    /// Stops the partition because its topic was deleted. The store's group can be removed then.
    pub async fn close_deleted(&self) {
        self.end(Ended::Deleted).await;
    }

    /// Tells everybody, then stops the engine; apply ends when it sees that.
    async fn end(&self, how: Ended) {
        self.notifier.update(|view| {
            view.ended.get_or_insert(how);
            view.serving = false;
        });
        self.group.close().await;
    }

    /// The ledger. No code that holds it can panic half way through a change, so that a poisoned lock is used on.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view, if this replica serves clients and the client's leader epoch, if it sent one, is the leader's.
    pub(super) fn serving_view(&self, client_epoch: Option<i32>) -> Result<View, PartitionError> {
        let view = self.notifier.view();
        match view.ended {
            Some(Ended::Deleted) => return Err(PartitionError::Deleted),
            Some(_) => return Err(PartitionError::NotLeader { leader: None }),
            None => {}
        }
        match client_epoch.map(|epoch| epoch.cmp(&view.leader_epoch)) {
            Some(std::cmp::Ordering::Less) => return Err(PartitionError::FencedLeaderEpoch),
            Some(std::cmp::Ordering::Greater) => return Err(PartitionError::UnknownLeaderEpoch),
            _ => {}
        }
        if view.serving {
            Ok(view)
        } else {
            Err(PartitionError::NotLeader { leader: view.leader })
        }
    }

    /// Nothing that was read counts unless this holds afterwards: a log that is removed meanwhile shows less than it had.
    pub(super) fn check_not_deleted(&self) -> Result<(), PartitionError> {
        match self.notifier.view().ended {
            Some(Ended::Deleted) => Err(PartitionError::Deleted),
            _ => Ok(()),
        }
    }

    /// A refusal that makes a client give up where it stood, if it is the leader's. One that was deposed, and does not
    /// know it yet because it was cut off or stood still, does not know what a later one acknowledged: a batch out of
    /// order may be its producer's next, and an offset beyond the log may be there.
    pub(super) async fn confirmed(&self, refusal: PartitionError, term: Term) -> PartitionError {
        let barrier = self.group.read_barrier().await;
        let other = |leader: &ReplicaId| *leader != self.replica.replica;
        self.progress.with(|progress| {
            if barrier.is_ok() && progress.role == Role::Leader && progress.term == term {
                return refusal;
            }
            PartitionError::NotLeader {
                leader: progress.leader.filter(other),
            }
        })
    }

    /// The view, if this replica may answer a fetch: the leader, and with `follower_read` a follower that knows its
    /// leader (KIP-392). The leader epoch is checked in either case.
    pub(super) fn readable_view(
        &self,
        client_epoch: Option<i32>,
        follower_read: bool,
    ) -> Result<View, PartitionError> {
        match self.serving_view(client_epoch) {
            Err(PartitionError::NotLeader { leader: Some(_) }) if follower_read => {
                let view = self.notifier.view();
                let follows = view.ended.is_none() && !self.is_leading() && view.leader.is_some();
                follows
                    .then_some(view)
                    .ok_or(PartitionError::NotLeader { leader: view.leader })
            }
            other => other,
        }
    }

    /// Whether the engine still leads, for the answer to an unknown outcome.
    pub(super) fn is_leading(&self) -> bool {
        self.progress.with(|progress| progress.role == Role::Leader)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("name", &self.name)
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}

/// The newest checkpoint at or below the commit index, or the state before the first entry.
pub(super) fn starting_state(
    reader: &dyn LogReader,
    commit: LogIndex,
) -> Result<PartitionState, PartitionError> {
    let log = reader.state();
    let commit = commit.max(log.purged.index);
    let unreadable = |what: &str| PartitionError::Unreadable(what.into());
    let state = match reader.checkpoint(commit)? {
        Some(checkpoint) => PartitionState::from_checkpoint(&checkpoint)
            .ok_or_else(|| unreadable("a checkpoint cannot be read"))?,
        None => PartitionState::new(log.offset_start),
    };
    if state.applied.index < log.purged.index {
        return Err(unreadable("the log starts after its newest checkpoint"));
    }
    Ok(state)
}
