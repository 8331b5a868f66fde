//! A connection as Cap'n Proto RPC sees it: frames both ways, with limits.

mod frames;
mod writer;

use bytes::Bytes;
use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions};
use capnp_rpc::rpc_capnp::message;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Disconnector, IncomingMessage, OutgoingMessage, RpcSystem, VatNetwork};
use futures_util::AsyncReadExt as _;
use futures_util::TryFutureExt as _;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::limits::{MAX_QUESTIONS, NESTING_LEVELS, frame_words, max_unwritten};
use crate::node::Node;
use crate::stream::Duplex;
pub(crate) use frames::Pool;
use frames::{Frame, FrameReader, Live};
use writer::{Message, WriteQueue};

/// How large a message is that nobody announced: the envelope of a call without content.
const SMALL_WORDS: u32 = 64;

type Io = futures_util::io::ReadHalf<Box<dyn Duplex>>;

/// What the messages of one connection share.
struct Inner {
    side: Side,
    reader: RefCell<Option<FrameReader<Io>>>,
    options: ReaderOptions,
    queue: WriteQueue,
    max_unwritten: usize,
    /// Calls of the peer that it has not finished.
    questions: Cell<usize>,
    announced: Cell<u32>,
    /// Whether nothing below vouches for the bytes.
    checked: bool,
}

/// A handle to the connection below the calls.
#[derive(Clone)]
pub(crate) struct Wire {
    inner: Rc<Inner>,
    live: Live,
}

impl Wire {
    /// The next message to be written has about so many bytes.
    pub(crate) fn announce(&self, bytes: usize) {
        let words = u32::try_from(bytes / 8).unwrap_or(u32::MAX / 8);
        self.inner.announced.set(words + SMALL_WORDS);
    }

    /// The checksum of a message, or of an answer (TR-FLT-02).
    pub(crate) fn checksum(&self, call: u64, body: &[u8]) -> u32 {
        if !self.inner.checked {
            return 0;
        }
        crc32c::crc32c_append(crc32c::crc32c(&call.to_le_bytes()), body)
    }

    /// A body of a message that is being handled, without a copy where it is large.
    pub(crate) fn share(&self, body: &[u8]) -> Bytes {
        self.live.share(body)
    }
}

/// A connection that takes frames up to what the largest message needs.
pub(crate) fn network(io: Box<dyn Duplex>, side: Side, node: &Node) -> (Box<dyn VatNetwork<Side>>, Wire) {
    let max_message_bytes = node.max_message_bytes();
    let limit_words = frame_words(max_message_bytes);
    let mut options = ReaderOptions::new();
    // Every part of a frame is looked at once, and its envelope a few times.
    options
        .traversal_limit_in_words(Some(limit_words.saturating_mul(2)))
        .nesting_limit(NESTING_LEVELS);
    let live = Live::default();
    let (read, write) = io.split();
    let queue = WriteQueue::default();
    let inner = Rc::new(Inner {
        side,
        reader: RefCell::new(Some(FrameReader::new(
            read,
            limit_words,
            node.pool.clone(),
            live.clone(),
        ))),
        options,
        queue: queue.clone(),
        max_unwritten: max_unwritten(max_message_bytes),
        questions: Cell::new(0),
        announced: Cell::new(0),
        checked: node.tls.is_none(),
    });
    let network = Network {
        inner: Rc::clone(&inner),
        accepted: false,
        driver: Some(Promise::from_future(queue.write_to(write))),
    };
    (Box::new(network), Wire { inner, live })
}

