//! Messages between engines in one process.

use bytes::Bytes;
use chronik_core::env::Env;
use chronik_core::transport::{
    CallOutcome, Inbound, InboundStream, Lane, Peer, PeerState, Reply, SendError, Transport,
};
use chronik_core::{BoxFuture, NodeId, Watch};
use futures_lite::future::or;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Ends = BTreeMap<NodeId, async_channel::Sender<Inbound>>;

/// Channels to all nodes.
#[derive(Clone, Default)]
pub(crate) struct Channels {
    ends: Arc<Mutex<Ends>>,
}

struct Endpoint {
    channels: Channels,
    own: NodeId,
    env: Env,
}

struct Stream(async_channel::Receiver<Inbound>);

impl Channels {
    /// The transport of a node, and what others send to it.
    pub(crate) fn bind(&self, own: NodeId, env: &Env) -> (Arc<dyn Transport>, Box<dyn InboundStream>) {
        let (sender, receiver) = async_channel::unbounded();
        self.ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(own, sender);
        let endpoint = Endpoint {
            channels: self.clone(),
            own,
            env: env.clone(),
        };
        (Arc::new(endpoint), Box::new(Stream(receiver)))
    }
}

impl Endpoint {
    fn deliver(&self, to: NodeId, lane: Lane, message: Bytes, reply: Reply) -> Result<(), SendError> {
        let ends = self.channels.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let inbound = Inbound {
            from: self.own,
            lane,
            message,
            reply,
        };
        let end = ends.get(&to).ok_or(SendError::UnknownPeer(to))?;
        end.try_send(inbound).map_err(|_| SendError::Disconnected)
    }
}

impl Transport for Endpoint {
    fn set_peers(&self, _: Vec<Peer>) {}

    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        message: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, CallOutcome> {
        let (sender, receiver) = async_channel::bounded(1);
        let reply = Reply::new(move |answer| drop(sender.try_send(answer)));
        let sent = self.deliver(to, lane, message, reply);
        let late = self.env.clock.sleep(deadline);
        Box::pin(async move {
            if let Err(error) = sent {
                return CallOutcome::NotDelivered(error);
            }
            let answer = async {
                match receiver.recv().await {
                    Ok(bytes) => CallOutcome::Answered(bytes),
                    Err(_) => CallOutcome::Unknown("dropped".into()),
                }
            };
            let late = async {
                late.await;
                CallOutcome::Unknown("deadline".into())
            };
            or(answer, late).await
        })
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        self.deliver(to, lane, message, Reply::new(drop))
    }

    fn room(&self, _: NodeId, _: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        let connected = PeerState {
            connected: true,
            session: 1,
        };
        Watch::new((1..=3).map(|node| (NodeId(node), connected)).collect())
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl InboundStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async { self.0.recv().await.ok() })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}
