//! Messages on their way out: gathered per peer and lane, bounded, in order.

use super::counters::{RaftCounters, count};
use super::inbox::Instance;
use super::wire::{BATCH_HEAD, Envelope, Ping, VERSION, lane_of, put_message, put_ping};
use bytes::Bytes;
use chronik_core::transport::{Channel, Lane, PeerState, SendError};
use chronik_core::{NodeId, ReplicaId, Transport};
use raft::eraftpb::MessageType;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A message that the sender must know to be lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) from: Instance,
    pub(super) to: ReplicaId,
    pub(super) kind: MessageType,
}

/// Messages that travel together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    messages: u64,
    /// Those among them whose loss their senders must know.
    tracked: Vec<Lost>,
}

/// Batches that wait for room in a lane.
#[derive(Debug, Default)]
struct Stash {
    batches: VecDeque<(Bytes, u64, Vec<Lost>)>,
    bytes: usize,
}

/// The messages of one engine.
#[derive(Debug)]
pub(super) struct Outbox {
    transport: Arc<dyn Transport>,
    counters: Arc<RaftCounters>,
    batch_bytes: usize,
    stash_bytes: usize,
    peers: BTreeMap<NodeId, PeerState>,
    batches: BTreeMap<(NodeId, Lane), Batch>,
    stashes: BTreeMap<(NodeId, Lane), Stash>,
    /// Lanes that became full: somebody must wait for room.
    full: Vec<(NodeId, Lane)>,
    lost: Vec<Lost>,
}

impl Outbox {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        counters: Arc<RaftCounters>,
        batch_bytes: usize,
        stash_bytes: usize,
    ) -> Self {
        Self {
            transport,
            counters,
            batch_bytes,
            stash_bytes,
            peers: BTreeMap::new(),
            batches: BTreeMap::new(),
            stashes: BTreeMap::new(),
            full: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Takes a message for a node.
    ///
    /// # Errors
    /// The message cannot be sent now; its type.
    pub(super) fn put(
        &mut self,
        node: NodeId,
        from: Instance,
        envelope: &Envelope,
    ) -> Result<(), MessageType> {
        let kind = envelope.message.get_msg_type();
        if !self.peers.get(&node).is_some_and(|peer| peer.connected) {
            count(&self.counters.dropped_disconnected, 1);
            return Err(kind);
        }
        let lane = (node, lane_of(kind));
        let batch = self.batches.entry(lane).or_default();
        if batch.bytes.is_empty() {
            batch.bytes.extend([Channel::Consensus as u8, VERSION]);
        }
        let before = batch.bytes.len();
        if !put_message(&mut batch.bytes, envelope) {
            return Ok(());
        }
        let track = matches!(kind, MessageType::MsgAppend | MessageType::MsgSnapshot);
        let lost = track.then_some(Lost {
            from,
            to: envelope.to,
            kind,
        });
        if before > BATCH_HEAD && batch.bytes.len() > self.batch_bytes {
            let next = batch.bytes.split_off(before);
            let full = std::mem::take(batch);
            batch.bytes.extend([Channel::Consensus as u8, VERSION]);
            batch.bytes.extend(next);
            self.send(lane, full);
        }
        let batch = self.batches.entry(lane).or_default();
        batch.messages += 1;
        batch.tracked.extend(lost);
        Ok(())
    }

    /// Takes a ping for a node that is connected.
    pub(super) fn put_ping(&mut self, node: NodeId, ping: Ping) {
        let batch = self.batches.entry((node, Lane::Control)).or_default();
        if batch.bytes.is_empty() {
            batch.bytes.extend([Channel::Consensus as u8, VERSION]);
        }
        put_ping(&mut batch.bytes, ping);
        batch.messages += 1;
    }

    /// Sends what was gathered. What is lost is in [`Outbox::take_lost`] afterwards.
    pub(super) fn flush(&mut self) {
        for (lane, batch) in std::mem::take(&mut self.batches) {
            if batch.messages > 0 {
                self.send(lane, batch);
            }
        }
    }

    fn send(&mut self, lane: (NodeId, Lane), batch: Batch) {
        let bytes = Bytes::from(batch.bytes);
        if self.stashes.contains_key(&lane) {
            self.keep(lane, bytes, batch.messages, batch.tracked);
        } else {
            self.try_send(lane, bytes, batch.messages, batch.tracked);
        }
    }

    /// True where the lane takes more.
    fn try_send(&mut self, lane: (NodeId, Lane), bytes: Bytes, messages: u64, tracked: Vec<Lost>) -> bool {
        match self.transport.send(lane.0, lane.1, bytes.clone()) {
            Ok(()) => {
                count(&self.counters.batches_out, 1);
                count(&self.counters.messages_out, messages);
                count(&self.counters.bytes_out, bytes.len() as u64);
                true
            }
            // Votes and heartbeats are worth nothing late.
            Err(SendError::Busy) if lane.1 == Lane::Control => {
                count(&self.counters.dropped_busy, messages);
                true
            }
            Err(SendError::Busy) => {
                self.keep(lane, bytes, messages, tracked);
                false
            }
            Err(error) => {
                if let SendError::TooLarge { limit_bytes } = error {
                    log::error!(
                        "event=consensus_message_too_large peer={} bytes={} limit_bytes={limit_bytes}",
                        lane.0,
                        bytes.len()
                    );
                }
                count(&self.counters.dropped_disconnected, messages);
                self.lost.extend(tracked);
                true
            }
        }
    }

    fn keep(&mut self, lane: (NodeId, Lane), bytes: Bytes, messages: u64, tracked: Vec<Lost>) {
        let stash = self.stashes.entry(lane).or_insert_with(|| {
            self.full.push(lane);
            Stash::default()
        });
        if stash.bytes + bytes.len() > self.stash_bytes {
            count(&self.counters.dropped_busy, messages);
            self.lost.extend(tracked);
            return;
        }
        stash.bytes += bytes.len();
        stash.batches.push_back((bytes, messages, tracked));
    }

    /// A lane that was full may take messages again.
    pub(super) fn room(&mut self, node: NodeId, lane: Lane) {
        let lane = (node, lane);
        let Some(stash) = self.stashes.remove(&lane) else {
            return;
        };
        let mut batches = stash.batches.into_iter();
        for (bytes, messages, tracked) in batches.by_ref() {
            if !self.try_send(lane, bytes, messages, tracked) {
                break;
            }
        }
        for (bytes, messages, tracked) in batches {
            self.keep(lane, bytes, messages, tracked);
        }
    }

    /// The sessions changed. What waits for a session that is gone is dropped.
    pub(super) fn set_peers(&mut self, peers: BTreeMap<NodeId, PeerState>) {
        for (lane, stash) in std::mem::take(&mut self.stashes) {
            if self.peers.get(&lane.0) == peers.get(&lane.0) {
                self.stashes.insert(lane, stash);
            } else {
                let tracked = stash.batches.into_iter().flat_map(|(_, _, tracked)| tracked);
                self.lost.extend(tracked);
            }
        }
        self.peers = peers;
    }

    pub(super) fn peers(&self) -> &BTreeMap<NodeId, PeerState> {
        &self.peers
    }

    /// The nodes with a session.
    pub(super) fn connected(&self) -> Vec<NodeId> {
        let connected = self.peers.iter().filter(|(_, peer)| peer.connected);
        connected.map(|(node, _)| *node).collect()
    }

    pub(super) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Lanes for which somebody must wait for room, and then say so.
    pub(super) fn take_full(&mut self) -> Vec<(NodeId, Lane)> {
        std::mem::take(&mut self.full)
    }
}
