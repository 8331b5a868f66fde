//! How clients reach nodes: requests run in the node's process, and die with it.

use crate::metadata::Metadata;
use crate::oracle::At;
use chronik_conformance::world::SimNode;
use chronik_core::{BoxFuture, Env, ReplicaId};
use chronik_server::partition::Partition;
use futures_lite::FutureExt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A node that answers requests.
struct Door {
    at: At,
    process: SimNode,
    partition: Arc<Partition>,
}

/// What clients share. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Access {
    doors: Arc<Mutex<BTreeMap<u64, Door>>>,
    stopped: Arc<AtomicBool>,
    unread: Arc<AtomicBool>,
    metadata: Metadata,
    pub(crate) nodes: u64,
    pub(crate) env: Env,
}

/// No answer came: the request may be served now, later, or never.
pub(crate) struct Lost;

/// What a request works with.
pub(crate) struct Served {
    pub(crate) at: At,
    pub(crate) partition: Arc<Partition>,
}

impl Access {
    /// `env` is that of the world, in which clients run.
    pub(crate) fn new(env: Env, metadata: Metadata, nodes: u64) -> Self {
        Self {
            doors: Arc::default(),
            stopped: Arc::default(),
            unread: Arc::default(),
            metadata,
            nodes,
            env,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, at: At, process: SimNode, partition: Arc<Partition>) {
        let door = Door {
            at,
            process,
            partition,
        };
        self.lock().insert(at.node, door);
    }

    pub(crate) fn forget(&self, node: u64) {
        let gone = self.lock().remove(&node);
        drop(gone);
    }

    /// A partition ended, and its process goes on.
    pub(crate) fn withdraw(&self, at: At) {
        let mut doors = self.lock();
        let gone = doors.get(&at.node).is_some_and(|door| door.at == at);
        let door = if gone { doors.remove(&at.node) } else { None };
        drop(doors);
        drop(door);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Consumers end; producers go on.
    pub(crate) fn stop_reading(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_read(&self) -> bool {
        !self.is_stopped() && !self.unread.load(Ordering::SeqCst)
    }

    /// The open partitions, by node.
    pub(crate) fn partitions(&self) -> BTreeMap<u64, Arc<Partition>> {
        let doors = self.lock();
        let open = doors
            .iter()
            .map(|(node, door)| (*node, Arc::clone(&door.partition)));
        open.collect()
    }

    /// The node of a replica that a broker named, or the one after `node`.
    pub(crate) fn next(&self, node: u64, hint: Option<ReplicaId>) -> u64 {
        let hinted = hint.and_then(|replica| self.metadata.node_of(replica));
        hinted.unwrap_or(node % self.nodes + 1)
    }

    /// Sends a request to a node and waits for its answer, for so long.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        node: u64,
        patience: Duration,
        request: impl FnOnce(Served) -> BoxFuture<'static, T>,
    ) -> Result<T, Lost> {
        let (sender, receiver) = async_channel::bounded(1);
        {
            let doors = self.lock();
            let door = doors.get(&node).ok_or(Lost)?;
            let answer = request(Served {
                at: door.at,
                partition: Arc::clone(&door.partition),
            });
            let task = async move {
                let answer = answer.await;
                // A caller that gave up reads no answer.
                let _ = sender.try_send(answer);
            };
            door.process.env().spawn.spawn("request", Box::pin(task));
        }
        let clock = Arc::clone(&self.env.clock);
        let late = async {
            clock.sleep(patience).await;
            Err(Lost)
        };
        let answer = async { receiver.recv().await.map_err(|_| Lost) };
        answer.or(late).await
    }
}
