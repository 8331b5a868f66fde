//! The one thread of a transport: it owns all sessions.

use async_channel::{Receiver, Sender};
use async_executor::{LocalExecutor, Task};
use async_io::Timer;
use async_std::net::TcpListener;
use chronik_core::env::Rng;
use chronik_core::ids::NodeId;
use event_listener::Event;
use futures_lite::FutureExt as _;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::accept::{Arrivals, accept};
use crate::dial::keep_connected;
use crate::lane::OutLane;
use crate::shared::{Command, OutPeer, Shared};
use crate::tls::Secured;
use crate::wire::Pool;

/// What the tasks of the thread share.
pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: Arc<dyn Rng>,
    /// Drawn anew by each transport, so that peers tell a restart from a second process.
    pub(crate) incarnation: u64,
    pub(crate) arrivals: Arrivals,
    pub(crate) pool: Pool,
    /// `None` where connections are plain.
    pub(crate) tls: Option<Secured>,
    executor: Weak<LocalExecutor<'static>>,
    closing: Cell<bool>,
    closed: Event,
}

impl Node {
    /// Starts a task; it ends with its handle, or with the thread.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Option<Task<()>> {
        Some(self.executor.upgrade()?.spawn(task))
    }

    /// Completes once the transport closes.
    pub(crate) async fn closing(&self) {
        while !self.closing.get() {
            let listener = self.closed.listen();
            if !self.closing.get() {
                listener.await;
            }
        }
    }

    /// How long a peer may be silent.
    pub(crate) fn keepalive(&self) -> Duration {
        self.shared.options.keepalive
    }

    /// The largest message that we take.
    pub(crate) fn max_message_bytes(&self) -> usize {
        usize::try_from(self.shared.options.max_message_bytes).unwrap_or(usize::MAX)
    }
}

/// Tells those who wait that the thread is at its end, also where a panic ends it.
struct Ended {
    shared: Arc<Shared>,
    _done: Sender<()>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.shared.ended();
    }
}

/// Runs the transport to its end. `done` is closed when no task and no socket is left.
pub(crate) fn run(
    shared: &Arc<Shared>,
    listener: std::net::TcpListener,
    commands: &Receiver<Command>,
    tls: Option<Secured>,
    rng: Arc<dyn Rng>,
    done: Sender<()>,
) {
    let _ended = Ended {
        shared: Arc::clone(shared),
        _done: done,
    };
    // Dropped before: it holds the tasks, and they the sockets.
    let executor = Rc::new(LocalExecutor::new());
    let node = Rc::new(Node {
        shared: Arc::clone(shared),
        incarnation: rng.next_u64(),
        rng,
        arrivals: Arrivals::default(),
        pool: Pool::default(),
        tls,
        executor: Rc::downgrade(&executor),
        closing: Cell::new(false),
        closed: Event::new(),
    });
    async_io::block_on(executor.run(serve(node, TcpListener::from(listener), commands)));
}

async fn serve(node: Rc<Node>, listener: TcpListener, commands: &Receiver<Command>) {
    let accepting = node.spawn(accept(Rc::clone(&node), listener));
    let mut peers: BTreeMap<NodeId, (Arc<OutPeer>, Vec<Task<()>>)> = BTreeMap::new();
    let close = loop {
        match commands.recv().await {
            Ok(Command::Book) => follow_book(&node, &mut peers),
            Ok(Command::Close) => break true,
            Ok(Command::Abort) | Err(_) => break false,
        }
    };
    drop(accepting);
    if close {
        node.closing.set(true);
        node.closed.notify(usize::MAX);
        let flushed = async {
            for (_, tasks) in peers.into_values() {
                // The first task of a peer ends by itself, the keepers of the deadlines do not.
                if let Some(dialling) = tasks.into_iter().next() {
                    dialling.await;
                }
            }
        };
        // A peer that takes nothing does not keep us for ever.
        flushed.or(sleep(node.keepalive())).await;
    }
}

/// Starts what is new in the book and ends what left it.
fn follow_book(node: &Rc<Node>, peers: &mut BTreeMap<NodeId, (Arc<OutPeer>, Vec<Task<()>>)>) {
    let book = node.shared.book();
    let gone: Vec<NodeId> = peers
        .keys()
        .filter(|id| !book.contains_key(id))
        .copied()
        .collect();
    for id in gone {
        peers.remove(&id);
        node.arrivals.stop(id, "it left the address book");
    }
    for (id, peer) in book {
        if peers.get(&id).is_some_and(|(known, _)| Arc::ptr_eq(known, &peer)) {
            continue;
        }
        let mut tasks = Vec::from_iter(node.spawn(keep_connected(Rc::clone(node), Arc::clone(&peer))));
        for lane in &peer.lanes {
            tasks.extend(node.spawn(keep_deadlines(Arc::clone(lane))));
        }
        peers.insert(id, (peer, tasks));
    }
}

/// Ends the calls of a lane that are over their time (TR-RPC-04).
async fn keep_deadlines(lane: Arc<OutLane>) {
    loop {
        let earlier = lane.earlier();
        match lane.expire(Instant::now()) {
            Some(next) => {
                let over = async {
                    Timer::at(next).await;
                };
                earlier.or(over).await;
            }
            None => earlier.await,
        }
    }
}

pub(crate) async fn sleep(duration: Duration) {
    Timer::after(duration).await;
}

/// What comes first: the end of the future, or of the time.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = async {
        sleep(limit).await;
        Err(format!("{what} took longer than {limit:?}"))
    };
    future.or(late).await
}
