//! A small consensus engine: simple, correct and slow.
//!
//! One task a group owns a replica and does one thing at a time: it waits for the disk before it answers, sends a
//! follower one append at a time, and holds the membership of its log in memory. Trial votes and an election timeout
//! without a quorum keep elections rare; membership changes are joint; a replica that needs purged entries gets a
//! checkpoint.
//!
//! A [`RaftMutant`] is one switch that breaks one guarantee; the checks must notice each.

mod change;
mod election;
mod group;
mod lead;
mod message;
mod mutant;
mod replica;
mod replicate;

pub use mutant::RaftMutant;

use crate::world::locked;
use chronik_core::consensus::{Capabilities, Consensus, ConsensusError, ConsensusGroup, GroupSpec};
use chronik_core::env::Env;
use chronik_core::transport::{InboundStream, Transport};
use chronik_core::{BoxFuture, GroupId, NodeId};
use group::{Group, Queue};
use message::Envelope;
use replica::{Input, Replica};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Times of the engine.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(60);
/// A follower waits at least this long, and up to twice as long.
pub(super) const ELECTION: Duration = Duration::from_millis(300);
/// How long a barrier, a change or a transfer may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The queues of the groups that are open.
type Queues = Arc<Mutex<BTreeMap<GroupId, Arc<Queue>>>>;

/// The reference engine of a node.
#[derive(Debug)]
pub struct RefEngine {
    env: Env,
    node: NodeId,
    transport: Arc<dyn Transport>,
    queues: Queues,
    mutant: Option<RaftMutant>,
}

impl RefEngine {
    /// An engine that speaks over `transport`.
    #[must_use]
    pub fn new(
        env: Env,
        node: NodeId,
        transport: Arc<dyn Transport>,
        inbound: Box<dyn InboundStream>,
        mutant: Option<RaftMutant>,
    ) -> Self {
        let queues = Queues::default();
        let task = dispatch(inbound, Arc::clone(&queues), mutant);
        env.spawn.spawn("reference-raft-dispatch", Box::pin(task));
        Self {
            env,
            node,
            transport,
            queues,
            mutant,
        }
    }
}

/// Gives every message to the group that it is for.
async fn dispatch(mut inbound: Box<dyn InboundStream>, queues: Queues, mutant: Option<RaftMutant>) {
    while let Some(arrived) = inbound.next().await {
        let Some(envelope) = Envelope::decode(arrived.message) else {
            log::warn!(
                "event=message_dropped from={} reason=\"not decodable\"",
                arrived.from
            );
            continue;
        };
        let queue = {
            let queues = locked(&queues);
            match mutant {
                Some(RaftMutant::MixesGroups) => queues.values().next_back().cloned(),
                _ => queues.get(&envelope.group).cloned(),
            }
        };
        if let Some(queue) = queue {
            queue.push(Input::Message(envelope));
        }
    }
}

impl Consensus for RefEngine {
    fn capabilities(&self) -> Capabilities {
        let changes = self.mutant != Some(RaftMutant::PretendsChange);
        Capabilities {
            replication: true,
            membership_change: changes,
            leadership_transfer: true,
            learners: changes,
            failover_bound: Duration::from_secs(3),
        }
    }

    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>> {
        Box::pin(async move {
            let (id, queue) = (spec.group, Arc::new(Queue::default()));
            if spec.replica.node != self.node {
                return Err(ConsensusError::Invalid(
                    "the replica belongs to another node".into(),
                ));
            }
            let replica = Replica::open(
                self.env.clone(),
                spec,
                Arc::clone(&self.transport),
                Arc::clone(&queue),
                self.mutant,
            )
            .await?;
            let group = Group::new(&replica, Arc::clone(&queue));
            locked(&self.queues).insert(id, Arc::clone(&queue));
            let queues = Arc::clone(&self.queues);
            let task = async move {
                replica.run().await;
                let mut queues = locked(&queues);
                if queues.get(&id).is_some_and(|open| Arc::ptr_eq(open, &queue)) {
                    queues.remove(&id);
                }
            };
            self.env.spawn.spawn("reference-raft-group", Box::pin(task));
            Ok(Arc::new(group) as Arc<dyn ConsensusGroup>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open: Vec<Arc<Queue>> = locked(&self.queues).values().cloned().collect();
            if self.mutant == Some(RaftMutant::CloseDoesNothing) {
                return;
            }
            for queue in open {
                queue.close().await;
            }
        })
    }
}
