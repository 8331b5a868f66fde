//! Dialling peers: again and again, with a pause that grows.

use super::endpoint::Stage;
use super::session::install;
use super::{Net, State};
use chronik_core::NodeId;
use chronik_core::env::Env;
use event_listener::EventListener;
use futures_lite::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What there is to do about a peer.
enum Wish {
    /// It is not in the address book any more.
    Nothing,
    /// There is a session.
    Keep(EventListener),
    /// It is to be dialled at this address.
    Dial(String),
}

/// Keeps a session with `peer` for as long as it stands in the address book.
pub(super) async fn keep(net: Arc<Net>, env: Env, endpoint: u64, peer: NodeId) {
    let mut pause = FIRST_PAUSE;
    loop {
        match wish(&net, endpoint, peer) {
            Wish::Nothing => return,
            Wish::Keep(listener) => {
                pause = FIRST_PAUSE;
                listener.await;
            }
            Wish::Dial(address) => {
                if let Err(reason) = attempt(&net, endpoint, peer, &address).await {
                    log::debug!("event=dial_failed peer={peer} address={address} reason=\"{reason}\"");
                    // Half of the pause is fixed and half is random, so that nodes do not dial in step.
                    let half = u64::try_from(pause.as_nanos() / 2).unwrap_or(u64::MAX);
                    let jitter = Duration::from_nanos(env.rng.next_u64() % half.max(1));
                    env.clock.sleep(pause / 2 + jitter).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

fn wish(net: &Net, endpoint: u64, peer: NodeId) -> Wish {
    let mut state = net.lock();
    let Some(endpoint) = state.endpoints.get_mut(&endpoint) else {
        return Wish::Nothing;
    };
    let address = endpoint.book.get(&peer).filter(|_| endpoint.stage == Stage::Open);
    match address {
        None => {
            endpoint.dialling.remove(&peer);
            Wish::Nothing
        }
        Some(_) if endpoint.current.contains_key(&peer) => Wish::Keep(endpoint.changed.listen()),
        Some(address) => Wish::Dial(address.clone()),
    }
}

/// One attempt: a way there, the greeting, and a way back.
async fn attempt(net: &Arc<Net>, endpoint: u64, peer: NodeId, address: &str) -> Result<(), String> {
    let (own, patience, there, back) = {
        let mut state = net.lock();
        let state = &mut *state;
        let endpoint = state.endpoints.get(&endpoint).ok_or("closed")?;
        let (own, patience) = (endpoint.node(), endpoint.options.keepalive);
        let delay = state.options.delay;
        let there = state.links.draw(own, peer, delay);
        let back = state.links.draw(peer, own, delay);
        (own, patience, there, back)
    };
    let clock = &net.env.clock;
    clock.sleep(there).await;
    let arrived = arrive(&net.lock(), (own, peer), address);
    match arrived {
        Arrival::Silence => {
            let changed = net.changed.listen();
            future::or(clock.sleep(patience), changed).await;
            Err("no answer".to_owned())
        }
        Arrival::Refused(reason) => {
            clock.sleep(back).await;
            Err(reason)
        }
        Arrival::Listener(target) => {
            clock.sleep(back).await;
            greet(net, endpoint, target, (own, peer))
        }
    }
}

enum Arrival {
    Listener(u64),
    Refused(String),
    Silence,
}

fn arrive(state: &State, (own, peer): (NodeId, NodeId), address: &str) -> Arrival {
    let resolved: Option<SocketAddr> = state.hosts.get(address).copied().or_else(|| address.parse().ok());
    let Some(resolved) = resolved else {
        return Arrival::Refused(format!("{address} is unknown"));
    };
    if !state.links.is_open(own, peer) {
        return Arrival::Silence;
    }
    match state.endpoints.iter().find(|(_, there)| there.local == resolved) {
        None => Arrival::Refused("nobody listens".to_owned()),
        Some((_, there)) if !there.answers() => Arrival::Silence,
        Some((id, _)) => Arrival::Listener(*id),
    }
}

/// Both say who they are, and refuse whom they do not look for.
fn greet(net: &Arc<Net>, endpoint: u64, target: u64, (own, peer): (NodeId, NodeId)) -> Result<(), String> {
    let mut state = net.lock();
    let state = &mut *state;
    let here = state.endpoints.get(&endpoint).ok_or("closed")?;
    let there = state
        .endpoints
        .get(&target)
        .filter(|there| there.answers())
        .ok_or("no answer")?;
    if !state.links.is_open(peer, own) || !state.links.is_open(own, peer) {
        return Err("no answer".to_owned());
    }
    let (mine, theirs) = (&here.options.hello, &there.options.hello);
    if mine.cluster_id != theirs.cluster_id {
        return Err(format!("it belongs to cluster {}", theirs.cluster_id));
    }
    if mine.version != theirs.version {
        return Err(format!("it speaks version {}", theirs.version));
    }
    if theirs.node != peer {
        return Err(format!("it is node {}", theirs.node));
    }
    if there.stage != Stage::Open || here.stage != Stage::Open {
        return Err("closing".to_owned());
    }
    install(net, state, endpoint, target);
    Ok(())
}
