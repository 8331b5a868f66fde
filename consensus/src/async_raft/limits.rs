//! How much may be in flight, and who holds it.

use super::counters::{AsyncRaftCounters, count};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is in flight.
#[derive(Debug, Default)]
pub(super) struct Flight {
    bytes: AtomicU64,
    proposals: AtomicU64,
}

/// The limits of one group, within those of the node.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) node: Arc<Flight>,
    pub(super) node_bytes: u64,
    pub(super) group_bytes: u64,
    pub(super) group_proposals: u64,
    pub(super) flight: Flight,
    pub(super) counters: Arc<AsyncRaftCounters>,
}

/// A proposal's share of the limits; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Arc<Limits>,
    bytes: u64,
}

impl Limits {
    /// A share for `bytes`, or `None` where it would exceed a limit. A proposal that is alone is always admitted,
    /// however large: the log has the last word on its size.
    pub(super) fn admit(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        let waiting = self.flight.bytes.fetch_add(bytes, Ordering::Relaxed);
        let proposals = self.flight.proposals.fetch_add(1, Ordering::Relaxed);
        let on_node = self.node.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit {
            limits: Arc::clone(self),
            bytes,
        };
        let too_much = proposals >= self.group_proposals
            || (proposals > 0 && waiting + bytes > self.group_bytes)
            || (on_node > 0 && on_node + bytes > self.node_bytes);
        if too_much {
            count(&self.counters.overloaded, 1);
            return None;
        }
        Some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let flight = &self.limits.flight;
        flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        flight.proposals.fetch_sub(1, Ordering::Relaxed);
        self.limits.node.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
