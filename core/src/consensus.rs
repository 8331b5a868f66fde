//! The contract of a consensus engine: what the broker needs from whatever agrees on the log.
//!
//! Clauses (`CS-...`) stand in `docs/contract/consensus.md`. A node opens one engine ([`Consensus`]) and each
//! group on it ([`ConsensusGroup`]). The engine owns the group's [`LogWriter`](crate::LogWriter): it alone
//! appends, truncates and purges. Applying is common code that pulls entries from the log up to the commit index.

use crate::BoxFuture;
use crate::error::LogError;
use crate::ids::{GroupId, LogId, LogIndex, NodeId, Offset, ReplicaId, Term};
use crate::log_store::{Checkpoint, GroupLog, Purge, SegmentPolicy};
use crate::proposal::{Proposal, ProposalHandle, ProposeError};
use crate::ticket::Ticket;
use crate::watch::Watch;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// What an engine can do. What it does not claim, it refuses with [`ConsensusError::Unsupported`]; what it
/// claims is judged by the conformance suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Groups of more than one voter.
    pub replication: bool,
    /// Membership changes while the group runs. Those among them that an engine cannot make safely it refuses by name
    /// (CS-MEM-09).
    pub membership_change: bool,
    /// Moving leadership to a chosen replica.
    pub leadership_transfer: bool,
    /// Replicas that store and do not vote.
    pub learners: bool,
    /// The longest time without a leader after one dies, on an idle machine; zero where there is no failover.
    pub failover_bound: Duration,
}

/// Writes the log position into a payload once it is known. The one place where payload bytes change.
pub trait Stamper: Send + Sync + Debug {
    /// Stamps `payload`, which gets `base_offset` in `term`.
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term);
}

/// A replica of a group and where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The replica.
    pub replica: ReplicaId,
    /// Its node.
    pub node: NodeId,
}

/// Who takes part in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those who vote.
    pub voters: Vec<Member>,
    /// The outgoing voters while a joint change is under way.
    pub outgoing_voters: Vec<Member>,
    /// Those who store and do not vote.
    pub learners: Vec<Member>,
}

/// What an engine needs to run a group.
#[derive(Debug)]
pub struct GroupSpec {
    /// The group.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: Member,
    /// The membership that founds the group. Ignored where the log already has one.
    pub founding: Membership,
    /// The group's log.
    pub log: GroupLog,
    /// Stamps the payloads of data entries.
    pub stamper: Arc<dyn Stamper>,
}

/// The part of a replica in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Orders proposals.
    Leader,
    /// Follows a leader, or looks for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Stores and does not vote.
    Learner,
    /// Stopped by an error; the text says which.
    Stopped,
}

/// What changes as a group runs; cheap to copy and to wait on.
///
/// # Guarantees
/// - CS-ORD-01: `term` and `commit` never go back.
/// - CS-ELE-01: at most one replica reports [`Role::Leader`] for a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The part of this replica.
    pub role: Role,
    /// The newest term it knows.
    pub term: Term,
    /// The leader of that term, where known.
    pub leader: Option<ReplicaId>,
    /// The last entry known to be committed. The log has it and all before it, or starts after them: a replica
    /// that needed purged entries is brought up by a checkpoint. Its log then begins behind what its state machine
    /// has applied, a read there is [`LogError::Compacted`], and the state machine goes on from
    /// [`LogReader::checkpoint`](crate::LogReader::checkpoint) at this index (CS-SNP-02).
    pub commit: LogIndex,
    /// Set on a leader: the first entry of its own term. It serves once that entry is applied.
    pub own_term_start: Option<LogIndex>,
}

/// Where a group stands, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: Member,
    /// What changes.
    pub progress: Progress,
    /// The newest membership in the log, committed or not.
    pub membership: Membership,
    /// On a leader: per replica the last entry that it confirmed as durable, and how long ago it last answered.
    pub matched: BTreeMap<ReplicaId, Matched>,
}

/// What a leader knows of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The last entry that is durable there and equal to the leader's.
    pub index: LogIndex,
    /// Time since the request was sent whose answer came last.
    pub silent_for: Duration,
}

