//! What a peer can ask of us over one connection.

use chronik_core::ids::NodeId;
use chronik_core::transport::{Inbound, Lane};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::accept::Arrival;
use crate::answers::{AnswerQueue, reply};
use crate::hello::Greeting;
use crate::inbound::{InboundQueues, Parcel, Taken};
use crate::limits::{BATCH_BYTES, WINDOW_BYTES, charge};
use crate::node::Node;
use crate::session_capnp::inbox;
use crate::wire::Wire;

/// The receiving end of a lane.
pub(crate) struct Inbox {
    from: NodeId,
    lane: Lane,
    arrival: Rc<Arrival>,
    inbound: Arc<InboundQueues>,
    replies: Arc<AnswerQueue>,
    wire: Wire,
    /// The number of the last batch.
    last: Cell<u64>,
    /// What was received and not yet taken.
    untaken: Rc<Cell<usize>>,
    max_untaken: usize,
    max_message_bytes: usize,
}

impl Inbox {
    pub(crate) fn new(
        node: &Node,
        greeting: &Greeting,
        arrival: &Rc<Arrival>,
        replies: &Arc<AnswerQueue>,
        wire: Wire,
    ) -> Self {
        let max_message_bytes = node.max_message_bytes();
        Self {
            from: greeting.hello.node,
            lane: greeting.lane,
            arrival: Rc::clone(arrival),
            inbound: Arc::clone(&node.shared.inbound),
            replies: Arc::clone(replies),
            wire,
            last: Cell::new(0),
            untaken: Rc::default(),
            // A peer that keeps its window stays below.
            max_untaken: WINDOW_BYTES.max(charge(max_message_bytes)).max(BATCH_BYTES),
            max_message_bytes,
        }
    }

    /// The peer broke the rules: its session ends, and nothing else.
    fn violation(&self, what: &str) -> capnp::Error {
        self.arrival.end(what);
        capnp::Error::failed(what.to_owned())
    }
}

impl inbox::Server for Inbox {
    async fn deliver(
        self: Rc<Self>,
        params: inbox::DeliverParams,
        _results: inbox::DeliverResults,
    ) -> capnp::Result<()> {
        let waiter;
        let bytes;
        {
            let params = params.get()?;
            if params.get_number() != self.last.get() + 1 {
                return Err(self.violation("a batch came out of order"));
            }
            self.last.set(params.get_number());
            let messages = params.get_messages()?;
            let mut parcels = VecDeque::new();
            let taken;
            (taken, waiter) = Taken::new();
            let mut sum = 0;
            for message in messages {
                let body = message.get_body()?;
                if body.len() > self.max_message_bytes {
                    return Err(self.violation("a message is larger than the limit"));
                }
                sum += charge(body.len());
                if self.untaken.get() + sum > self.max_untaken {
                    return Err(self.violation("the peer sends more than its window"));
                }
                let inbound = Inbound {
                    from: self.from,
                    lane: self.lane,
                    message: self.wire.share(body),
                    reply: reply(Arc::clone(&self.replies), message.get_call()),
                };
                parcels.push_back(Parcel {
                    inbound,
                    taken: Arc::clone(&taken),
                });
            }
            bytes = sum;
            self.untaken.set(self.untaken.get() + bytes);
            self.inbound
                .push(self.from, self.arrival.session, self.lane, parcels);
        }
        // The frame is not needed while the messages wait.
        drop(params);
        // Cancelled means taken too: the last part was dropped.
        let _ = waiter.await;
        self.untaken.set(self.untaken.get() - bytes);
        self.replies.room().await;
        Ok(())
    }

    async fn ping(self: Rc<Self>, _: inbox::PingParams, _: inbox::PingResults) -> capnp::Result<()> {
        Ok(())
    }

    async fn goodbye(self: Rc<Self>, _: inbox::GoodbyeParams, _: inbox::GoodbyeResults) -> capnp::Result<()> {
        log::info!("event=goodbye peer={}", self.from);
        Ok(())
    }
}
