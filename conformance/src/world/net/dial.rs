//! Dialling peers: again and again, with a pause that grows.

use super::endpoint::Stage;
use super::session::install;
use super::{Net, NetMutant, State};
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
    let (mut failures, mut remembered) = (0, None);
    loop {
        match wish(&net, endpoint, peer) {
            Wish::Nothing if net.lock().has(NetMutant::CloseLeaksTask) => std::future::pending().await,
            Wish::Nothing => return,
            Wish::Dial(_) if failures > 4 && net.lock().has(NetMutant::GivesUp) => return,
            Wish::Keep(listener) => {
                pause = FIRST_PAUSE;
                listener.await;
            }
            Wish::Dial(address) => {
                let resolved = resolve(&net, &address, &mut remembered);
                if let Err(reason) = attempt(&net, endpoint, peer, (&address, resolved)).await {
                    failures += 1;
                    log::debug!("event=dial_failed peer={peer} address={address} reason=\"{reason}\"");
                    // Half of the pause is fixed and half is random, so that nodes do not dial in step.
                    let half = u64::try_from(pause.as_nanos() / 2).unwrap_or(u64::MAX);
                    let jitter = Duration::from_nanos(env.rng.next_u64() % half.max(1));
                    env.clock.sleep(pause / 2 + jitter).await;
                    pause = if net.lock().has(NetMutant::NoBackoff) {
                        Duration::from_micros(10)
                    } else {
                        (pause * 2).min(LONGEST_PAUSE)
                    };
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
async fn attempt(
    net: &Arc<Net>,
    endpoint: u64,
    peer: NodeId,
    (address, resolved): (&str, Option<SocketAddr>),
) -> Result<(), String> {
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
    let arrived = arrive(&mut net.lock(), (own, peer), address, resolved);
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
            greet(net, endpoint, target, (own, peer), address)
        }
    }
}

enum Arrival {
    Listener(u64),
    Refused(String),
    Silence,
}

/// The address that a name leads to now.
fn resolve(net: &Net, name: &str, remembered: &mut Option<SocketAddr>) -> Option<SocketAddr> {
    let state = net.lock();
    if remembered.is_some() && state.has(NetMutant::CachesAddress) {
        return *remembered;
    }
    *remembered = state.hosts.get(name).copied().or_else(|| name.parse().ok());
    *remembered
}

fn arrive(
    state: &mut State,
    (own, peer): (NodeId, NodeId),
    address: &str,
    resolved: Option<SocketAddr>,
) -> Arrival {
    let Some(resolved) = resolved else {
        return Arrival::Refused(format!("{address} is unknown"));
    };
    state.wires.count_attempt(address);
    let wire = state.wires.get(address);
    if wire.refuses {
        return Arrival::Refused("refused".to_owned());
    }
    if !state.links.is_open(own, peer) || wire.hold_to_listener || wire.hold_to_dialler {
        return Arrival::Silence;
    }
    match state.endpoints.iter().find(|(_, there)| there.local == resolved) {
        None => Arrival::Refused("nobody listens".to_owned()),
        Some((_, there)) if !there.answers() => Arrival::Silence,
        Some((id, _)) => Arrival::Listener(*id),
    }
}

/// Both say who they are, and refuse whom they do not look for.
fn greet(
    net: &Arc<Net>,
    endpoint: u64,
    target: u64,
    (own, peer): (NodeId, NodeId),
    wire: &str,
) -> Result<(), String> {
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
    let listener_refuses =
        !there.papers.accept(here.papers) && !here.has(NetMutant::AsksNoCertificateOfDiallers);
    let refused = listener_refuses || !here.papers.accept(there.papers);
    if refused && !here.has(NetMutant::TrustsAnyCertificate) {
        return Err("its certificate is of another authority".to_owned());
    }
    let (mine, theirs) = (&here.options.hello, &there.options.hello);
    // A node that has no cluster yet talks to everybody.
    let apart = mine.cluster_id != theirs.cluster_id;
    let named = !mine.cluster_id.is_empty() && !theirs.cluster_id.is_empty();
    if apart && named && !here.has(NetMutant::AcceptsOtherCluster) {
        return Err(format!("it belongs to cluster {}", theirs.cluster_id));
    }
    if mine.version != theirs.version && !here.has(NetMutant::AcceptsOtherVersion) {
        return Err(format!("it speaks version {}", theirs.version));
    }
    if theirs.node != peer && !here.has(NetMutant::AcceptsOtherNode) {
        return Err(format!("it is node {}", theirs.node));
    }
    if there.stage != Stage::Open || here.stage != Stage::Open {
        return Err("closing".to_owned());
    }
    install(net, state, (endpoint, target), (peer, wire));
    Ok(())
}
