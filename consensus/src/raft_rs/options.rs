//! Limits and times of the engine.

use chronik_core::NodeId;
use std::time::Duration;

/// Limits and times of the raft-rs engine.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// This node.
    pub node: NodeId,
    /// The unit of the timers.
    pub tick: Duration,
    /// A leader speaks to its followers this often.
    pub heartbeat_ticks: u32,
    /// A follower that heard nothing for this many ticks, and up to twice as many by chance, asks for votes.
    pub election_ticks: u32,
    /// A group without a proposal for this many ticks sleeps: it sends and counts nothing until something happens,
    /// while its nodes hear each other. 0 keeps groups awake.
    pub hibernate_ticks: u32,
    /// How long at most a follower waits, by chance, before it asks for votes when the connection to its leader is
    /// lost.
    pub fast_election_jitter: Duration,
    /// How many payload bytes of one group may wait for their commit before proposals are refused as overloaded.
    pub group_inflight_bytes: u64,
    /// How many proposals of one group may wait.
    pub group_inflight_proposals: u64,
    /// How many payload bytes of all groups may wait.
    pub node_inflight_bytes: u64,
    /// The largest payload of an entry: at most what the log store and the transport take.
    pub max_entry_bytes: u64,
    /// How many payload bytes one append carries, beyond its first entry.
    pub max_append_bytes: u64,
    /// How many appends to one replica may be unanswered.
    pub max_inflight_appends: usize,
    /// Messages to one peer are gathered until they have this size.
    pub batch_bytes: usize,
    /// How much may wait for one peer while its lane is full; beyond it messages are dropped and sent again later.
    pub peer_stash_bytes: usize,
    /// How many bytes of messages that arrived may wait for the engine; beyond it senders are pushed back.
    pub inbox_bytes: usize,
    /// Proposals that wait together share an entry up to this many payload bytes; 0 gives each its own.
    pub coalesce_bytes: usize,
    /// A read barrier, a membership change or a transfer without an answer ends as unknown after this time.
    pub answer_timeout: Duration,
    /// A purge leaves what a connected replica still needs, up to this many entries behind the end of the log.
    pub keep_entries: u64,
    /// How many reads of old entries and checkpoints for other replicas may run at a time.
    pub max_reads: usize,
}

impl RaftOptions {
    /// The defaults for `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            tick: Duration::from_millis(100),
            heartbeat_ticks: 2,
            election_ticks: 10,
            hibernate_ticks: 30,
            fast_election_jitter: Duration::from_millis(60),
            group_inflight_bytes: 32 << 20,
            group_inflight_proposals: 65_536,
            node_inflight_bytes: 256 << 20,
            max_entry_bytes: 16 << 20,
            max_append_bytes: 512 << 10,
            max_inflight_appends: 64,
            batch_bytes: 128 << 10,
            peer_stash_bytes: 16 << 20,
            inbox_bytes: 32 << 20,
            coalesce_bytes: 64 << 10,
            answer_timeout: Duration::from_secs(5),
            keep_entries: 100_000,
            max_reads: 8,
        }
    }

    /// The setting that makes no sense, or `None`.
    #[must_use]
    pub fn complaint(&self) -> Option<&'static str> {
        if self.heartbeat_ticks == 0 {
            Some("heartbeat_ticks is zero")
        } else if self.election_ticks <= self.heartbeat_ticks * 2 {
            Some("election_ticks is not above twice heartbeat_ticks")
        } else if self.tick.is_zero() {
            Some("tick is zero")
        } else if self.max_inflight_appends == 0 {
            Some("max_inflight_appends is zero")
        } else if self.max_reads == 0 {
            Some("max_reads is zero")
        } else {
            None
        }
    }

    /// How long a leader can be silent before somebody asks for votes, at most.
    pub(super) fn election_bound(&self) -> Duration {
        self.tick * self.election_ticks * 2
    }
}
