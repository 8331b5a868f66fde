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
    /// Closing drops what is queued (TR-LIFE-01).
    CloseDropsQueue,
    /// A task outlives the transport (TR-LIFE-01).
    CloseLeaksTask,
    /// The address stays taken after the end (TR-LIFE-02).
    HoldsAddress,
}

impl NetMutant {
    /// Every mutant with the clause that owns it.
    pub const ALL: &[(Self, &str)] = &[
        (Self::MixesAnswers, "TR-RPC-01"),
        (Self::Resends, "TR-RPC-02"),
        (Self::LostIsNotDelivered, "TR-RPC-03"),
        (Self::NoDeadline, "TR-RPC-04"),
        (Self::ReusesNumbers, "TR-RPC-05"),
        (Self::SilenceEndsSession, "TR-RPC-06"),
        (Self::Overtakes, "TR-ORD-01"),
        (Self::KeepsOldInbox, "TR-ORD-02"),
        (Self::SingleLane, "TR-ORD-03"),
        (Self::CutsLong, "TR-SIZE-01"),
        (Self::LosesEmpty, "TR-SIZE-01"),
        (Self::TooLargeEndsSession, "TR-SIZE-02"),
        (Self::DeafAfterGarbage, "TR-SIZE-03"),
        (Self::UnboundedQueue, "TR-FLOW-01"),
        (Self::RoomNeverComes, "TR-FLOW-01"),
        (Self::OneQueueForAll, "TR-FLOW-02"),
        (Self::DropsWhenFull, "TR-FLOW-03"),
        (Self::LeaksCalls, "TR-FLOW-04"),
        (Self::NoBackoff, "TR-REC-01"),
        (Self::GivesUp, "TR-REC-01"),
        (Self::ForgetsInFlight, "TR-REC-02"),
        (Self::NoKeepalive, "TR-REC-03"),
        (Self::CachesAddress, "TR-REC-04"),
        (Self::TwoSessions, "TR-REC-05"),
        (Self::SplitsFrames, "TR-FLT-01"),
        (Self::DeliversDamaged, "TR-FLT-02"),
        (Self::MakesUpAnswers, "TR-FLT-03"),
        (Self::AcceptsOtherCluster, "TR-ID-01"),
        (Self::AcceptsOtherNode, "TR-ID-01"),
        (Self::AcceptsOtherVersion, "TR-ID-01"),
        (Self::CloseDropsQueue, "TR-LIFE-01"),
        (Self::CloseLeaksTask, "TR-LIFE-01"),
        (Self::HoldsAddress, "TR-LIFE-02"),
    ];
}
