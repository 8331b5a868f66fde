//! The callers' side of a transport.

use async_channel::Receiver;
use bytes::Bytes;
use chronik_core::BoxFuture;
use chronik_core::ids::NodeId;
use chronik_core::transport::{CallOutcome, Lane, Peer, PeerState, SendError, Transport};
use chronik_core::watch::Watch;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::shared::Shared;

/// The thread, and what says that its work is done.
pub(crate) struct Thread {
    pub(crate) handle: Mutex<Option<JoinHandle<()>>>,
    /// Closed when the work is done.
    pub(crate) done: Receiver<()>,
}

impl Thread {
    async fn ended(&self) {
        // Nothing is sent over it: it ends by being closed.
        let _ = self.done.recv().await;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What is left is the end of the thread itself, which takes microseconds.
        if handle.is_some_and(|handle| handle.join().is_err()) {
            log::error!("event=transport_thread_panicked");
        }
    }
}

/// Sends to the peers; dropped without [`Transport::close`], it ends without sending what is queued.
pub(crate) struct CapnpTransport {
    pub(crate) shared: Arc<Shared>,
    pub(crate) thread: Arc<Thread>,
}

impl Transport for CapnpTransport {
    fn set_peers(&self, peers: Vec<Peer>) {
        self.shared.set_peers(peers);
    }

    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        match self.shared.lane(to, lane) {
            Ok(lane) => lane.call(message, deadline),
            Err(error) => Box::pin(std::future::ready(CallOutcome::NotDelivered(error))),
        }
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        self.shared.lane(to, lane)?.send(message)
    }

    fn room(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        match self.shared.lane(to, lane) {
            Ok(lane) => Box::pin(lane.room()),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        self.shared.states.clone()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.shared.close();
        let thread = Arc::clone(&self.thread);
        Box::pin(async move { thread.ended().await })
    }
}

impl Drop for CapnpTransport {
    fn drop(&mut self) {
        if !self.shared.is_closed() {
            self.shared.abort();
        }
    }
}

impl fmt::Debug for CapnpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapnpTransport")
            .field("node", &self.shared.options.hello.node)
            .field("peers", &self.shared.states.get())
            .finish_non_exhaustive()
    }
}
