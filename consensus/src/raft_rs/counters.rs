//! What the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of an engine since its start; each only grows unless it says otherwise.
        #[derive(Debug, Default)]
        pub struct RaftCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl RaftCounters {
            /// The names and values.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Elections that a replica of this node started.
    elections,
    /// Elections among them that started because a connection was lost.
    fast_elections,
    /// Changes of leader that replicas of this node saw.
    leader_changes,
    /// Messages of groups that arrived.
    messages_in,
    /// Messages of groups that were sent.
    messages_out,
    /// Batches that arrived.
    batches_in,
    /// Batches that were sent.
    batches_out,
    /// Bytes that arrived.
    bytes_in,
    /// Bytes that were sent.
    bytes_out,
    /// Messages for groups or replicas that this node does not have.
    dropped_unknown,
    /// Messages that were not what they should be.
    dropped_malformed,
    /// Messages that did not fit into a peer's queue.
    dropped_busy,
    /// Messages for peers without a session.
    dropped_disconnected,
    /// Proposals taken.
    proposals,
    /// Proposals refused because too much was in flight.
    overloaded,
    /// Entries that the leader made of them.
    entries,
    /// Proposals that were committed.
    commits,
    /// Microseconds from the call to the commit, summed over committed proposals.
    commit_latency_us,
    /// Calls of append on a log.
    append_batches,
    /// Rounds in which a group had something to do.
    ready_rounds,
    /// Rounds of the engine.
    engine_rounds,
    /// Checkpoints sent to replicas that needed purged entries.
    checkpoints_sent,
    /// Checkpoints taken from a leader.
    checkpoints_installed,
    /// Groups that stopped by an error.
    groups_stopped,
    /// Groups that are open now.
    groups_open,
    /// Groups that this node leads now.
    groups_led,
    /// Groups that sleep now.
    groups_hibernating,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
