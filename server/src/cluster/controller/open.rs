//! How the control plane starts.

use super::apply::Applier;
use super::pending::Pending;
use super::{ApplyStatus, Controller, Forward};
use crate::cluster::error::{ControlError, OpenError};
use crate::cluster::ids::TopicId;
use crate::cluster::state::{Command, Refusal};
use chronik_core::consensus::{ConsensusError, ConsensusGroup};
use chronik_core::proposal::ProposeError;
use chronik_core::{Env, LogIndex, LogReader, NodeId, Watch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before asking a group without a leader again.
const BARRIER_RETRY: Duration = Duration::from_millis(20);

/// This broker, as the cluster shall know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node.
    pub node: NodeId,
    /// What clients connect to.
    pub host: String,
    /// What clients connect to.
    pub port: u16,
    /// Where it stands.
    pub rack: Option<String>,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// Where other nodes reach it, where it says so.
    pub peer: Option<String>,
    /// The cluster that the data directory must belong to. Founds one of this id where the log is empty; unset, an id
    /// is drawn.
    pub cluster_id: Option<String>,
}

impl Controller {
    /// Starts the control plane over the metadata group: restores its newest checkpoint, and follows its log from now
    /// on. Commands that this node cannot propose go to the leader by `forward`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn start(
        group: Arc<dyn ConsensusGroup>,
        reader: Arc<dyn LogReader>,
        env: Env,
        forward: Arc<dyn Forward>,
    ) -> Result<Arc<Self>, OpenError> {
        let applier = Applier::restore(&*reader)?;
        let controller = Arc::new(Self {
            group,
            reader,
            image: Watch::new(applier.image()),
            status: Watch::new(ApplyStatus::Running),
            pending: Pending::default(),
            env,
            forward,
        });
        let task = applier.run(Arc::clone(&controller));
        controller.env.spawn.spawn("metadata-apply", Box::pin(task));
        Ok(controller)
    }

    /// Takes this broker into the cluster: catches up, founds the cluster where there is none, and registers. When it
    /// returns, the image holds everything that was acknowledged before.
    ///
    /// It waits as long as the group has no leader.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn enter(&self, registration: Registration) -> Result<(), OpenError> {
        self.catch_up().await?;
        self.check_node(registration.node)?;
        self.found(registration.cluster_id.as_deref()).await?;
        self.register(registration).await
    }

    /// Waits until everything that was acknowledged before is applied.
    async fn catch_up(&self) -> Result<(), OpenError> {
        let barrier = loop {
            match self.group.read_barrier().await {
                Ok(index) => break index,
                Err(ConsensusError::NotLeader { .. } | ConsensusError::Unknown(_)) => {
                    self.env.clock.sleep(BARRIER_RETRY).await;
                }
                Err(error) => return Err(OpenError::Consensus(error)),
            }
        };
        let applied = Box::pin(async {
            self.image.wait_for(|image| image.applied >= barrier).await;
            Ok(())
        });
        let ended = Box::pin(async {
            let status = self
                .status
                .wait_for(|status| *status != ApplyStatus::Running)
                .await;
            Err(self.why_ended(&status, barrier))
        });
        futures_lite::future::or(applied, ended).await
    }

    fn why_ended(&self, status: &ApplyStatus, barrier: LogIndex) -> OpenError {
        let applied = self.image.get().applied;
        let why = match status {
            ApplyStatus::Failed(why) => why.to_string(),
            _ => "the group was closed".to_owned(),
        };
        OpenError::Consensus(ConsensusError::Unknown(format!(
            "the log was followed to {applied} and not to {barrier}: {why}"
        )))
    }

    /// A directory whose only voter is another broker is not this broker's: its partitions would lead nowhere.
    fn check_node(&self, node: NodeId) -> Result<(), OpenError> {
        let status = self.group.status();
        let alone = status.membership.voters == [status.replica];
        let image = self.image();
        let brokers = image.state.brokers();
        match brokers.keys().next() {
            Some(stored) if alone && !brokers.contains_key(&node) => Err(OpenError::WrongNode {
                stored: *stored,
                configured: node,
            }),
            _ => Ok(()),
        }
    }

    async fn found(&self, configured: Option<&str>) -> Result<(), OpenError> {
        if self.image().state.cluster_id().is_none() {
            let cluster_id =
                configured.map_or_else(|| TopicId::random(&*self.env.rng).to_string(), str::to_owned);
            let features = BTreeMap::new();
            match self.insist(Command::FoundCluster { cluster_id, features }).await {
                Ok(()) | Err(ControlError::Refused(Refusal::AlreadyFounded)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let image = self.image();
        match (image.state.cluster_id(), configured) {
            (Some(stored), Some(configured)) if **stored != *configured => Err(OpenError::WrongCluster {
                stored: Arc::clone(stored),
                configured: configured.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn register(&self, registration: Registration) -> Result<(), OpenError> {
        let Registration {
            node,
            host,
            port,
            rack,
            incarnation,
            peer,
            ..
        } = registration;
        let command = Command::RegisterBroker {
            node: node.0,
            host,
            port,
            rack,
            incarnation,
            peer,
        };
        Ok(self.insist(command).await?)
    }

    /// Has a command applied that may be applied twice, however long nobody leads.
    async fn insist(&self, command: Command) -> Result<(), ControlError> {
        loop {
            match self.submit(command.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if self.can_try_again(&error) => {
                    log::info!("event=metadata_change_repeated cause=\"{error}\"");
                    self.env.clock.sleep(BARRIER_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn can_try_again(&self, error: &ControlError) -> bool {
        let moved = matches!(
            error,
            ControlError::NotProposed(ProposeError::NotLeader { .. }) | ControlError::Unknown(_)
        );
        moved && self.status.get() == ApplyStatus::Running
    }
}
