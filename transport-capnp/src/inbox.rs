//! What a peer can ask of us over one connection.

use chronik_core::ids::NodeId;
use chronik_core::transport::{Inbound, Lane};
use futures_channel::oneshot;
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
        log::warn!(
            "event=session_ended peer={} lane={:?} reason={what:?}",
            self.from,
            self.lane
        );
        self.arrival.end(what);
        capnp::Error::failed(what.to_owned())
    }

    /// Checks a batch before anything of it is queued.
    fn unpack(&self, params: &inbox::DeliverParams) -> capnp::Result<Unpacked> {
        let wrong = |what: &str| Err(capnp::Error::failed(what.to_owned()));
        let params = params.get()?;
        if params.get_number() != self.last.get() + 1 {
            return wrong("a batch came out of order");
        }
        let (taken, waiter) = Taken::new();
        let mut parcels = VecDeque::new();
        let mut bytes = 0;
        for message in params.get_messages()? {
            let (call, body) = (message.get_call(), message.get_body()?);
            if body.len() > self.max_message_bytes {
                return wrong("a message is larger than the limit");
            }
            bytes += charge(body.len());
            if self.untaken.get() + bytes > self.max_untaken {
                return wrong("the peer sends more than its window");
            }
            if message.get_checksum() != self.wire.checksum(call, body) {
                return wrong("a message is damaged");
            }
            let inbound = Inbound {
                from: self.from,
                lane: self.lane,
                message: self.wire.share(body),
                reply: reply(Arc::clone(&self.replies), call),
            };
            parcels.push_back(Parcel {
                inbound,
                taken: Arc::clone(&taken),
            });
        }
        self.last.set(params.get_number());
        Ok(Unpacked {
            parcels,
            waiter,
            bytes,
        })
    }
}

/// The messages of a batch, and what says that they were taken.
struct Unpacked {
    parcels: VecDeque<Parcel>,
    waiter: oneshot::Receiver<()>,
    bytes: usize,
}

impl inbox::Server for Inbox {
    async fn deliver(
        self: Rc<Self>,
        params: inbox::DeliverParams,
        _results: inbox::DeliverResults,
    ) -> capnp::Result<()> {
        let unpacked = self.unpack(&params);
        // The frame is not needed while the messages wait.
        drop(params);
        let Unpacked {
            parcels,
            waiter,
            bytes,
        } = unpacked.map_err(|error| self.violation(&error.to_string()))?;
        self.untaken.set(self.untaken.get() + bytes);
        self.inbound
            .push(self.from, self.arrival.session, self.lane, parcels);
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
