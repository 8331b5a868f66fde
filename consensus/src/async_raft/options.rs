//! Limits and times of the engine.

use chronik_core::NodeId;
use std::time::Duration;

/// Limits and times of the async-raft engine.
#[derive(Clone, Debug)]
pub struct AsyncRaftOptions {
    /// This node.
    pub node: NodeId,
    /// Threads of the private tokio runtime.
    pub worker_threads: usize,
    /// A leader speaks to each follower of each group this often.
    pub heartbeat: Duration,
    /// A follower that heard nothing for this long asks for votes, or up to `election_max`, by chance.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
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
    /// How many requests of other replicas may wait for one group; beyond it they are dropped.
    pub max_waiting_requests: usize,
    /// A learner becomes a voter once it lacks no more entries than this.
    pub learner_lag_entries: u64,
    /// A read barrier or a membership change without an answer ends as unknown after this time.
    pub answer_timeout: Duration,
}

impl AsyncRaftOptions {
    /// The defaults for `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            worker_threads: 1,
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(1500),
            election_max: Duration::from_millis(3000),
            group_inflight_bytes: 32 << 20,
            group_inflight_proposals: 65_536,
            node_inflight_bytes: 256 << 20,
            max_entry_bytes: 16 << 20,
            max_append_bytes: 512 << 10,
            max_waiting_requests: 256,
            learner_lag_entries: 1000,
            answer_timeout: Duration::from_secs(10),
        }
    }

    /// The setting that makes no sense, or `None`.
    #[must_use]
    pub fn complaint(&self) -> Option<&'static str> {
        if self.heartbeat.as_millis() < 10 {
            Some("heartbeat is below 10 ms")
        } else if self.election_min < self.heartbeat * 3 {
            Some("election_min is below three times heartbeat")
        } else if self.election_max <= self.election_min {
            Some("election_max is not above election_min")
        } else if self.worker_threads == 0 {
            Some("worker_threads is zero")
        } else if self.max_waiting_requests == 0 {
            Some("max_waiting_requests is zero")
        } else {
            None
        }
    }

    /// The longest time without a leader on an idle machine: a silent leader is noticed after `election_max`, and a
    /// vote may be split twice.
    pub(super) fn failover_bound(&self) -> Duration {
        self.election_max * 4
    }
}
