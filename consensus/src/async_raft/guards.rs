//! The guards, each named after the defect of async-raft 0.6.1 that it answers.
//!
//! The defects and what judges each guard stand in `docs/conformance/track-record.md`.

/// Which guards are on. All are in any engine that is configured; tests switch them off one at a time, to show that
/// what judges a guard notices its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// S1, S2, S3, S13: commit by what replicas confirmed in this term, not by the crate's count.
    pub s1_s2_s3_own_commit: bool,
    /// S3, L3, L7: messages are built from the log behind what is confirmed, with hints of our own on a conflict.
    /// Off, the crate's own messages and answers travel as they are.
    pub s3_l3_l7_own_messages: bool,
    /// S4, S11: entries are applied from the log up to our commit index. Off, the crate's apply calls are the signal.
    pub s4_s11_own_apply_signal: bool,
    /// S5: a follower compares the entry before a message with its own log, for heartbeats too.
    pub s5_check_previous: bool,
    /// S6: what a follower holds already is dropped from a message, and nothing committed is ever truncated.
    pub s6_keep_held_entries: bool,
    /// S7, S12: reads ask a quorum. Off, the crate's `client_read` answers.
    pub s7_s12_own_reads: bool,
    /// S8, L5: one voter at a time, and at least three before and after.
    pub s8_l5_one_voter_at_a_time: bool,
    /// L1: a restarted replica may ask for votes after an election timeout, not after 30 seconds more.
    pub l1_restart: bool,
    /// L2, L5: a peer that cannot be reached neither spins the crate's stream nor holds its queue.
    pub l2_unreachable_peers: bool,
    /// L4: logs are compared by last term, then index.
    pub l4_vote_order: bool,
    /// L6: the crate never learns that the entry of a joint membership is committed while that is the newest.
    pub l6_joint_clamp: bool,
    /// L8: batches large enough that the crate loses no event while it drains its queue.
    pub l8_large_batches: bool,
    /// L9: a leader that no quorum answers leads no longer, and its messages hold nobody back.
    pub l9_check_quorum: bool,
    /// L10: a replica that was removed cannot depose a leader.
    pub l10_foreign_votes: bool,
    /// L12: a learner becomes a voter when it confirmed that it caught up.
    pub l12_verified_lag: bool,
    /// L13: learners are in the log, and every new leader takes them up again.
    pub l13_learners_in_log: bool,
}

impl Guards {
    /// All guards.
    pub const ON: Self = Self::all(true);
    /// None: the crate as it was published, as far as it can run on a log store at all.
    pub const OFF: Self = Self::all(false);

    const fn all(on: bool) -> Self {
        Self {
            s1_s2_s3_own_commit: on,
            s3_l3_l7_own_messages: on,
            s4_s11_own_apply_signal: on,
            s5_check_previous: on,
            s6_keep_held_entries: on,
            s7_s12_own_reads: on,
            s8_l5_one_voter_at_a_time: on,
            l1_restart: on,
            l2_unreachable_peers: on,
            l4_vote_order: on,
            l6_joint_clamp: on,
            l8_large_batches: on,
            l9_check_quorum: on,
            l10_foreign_votes: on,
            l12_verified_lag: on,
            l13_learners_in_log: on,
        }
    }
}

impl Default for Guards {
    fn default() -> Self {
        Self::ON
    }
}
