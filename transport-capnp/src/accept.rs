//! The receiving side: connections that peers dial to us.

use async_std::net::{TcpListener, TcpStream};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client};
use chronik_core::ids::NodeId;
use chronik_core::transport::Lane;
use event_listener::Event;
use futures_lite::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::answers::{AnswerQueue, Given};
use crate::hello::{Greeting, Welcome, read_greeting, write_welcome};
use crate::inbound::lane_index;
use crate::inbox::Inbox;
use crate::limits::{MAX_SESSIONS, MAX_STRANGERS};
use crate::node::{Node, sleep, within};
use crate::session_capnp::{answers, inbox};
use crate::stream::{Duplex, Metered, Progress, Silence};
use crate::window::{Batch, Window, pump};
use crate::wire::{self, Wire};

/// A session that a peer began.
pub(crate) struct Arrival {
    incarnation: u64,
    /// The dialler's number of it.
    number: u64,
    /// Our number of it, under which its messages are queued.
    pub(crate) session: u64,
    lanes: Cell<[bool; 3]>,
    stopped: RefCell<Option<String>>,
    stop: Event,
}

impl Arrival {
    /// A lane has one connection.
    fn join(&self, lane: Lane) -> Result<(), String> {
        let mut lanes = self.lanes.get();
        if std::mem::replace(&mut lanes[lane_index(lane)], true) {
            return Err(format!("the session has a connection for {lane:?} already"));
        }
        self.lanes.set(lanes);
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Ends all connections of the session.
    pub(crate) fn end(&self, reason: &str) {
        self.stopped.borrow_mut().get_or_insert_with(|| reason.to_owned());
        self.stop.notify(usize::MAX);
    }

    async fn ended(&self) -> String {
        loop {
            let listener = self.stop.listen();
            if let Some(reason) = &*self.stopped.borrow() {
                return reason.clone();
            }
            listener.await;
        }
    }
}

/// The sessions of the peers, the newest of each.
#[derive(Default)]
pub(crate) struct Arrivals {
    sessions: RefCell<HashMap<NodeId, Rc<Arrival>>>,
    strangers: Cell<usize>,
    recognised: Event,
}

impl Arrivals {
    /// Ends the session of a peer.
    pub(crate) fn stop(&self, from: NodeId, reason: &str) {
        if let Some(arrival) = self.sessions.borrow_mut().remove(&from) {
            arrival.end(reason);
        }
    }