/// A change of membership; one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A replica that stores and does not vote yet.
    AddLearner(Member),
    /// The voters and learners that the group shall have.
    Become {
        /// Those who vote.
        voters: Vec<Member>,
        /// Those who store only.
        learners: Vec<Member>,
    },
}

/// Upkeep of a group's log, asked for by the state machine.
#[derive(Clone, Debug)]
pub enum Maintenance {
    /// Move the start of the log. The engine keeps what a replica still needs; one that replicates moves the first
    /// index to a stored checkpoint at most.
    Purge(Purge),
    /// Store the state machine's state as of an entry that is committed. The engine adds its own part.
    Checkpoint(Checkpoint),
    /// Set how segments are cut; end the active one where `now` is set.
    Roll {
        /// The policy of later segments.
        policy: SegmentPolicy,
        /// Whether the active segment ends here.
        now: bool,
    },
}

/// Why an engine or a group did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsensusError {
    /// This replica does not lead; the change had no effect.
    NotLeader {
        /// Who does, where that is known.
        leader: Option<ReplicaId>,
    },
    /// This engine cannot do it; the text names what can.
    Unsupported(String),
    /// Another change is under way.
    Busy,
    /// The group is not what was asked for: another member set, a replica that is unknown.
    Invalid(String),
    /// The log failed.
    Log(LogError),
    /// The time allowed is over; the change may still happen.
    Unknown(String),
    /// The group is closed.
    Closed,
}

/// A node's consensus engine.
pub trait Consensus: Send + Sync + Debug {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Opens a group. The engine takes the log; it persists a term of its own before it leads (CS-ELE-02).
    ///
    /// # Errors
    /// [`ConsensusError::Unsupported`] for a membership beyond the engine's capabilities;
    /// [`ConsensusError::Log`].
    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>>;

    /// Stops all groups (CS-SHUT-01). Proposals without an outcome end as unknown.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One group on a node.
pub trait ConsensusGroup: Send + Sync + Debug {
    /// Proposes an entry. Does not block. Proposals of one caller enter the log in the order of the calls.
    ///
    /// # Guarantees
    /// - CS-LIN-04: an error, and [`Outcome::NotCommitted`](crate::Outcome::NotCommitted), mean that the entry
    ///   never appears; what is not known is [`Outcome::Unknown`](crate::Outcome::Unknown).
    /// - CS-LOG-05: committed means durable on a quorum of every voter set in force.
    /// # Errors
    /// [`ProposeError`]; nothing entered the log.
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError>;

    /// Waits until this replica can serve a linearizable read, and returns the index that must be applied first
    /// (CS-LIN-01, CS-LIN-02).
    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>>;

    /// Role, term, leader and commit index, for those who wait on them.
    fn watch(&self) -> Watch<Progress>;

    /// Everything, for operators and for the in-sync set.
    fn status(&self) -> GroupStatus;

    /// Changes the membership; resolves when the change is committed.
    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'static, Result<LogId, ConsensusError>>;

    /// Hands leadership to a voter; resolves when it leads, or with [`ConsensusError::Unknown`].
    fn transfer_leadership(&self, to: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>>;

    /// Upkeep of the log. The ticket resolves when it is durable.
    ///
    /// # Errors
    /// [`ConsensusError::Log`], [`ConsensusError::Closed`].
    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError>;

    /// Stops the group and gives up its log. Proposals without an outcome end as unknown.
    fn close(&self) -> BoxFuture<'static, ()>;
}

impl From<LogError> for ConsensusError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl fmt::Display for ConsensusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "not the leader; replica {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not the leader; nobody is known to be"),
            Self::Unsupported(what) => write!(f, "not supported by this backend: {what}"),
            Self::Busy => write!(f, "another change is under way"),
            Self::Invalid(what) => write!(f, "invalid: {what}"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Unknown(what) => write!(f, "the outcome is unknown: {what}"),
            Self::Closed => write!(f, "the group is closed"),
        }
    }
}

impl std::error::Error for ConsensusError {}
