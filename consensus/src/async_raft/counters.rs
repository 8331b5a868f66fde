//! What the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of an engine since its start; each only grows unless it says otherwise.
        #[derive(Debug, Default)]
        pub struct AsyncRaftCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl AsyncRaftCounters {
            /// The names and values.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Terms in which the crate made a replica of this node a candidate.
    crate_campaigns,
    /// Terms in which the crate made a replica of this node the leader.
    crate_elections_won,
    /// Votes that the crate gave to others.
    crate_votes,
    /// Entries that the crate appended as a leader.
    crate_leader_appends,
    /// Entries that the crate appended as a follower.
    crate_follower_appends,
    /// Truncations by the crate.
    crate_truncations,
    /// Calls by which the crate asked to replicate.
    crate_replication_calls,
    /// Entries that the crate wanted applied.
    crate_applied,
    /// Proposals taken.
    proposals,
    /// Proposals refused because too much was in flight.
    overloaded,
    /// Proposals that were committed.
    commits,
    /// Messages that arrived.
    messages_in,
    /// Messages for groups or replicas that this node does not have.
    dropped_unknown,
    /// Messages that were not what they should be.
    dropped_malformed,
    /// Messages that found too many before them.
    dropped_busy,
    /// Messages without an answer.
    unanswered,
    /// S5: messages refused because the entry before them was not in the log.
    guard_previous_mismatches,
    /// S6: entries dropped from a message because they were held.
    guard_held_entries,
    /// S6: messages and truncations refused because they contradicted a committed entry. Anything but 0 is an alarm.
    guard_committed_contradictions,
    /// L4: vote requests whose log fields were rewritten.
    guard_votes_rewritten,
    /// L9: times that a leader was fenced.
    guard_fenced,
    /// L10: vote requests of replicas outside the membership.
    guard_foreign_votes,
    /// Checkpoints sent to replicas that needed purged entries.
    checkpoints_sent,
    /// Checkpoints taken from a leader.
    checkpoints_installed,
    /// Groups that stopped by an error.
    groups_stopped,
    /// Groups that are open now.
    groups_open,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