/// Runs the calls of a connection until it ends; returns why it did.
pub(crate) async fn run(system: RpcSystem<Side>) -> String {
    let _hangup = Hangup(system.get_disconnector());
    match system.await {
        Ok(()) => "the peer closed the connection".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Takes a connection's calls apart. Without it, those that are being answered keep the connection, and it keeps them.
struct Hangup(Disconnector<Side>);

impl Drop for Hangup {
    fn drop(&mut self) {
        // The first poll does it; to wait for more would be to wait for the peer.
        let _ = Pin::new(&mut self.0).poll(&mut Context::from_waker(Waker::noop()));
    }
}

struct Network {
    inner: Rc<Inner>,
    accepted: bool,
    driver: Option<Promise<(), capnp::Error>>,
}

impl VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn capnp_rpc::Connection<Side>>> {
        if host == self.inner.side {
            return None;
        }
        Some(Box::new(Connection {
            inner: Rc::clone(&self.inner),
        }))
    }

    fn accept(&mut self) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error> {
        if std::mem::replace(&mut self.accepted, true) {
            return Promise::from_future(std::future::pending());
        }
        Promise::ok(Box::new(Connection {
            inner: Rc::clone(&self.inner),
        }))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        // The system asks once.
        self.driver
            .take()
            .unwrap_or_else(|| Promise::from_future(std::future::pending()))
    }
}

struct Connection {
    inner: Rc<Inner>,
}

impl capnp_rpc::Connection<Side> for Connection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.side
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        // The system guesses a large segment for each call; we know better.
        let announced = self.inner.announced.take();
        let words = if announced > 0 {
            announced
        } else {
            first_segment_words.clamp(1, SMALL_WORDS)
        };
        let message = Builder::new(HeapAllocator::new().first_segment_words(words));
        Box::new(Outgoing {
            message,
            inner: Rc::clone(&self.inner),
        })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, capnp::Error> {
        let inner = Rc::clone(&self.inner);
        Promise::from_future(async move {
            let Some(mut reader) = inner.reader.borrow_mut().take() else {
                return Err(capnp::Error::failed("two readers of one connection".to_owned()));
            };
            // A peer that does not read its answers gets no more of them.
            inner.queue.at_most(inner.max_unwritten).await;
            let frame = reader.next().await?;
            *inner.reader.borrow_mut() = Some(reader);
            let Some(frame) = frame else {
                return Ok(None);
            };
            let incoming = Incoming {
                message: Reader::new(frame, inner.options),
            };
            inner.count(&incoming)?;
            Ok(Some(Box::new(incoming) as Box<dyn IncomingMessage>))
        })
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        let ended = self.inner.queue.end(result);
        // It is dropped at the end, not sent over.
        Promise::from_future(async move {
            let _ = ended.await;
            Ok(())
        })
    }
}

impl Inner {
    fn finished(&self) {
        self.questions.set(self.questions.get().saturating_sub(1));
    }

    /// Bounds what a peer can leave open: each call takes memory here until the peer says that it is finished.
    fn count(&self, incoming: &Incoming) -> capnp::Result<()> {
        let kind = incoming.get_body()?.get_as::<message::Reader<'_>>()?;
        match kind.which() {
            Ok(message::Call(_) | message::Bootstrap(_)) => self.questions.set(self.questions.get() + 1),
            Ok(message::Finish(_)) => self.finished(),
            Ok(_) | Err(_) => {}
        }
        if self.questions.get() > MAX_QUESTIONS {
            return Err(capnp::Error::failed(format!(
                "the peer has more than {MAX_QUESTIONS} open calls"
            )));
        }
        Ok(())
    }
}

struct Incoming {
    message: Reader<Frame>,
}

impl IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_root()
    }
}

struct Outgoing {
    message: Builder<HeapAllocator>,
    inner: Rc<Inner>,
}

impl Outgoing {
    /// Whether this is an answer after which the peer need not say that it is finished.
    fn finishes(&self) -> bool {
        let body = self.message.get_root_as_reader::<message::Reader<'_>>();
        match body.map(|body| body.which()) {
            Ok(Ok(message::Return(Ok(answer)))) => answer.get_no_finish_needed(),
            _ => false,
        }
    }
}

impl OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Message) {
        if self.finishes() {
            self.inner.finished();
        }
        let Self { message, inner } = *self;
        let message = Rc::new(message);
        let written = inner.queue.push(Rc::clone(&message));
        let gone = |_| capnp::Error::disconnected("the connection is closed".to_owned());
        (Promise::from_future(written.map_err(gone)), message)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}
