//! Where the other nodes are: the listed peers, the registered brokers, and those that ask to join.

use crate::cluster::ClusterImage;
use crate::cluster::state::State;
use chronik_core::transport::{Peer, Transport};
use chronik_core::{NodeId, Watch};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of addresses, and by whom.
#[derive(Debug, Default)]
struct Known {
    registered: BTreeMap<NodeId, String>,
    joining: BTreeMap<NodeId, String>,
}

/// The address book of a node; what it holds, the transport keeps sessions with.
pub struct AddressBook {
    own: NodeId,
    transport: Arc<dyn Transport>,
    listed: BTreeMap<NodeId, String>,
    known: Mutex<Known>,
}

impl AddressBook {
    /// A book that begins with the listed peers.
    #[must_use]
    pub fn new(own: NodeId, transport: Arc<dyn Transport>, listed: &[Peer]) -> Arc<Self> {
        let listed = listed.iter().map(|peer| (peer.node, peer.address.clone()));
        let book = Arc::new(Self {
            own,
            transport,
            listed: listed.collect(),
            known: Mutex::new(Known::default()),
        });
        book.tell();
        book
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that is not in the metadata yet says where it is.
    pub fn add(&self, node: NodeId, address: &str) {
        self.lock().joining.insert(node, address.to_owned());
        self.tell();
    }

    /// Follows the metadata until the process ends.
    pub async fn follow(self: Arc<Self>, images: Watch<Arc<ClusterImage>>) {
        let (mut image, mut version) = images.versioned();
        loop {
            self.take(&image.state);
            (image, version) = images.changed(version).await;
        }
    }

    fn take(&self, state: &State) {
        let addresses = state.brokers().values();
        let registered: BTreeMap<NodeId, String> = addresses
            .filter_map(|broker| Some((broker.node(), broker.peer.clone()?)))
            .collect();
        let changed = {
            let mut known = self.lock();
            let changed = known.registered != registered;
            known.joining.retain(|node, _| !registered.contains_key(node));
            known.registered = registered;
            changed
        };
        if changed {
            self.tell();
        }
    }

    /// What a node says of itself comes first, newest first; the configured list is for first contact.
    fn tell(&self) {
        let mut peers = self.listed.clone();
        {
            let known = self.lock();
            peers.extend(known.registered.clone());
            peers.extend(known.joining.clone());
        }
        peers.remove(&self.own);
        let peers = peers.into_iter().map(|(node, address)| Peer { node, address });
        self.transport.set_peers(peers.collect());
    }

    /// The nodes whose address is known, this one excepted.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let known = self.lock();
        let mut nodes: Vec<NodeId> = self.listed.keys().copied().collect();
        nodes.extend(known.registered.keys().chain(known.joining.keys()));
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| *node != self.own);
        nodes
    }
}

impl fmt::Debug for AddressBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressBook")
            .field("own", &self.own)
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}
