//! Switches that break one guarantee of the simulated transport each.

/// A bug that a transport could have. The clause is the one whose check must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NetMutant {
    /// An answer goes to the oldest call (TR-RPC-01).
    MixesAnswers,
    /// Calls without an answer are sent again in the next session (TR-RPC-02).
    Resends,
    /// What was in flight at a loss is reported as not delivered (TR-RPC-03).
    LostIsNotDelivered,
    /// Calls wait for ever (TR-RPC-04).
    NoDeadline,
    /// The number of a dropped call is used again while its answer is on its way (TR-RPC-05).
    ReusesNumbers,
    /// A handler that gives no answer ends the session (TR-RPC-06).
    SilenceEndsSession,
    /// A message overtakes the one before it (TR-ORD-01).
    Overtakes,
    /// What an old session brought is still delivered in the next (TR-ORD-02).
    KeepsOldInbox,
    /// All lanes are one (TR-ORD-03).
    SingleLane,
    /// Messages are cut at 64 KiB (TR-SIZE-01).
    CutsLong,
    /// Empty messages are not sent (TR-SIZE-01).
    LosesEmpty,
    /// A message that is too large ends the session (TR-SIZE-02).
    TooLargeEndsSession,
    /// After foreign bytes nobody is let in any more (TR-SIZE-03).
    DeafAfterGarbage,
    /// Queues have no bound (TR-FLOW-01).
    UnboundedQueue,
    /// Waiting for room never ends (TR-FLOW-01).
    RoomNeverComes,
    /// One full queue stands for all (TR-FLOW-02).
    OneQueueForAll,
    /// What the reader has no room for is dropped (TR-FLOW-03).
    DropsWhenFull,
    /// A call that ends early keeps its place in the queue (TR-FLOW-04).
    LeaksCalls,
    /// Peers are dialled without a pause (TR-REC-01).
    NoBackoff,
    /// Dialling ends after some attempts (TR-REC-01).
    GivesUp,
    /// The loss of a session ends no call (TR-REC-02).
    ForgetsInFlight,
    /// Silence is never noticed (TR-REC-03).
    NoKeepalive,
    /// A name is looked up once (TR-REC-04).
    CachesAddress,
    /// A second session replaces the first (TR-REC-05).
    TwoSessions,
    /// What arrives in pieces is delivered in pieces (TR-FLT-01).
    SplitsFrames,
    /// Damaged messages are delivered (TR-FLT-02).
    DeliversDamaged,
    /// A message without an answer at the end of its session is reported as answered (TR-FLT-03).
    MakesUpAnswers,
    /// Nodes of other clusters are let in (TR-ID-01).
    AcceptsOtherCluster,
    /// Nodes other than the one looked for are let in (TR-ID-01).
    AcceptsOtherNode,
    /// Nodes of other versions are let in (TR-ID-01).
    AcceptsOtherVersion,
    /// Certificates are not looked at (TR-TLS-01).
    TrustsAnyCertificate,
    /// Who dials need not have one (TR-TLS-01).
    AsksNoCertificateOfDiallers,
    /// Closing drops what is queued (TR-LIFE-01).
    CloseDropsQueue,
    /// A task outlives the transport (TR-LIFE-01).
    CloseLeaksTask,
    /// The address stays taken after the end (TR-LIFE-02).
    HoldsAddress,
}

impl NetMutant {
    /// Every mutant with the clause that owns it and what its check says.
    pub const ALL: &[(Self, &str, &str)] = &[
        (
            Self::MixesAnswers,
            "TR-RPC-01",
            "was not answered with its own answer",
        ),
        (Self::Resends, "TR-RPC-02", "messages arrived twice"),
        (Self::LostIsNotDelivered, "TR-RPC-03", "ended as NotDelivered"),
        (Self::NoDeadline, "TR-RPC-04", "the check never ends"),
        (Self::ReusesNumbers, "TR-RPC-05", "after ten dropped calls"),
        (
            Self::SilenceEndsSession,
            "TR-RPC-06",
            "its neighbour ended as Unknown",
        ),
        (Self::Overtakes, "TR-ORD-01", "is out of order"),
        (
            Self::KeepsOldInbox,
            "TR-ORD-02",
            "even numbers are of the old session",
        ),
        (Self::SingleLane, "TR-ORD-03", "a control message waited"),
        (Self::CutsLong, "TR-SIZE-01", "a call of 65537 bytes"),
        (Self::LosesEmpty, "TR-SIZE-01", "a call of 0 bytes"),
        (
            Self::TooLargeEndsSession,
            "TR-SIZE-02",
            "NotDelivered(Disconnected)",
        ),
        (Self::DeafAfterGarbage, "TR-SIZE-03", "never sees a session"),
        (
            Self::UnboundedQueue,
            "TR-FLOW-01",
            "bytes were accepted for a peer that reads nothing",
        ),
        (
            Self::RoomNeverComes,
            "TR-FLOW-01",
            "no room, although the peer reads",
        ),
        (
            Self::OneQueueForAll,
            "TR-FLOW-02",
            "a call to a peer that reads ended",
        ),
        (
            Self::DropsWhenFull,
            "TR-FLOW-03",
            "bytes were accepted for a peer that reads nothing",
        ),
        (Self::LeaksCalls, "TR-FLOW-04", "a call that nobody answers ended"),
        (Self::NoBackoff, "TR-REC-01", "attempts in 30s"),
        (Self::GivesUp, "TR-REC-01", "never sees a session"),
        (
            Self::ForgetsInFlight,
            "TR-REC-02",
            "calls of a lost session ended after",
        ),
        (
            Self::NoKeepalive,
            "TR-REC-03",
            "never sees the end of the session",
        ),
        (Self::CachesAddress, "TR-REC-04", "never sees a session"),
        (Self::TwoSessions, "TR-REC-05", "after both were connected"),
        (Self::SplitsFrames, "TR-FLT-01", "call 30"),
        (
            Self::DeliversDamaged,
            "TR-FLT-02",
            "Flip: a call ended as answered",
        ),
        (Self::MakesUpAnswers, "TR-FLT-03", "which arrived 1 times"),
        (Self::AcceptsOtherCluster, "TR-ID-01", "a node of another cluster"),
        (Self::AcceptsOtherNode, "TR-ID-01", "a node with another id"),
        (Self::AcceptsOtherVersion, "TR-ID-01", "a node of another version"),
        (
            Self::TrustsAnyCertificate,
            "TR-TLS-01",
            "a node with a certificate of another authority",
        ),
        (
            Self::AsksNoCertificateOfDiallers,
            "TR-TLS-01",
            "a node that trusts the cluster and has a certificate of another authority",
        ),
        (
            Self::CloseDropsQueue,
            "TR-LIFE-01",
            "what was queued does not arrive",
        ),
        (Self::CloseLeaksTask, "TR-LIFE-01", "tasks outlive the transport"),
        (Self::HoldsAddress, "TR-LIFE-02", "does not bind"),
    ];
}