    /// Admits a connection to a session: the control lane begins one, the others join it.
    fn admit(&self, node: &Node, greeting: &Greeting) -> Result<Rc<Arrival>, String> {
        let from = greeting.hello.node;
        let mut sessions = self.sessions.borrow_mut();
        let current = sessions.get(&from).filter(|current| !current.is_over());
        let same = current.filter(|current| current.incarnation == greeting.incarnation);
        if greeting.lane != Lane::Control {
            let arrival = same
                .filter(|current| current.number == greeting.session)
                .ok_or("there is no such session: begin with the control lane")?;
            arrival.join(greeting.lane)?;
            return Ok(Rc::clone(arrival));
        }
        match (current, same) {
            (Some(_), None) => {
                return Err(format!(
                    "another process with the id {from} has a session: give each node its own id"
                ));
            }
            (_, Some(same)) if same.number >= greeting.session => {
                return Err("a newer session has begun".to_owned());
            }
            (_, Some(older)) => older.end("a newer session has begun"),
            (None, None) => {}
        }
        sessions.retain(|_, session| !session.is_over());
        if sessions.len() >= MAX_SESSIONS {
            return Err(format!("there are {MAX_SESSIONS} sessions already"));
        }
        let arrival = Rc::new(Arrival {
            incarnation: greeting.incarnation,
            number: greeting.session,
            session: node.shared.inbound.begin(from),
            lanes: Cell::default(),
            stopped: RefCell::new(None),
            stop: Event::new(),
        });
        arrival.join(Lane::Control)?;
        sessions.insert(from, Rc::clone(&arrival));
        Ok(arrival)
    }
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(node: Rc<Node>, listener: TcpListener) {
    loop {
        let arrivals = &node.arrivals;
        while arrivals.strangers.get() >= MAX_STRANGERS {
            let listener = arrivals.recognised.listen();
            if arrivals.strangers.get() >= MAX_STRANGERS {
                listener.await;
            }
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                arrivals.strangers.set(arrivals.strangers.get() + 1);
                let task = node.spawn(receive(Rc::clone(&node), stream, from));
                task.into_iter().for_each(async_executor::Task::detach);
            }
            Err(error) => {
                log::warn!("event=accept_failed error={error:?}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a connection that has not said hello.
struct Stranger<'a>(&'a Arrivals);

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.0.strangers.set(self.0.strangers.get() - 1);
        self.0.recognised.notify(1);
    }
}

async fn receive(node: Rc<Node>, stream: TcpStream, address: SocketAddr) {
    let progress = Progress::new();
    let hello = {
        let _stranger = Stranger(&node.arrivals);
        let limit = node.keepalive();
        within(limit, "saying hello", greet(&node, stream, Rc::clone(&progress))).await
    };
    let (io, greeting, arrival) = match hello {
        Ok(greeted) => greeted,
        Err(reason) => {
            log::warn!("event=connection_refused address={address} reason={reason:?}");
            return;
        }
    };
    let from = greeting.hello.node;
    // Whoever reaches us can be reached: no need to wait any longer.
    if greeting.lane == Lane::Control
        && let Some(peer) = node.shared.find(from)
    {
        peer.heard.notify(1);
    }
    let reason = serve(&node, io, &greeting, &arrival, &progress).await;
    log::debug!(
        "event=connection_ended peer={from} lane={:?} reason={reason:?}",
        greeting.lane
    );
    arrival.end(&reason);
    node.shared.inbound.retire(from, arrival.session);
}

type Greeted = (Box<dyn Duplex>, Greeting, Rc<Arrival>);

async fn greet(node: &Node, stream: TcpStream, progress: Rc<Progress>) -> Result<Greeted, String> {
    let _ = stream.set_nodelay(true);
    let mut io: Box<dyn Duplex> = Box::new(Metered::new(stream, progress));
    if let Some(tls) = &node.tls {
        io = tls.accept(io).await.map_err(|error| format!("no TLS: {error}"))?;
    }
    let greeting = read_greeting(&mut io)
        .await
        .map_err(|error| format!("not a hello: {error}"))?;
    let options = &node.shared.options;
    let admitted = match greeting.refusal(&options.hello) {
        Some(reason) => Err(reason),
        None => node.arrivals.admit(node, &greeting),
    };
    let welcome = Welcome {
        hello: options.hello.clone(),
        refused: admitted.as_ref().err().cloned(),
        max_message_bytes: options.max_message_bytes,
    };
    let written = write_welcome(&mut io, &welcome).await;
    let arrival = admitted?;
    match written {
        Ok(()) => Ok((io, greeting, arrival)),
        Err(error) => {
            let reason = format!("the hello was not answered: {error}");
            arrival.end(&reason);
            node.shared.inbound.retire(greeting.hello.node, arrival.session);
            Err(reason)
        }
    }
}

/// Takes what the peer sends over one connection, until it ends; returns why it did.
async fn serve(
    node: &Node,
    io: Box<dyn Duplex>,
    greeting: &Greeting,
    arrival: &Rc<Arrival>,
    progress: &Progress,
) -> String {
    let options = &node.shared.options;
    let queued = usize::try_from(options.max_queued_bytes).unwrap_or(usize::MAX);
    let limit = greeting.max_message_bytes.min(options.max_message_bytes);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let replies = Arc::new(AnswerQueue::new(limit, queued));
    let (network, wire) = wire::network(io, Side::Server, node);
    let inbox = Inbox::new(node, greeting, arrival, &replies, wire.clone());
    let client: inbox::Client = new_client(inbox);
    let mut rpc = RpcSystem::new(network, Some(client.client));
    let caller: answers::Client = rpc.bootstrap(Side::Client);
    let window = Window::default();
    let receiving = wire::run(rpc);
    let answering = async {
        let send = |batch: Batch<Given>| answer(&caller, &wire, &batch);
        pump(&*replies, &window, send).await.to_string()
    };
    let reason = receiving
        .or(answering)
        .or(watch(progress, node.keepalive()))
        .or(arrival.ended())
        .await;
    replies.end();
    reason
}

fn answer(
    caller: &answers::Client,
    wire: &Wire,
    batch: &Batch<Given>,
) -> impl Future<Output = capnp::Result<()>> + use<> {
    wire.announce(batch.bytes);
    let mut request = caller.answer_request();
    // A batch holds fewer answers than a list can: each counts against the bytes of the batch.
    let mut list = request.get().init_answers(batch.items.len() as u32);
    for (index, (call, given)) in (0..).zip(&batch.items) {
        let mut item = list.reborrow().get(index);
        item.set_call(*call);
        let checked = given.as_ref().map_or(&[][..], |body| body);
        item.set_checksum(wire.checksum(*call, checked));
        match given {
            Ok(body) => item.set_body(body),
            Err(reason) => item.set_none(*reason),
        }
    }
    let promise = request.send().promise;
    async move { promise.await.map(|_| ()) }
}

/// Gives up on a peer that is silent: it asks for a sign of life long before (TR-REC-03).
async fn watch(progress: &Progress, keepalive: Duration) -> String {
    let tick = keepalive / 8;
    let mut silence = Silence::new(tick);
    loop {
        sleep(tick).await;
        let silent = silence.since(progress.read());
        if silent >= keepalive {
            return format!("the peer was silent for {silent:?}");
        }
    }
}
