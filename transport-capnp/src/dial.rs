//! Keeping a session with a peer: dialling, and dialling again.

use async_std::net::TcpStream;
use chronik_core::env::Rng;
use chronik_core::transport::Lane;
use futures_lite::FutureExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::hello::{Greeting, read_welcome, write_greeting};
use crate::limits::{MAX_BACKOFF, MIN_BACKOFF};
use crate::node::{Node, sleep, within};
use crate::session::{Link, Session};
use crate::shared::OutPeer;
use crate::stream::{Duplex, Metered, Progress};

/// Dials the peer, keeps the session, and dials again when it is lost; ends when the transport closes.
pub(crate) async fn keep_connected(node: Rc<Node>, peer: Arc<OutPeer>) {
    let mut backoff = Backoff::new();
    let mut told = String::new();
    let id = peer.peer.node;
    loop {
        let attempt = dial(&node, &peer).or(async {
            node.closing().await;
            Err("the transport closes".to_owned())
        });
        let reason = match attempt.await {
            Ok(session) => {
                let Some(number) = node.shared.connected(&peer, session.limit_bytes()) else {
                    return;
                };
                log::info!(
                    "event=session_up peer={id} address={} session={number}",
                    peer.peer.address
                );
                let start = Instant::now();
                let reason = session.run(&node).await;
                node.shared.disconnected(&peer, &reason);
                log::info!("event=session_down peer={id} session={number} reason={reason:?}");
                backoff.lived(start.elapsed());
                told.clear();
                reason
            }
            Err(reason) => reason,
        };
        if node.shared.is_closed() {
            return;
        }
        if told != reason {
            log::warn!(
                "event=peer_unreachable peer={id} address={} reason={reason:?}",
                peer.peer.address
            );
            told = reason;
        }
        let heard = peer.heard.listen();
        let pause = async {
            // A peer that calls on us again and again is not dialled as often.
            sleep(MIN_BACKOFF).await;
            sleep(backoff.next(&*node.rng)).or(heard).await;
        };
        pause.or(node.closing()).await;
    }
}

/// One attempt: a connection for each lane, control first.
async fn dial(node: &Rc<Node>, peer: &OutPeer) -> Result<Session, String> {
    let number = peer.attempts.fetch_add(1, Ordering::Relaxed) + 1;
    let control = connect(node, peer, number, Lane::Control).await?;
    let others = futures_util::future::try_join(
        connect(node, peer, number, Lane::Replication),
        connect(node, peer, number, Lane::Bulk),
    );
    let (replication, bulk) = others.await?;
    Ok(Session::new(node, peer, [control, replication, bulk]))
}

async fn connect(node: &Rc<Node>, peer: &OutPeer, session: u64, lane: Lane) -> Result<Link, String> {
    let address = &peer.peer.address;
    within(node.keepalive(), "connecting and saying hello", async {
        // Looked up here, at each attempt (TR-REC-04).
        let stream = TcpStream::connect(address.as_str())
            .await
            .map_err(|error| format!("cannot connect to {address}: {error}"))?;
        let _ = stream.set_nodelay(true);
        let progress = Progress::new();
        let mut io: Box<dyn Duplex> = Box::new(Metered::new(stream, Rc::clone(&progress)));
        if let Some(tls) = &node.tls {
            let secured = tls.connect(address, io).await;
            io = secured.map_err(|error| format!("no TLS with {address}: {error}"))?;
        }
        let options = &node.shared.options;
        let greeting = Greeting {
            hello: options.hello.clone(),
            to: peer.peer.node,
            incarnation: node.incarnation,
            session,
            lane,
            max_message_bytes: options.max_message_bytes,
        };
        let hello = async {
            write_greeting(&mut io, &greeting).await?;
            read_welcome(&mut io).await
        };
        let welcome = hello
            .await
            .map_err(|error| format!("{address} does not say hello: {error}"))?;
        if let Some(reason) = welcome.refusal(&options.hello, peer.peer.node) {
            return Err(reason);
        }
        let limit = welcome.max_message_bytes.min(options.max_message_bytes);
        Ok(Link {
            io,
            progress,
            limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    })
    .await
}

/// Pauses that double, with jitter, up to a bound (TR-REC-01).
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: MIN_BACKOFF }
    }

    /// A session that lived for a while ends the series; one that ended at once does not.
    fn lived(&mut self, time: Duration) {
        if time >= MAX_BACKOFF {
            self.next = MIN_BACKOFF;
        }
    }

    fn next(&mut self, rng: &dyn Rng) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(MAX_BACKOFF);
        // Between a half and the whole.
        let half = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(half + rng.next_u64() % half)
    }
}
