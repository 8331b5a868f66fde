//! One inbound stream becomes two: one for the consensus engine, one for the node.

use async_channel::{Receiver, Sender};
use chronik_core::transport::{Channel, Inbound, InboundStream};
use chronik_core::{BoxFuture, Env};

/// How many messages wait for the engine. Beyond that its senders wait, as the transport sees to.
const CONSENSUS_WAITING: usize = 1024;
/// How many messages wait for the node.
const NODE_WAITING: usize = 256;

/// The messages of one channel. The first byte, which names the channel, is left on them.
#[derive(Debug)]
struct ChannelStream(Receiver<Inbound>);

impl InboundStream for ChannelStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Inbound>> {
        Box::pin(async move { self.0.recv().await.ok() })
    }
}

/// The two streams.
#[derive(Debug)]
pub struct Routed {
    /// For the engine.
    pub consensus: Box<dyn InboundStream>,
    /// For the node.
    pub node: Box<dyn InboundStream>,
}

/// Splits a stream by the channel that the first byte of each message names. Both ends once the transport is closed; a
/// side whose reader went away drops its messages.
#[must_use]
pub fn split(mut inbound: Box<dyn InboundStream>, env: &Env) -> Routed {
    let (to_consensus, consensus) = async_channel::bounded(CONSENSUS_WAITING);
    let (to_node, node) = async_channel::bounded(NODE_WAITING);
    let task = async move {
        while let Some(message) = inbound.next().await {
            route(message, &to_consensus, &to_node).await;
        }
    };
    env.spawn.spawn("peer-router", Box::pin(task));
    Routed {
        consensus: Box::new(ChannelStream(consensus)),
        node: Box::new(ChannelStream(node)),
    }
}

async fn route(message: Inbound, consensus: &Sender<Inbound>, node: &Sender<Inbound>) {
    let channel = message.message.first().copied().and_then(Channel::from_u8);
    let side = match channel {
        Some(Channel::Consensus) => consensus,
        Some(Channel::Node) => node,
        None => {
            log::warn!("event=message_without_channel from={}", message.from);
            return;
        }
    };
    // Where nobody reads any more, the reply is dropped with the message, and its caller is told "unknown".
    let _ = side.send(message).await;
}
