//! Switches that break one guarantee of the reference engine each.

/// A bug that a consensus engine could have. The clause is the one whose check must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RaftMutant {
    /// A vote is given to whoever asks, again and again (CS-ELE-01).
    VotesTwice,
    /// Term and vote are kept in memory alone (CS-ELE-02).
    VoteInMemory,
    /// A vote is given before it is durable (CS-ELE-02).
    VoteBeforeSync,
    /// The candidate's log is not looked at (CS-ELE-03).
    VotesForAnybody,
    /// A candidate needs a last term and a last index that are both as high (CS-ELE-03).
    WantsBothHigh,
    /// A follower does not look at what comes before an append (CS-LOG-01).
    IgnoresPrev,
    /// A new leader removes what is not committed (CS-LOG-02).
    LeaderCutsItsLog,
    /// Logs are compared by length alone (CS-ELE-03).
    ComparesLength,
    /// A replica that starts again drops its last entry (CS-LOG-03).
    ForgetsLast,
    /// A leader commits when it has the entry itself (CS-LOG-04).
    CommitsAlone,
    /// A leader counts itself before its log is durable (CS-LOG-05).
    CountsBeforeSync,
    /// A follower answers before its log is durable (CS-LOG-05).
    AnswersBeforeSync,
    /// Entries of older terms are committed by counting (CS-LOG-06).
    CommitsOldTerms,
    /// Every append removes what follows its start (CS-LOG-07).
    DeletesThenAppends,
    /// A follower keeps an empty payload (CS-SM-01).
    LosesPayload,
    /// After a restart the whole log counts as committed (CS-SM-02).
    CommitsAllAtStart,
    /// A new leader's commit index counts, even where it is lower (CS-ORD-01).
    CommitGoesBack,
    /// A barrier answers with what was committed a while ago (CS-LIN-01).
    BarrierIsLow,
    /// A leader answers barriers on its own word (CS-LIN-02).
    BarrierAlone,
    /// A leader trusts its own clock for as long as no election can have begun (CS-LIN-03).
    LeaseWithoutMargin,
    /// What a deposed leader had in flight is reported as not committed (CS-LIN-04).
    UnknownIsRefused,
    /// Proposals that wait together enter the log last first (CS-LIN-05).
    SwapsProposals,
    /// During a joint change the new voters decide alone (CS-MEM-01).
    JointByNewAlone,
    /// A truncated membership stays in force (CS-MEM-02).
    KeepsTruncatedMembers,
    /// A second change begins while one is under way (CS-MEM-03).
    OverlapsChanges,
    /// Learners count as voters (CS-MEM-04).
    CountsLearners,
    /// Whoever asks for votes moves the term, whoever leads (CS-MEM-05).
    HearsEverybody,
    /// A leader that is removed goes on (CS-MEM-06).
    RemovedLeaderStays,
    /// After a restart the founding membership is in force (CS-MEM-07).
    ForgetsMembers,
    /// A group that grows from one voter commits by that one (CS-MEM-08).
    GrowsAlone,
    /// What is not supported is reported as done (CS-MEM-09).
    PretendsChange,
    /// An installed checkpoint has an empty state (CS-SNP-01).
    InstallsEmptyState,
    /// An installed checkpoint moves the log back (CS-SNP-02).
    InstallsOlder,
    /// A checkpoint does not carry the membership (CS-SNP-03).
    CheckpointWithoutMembers,
    /// A checkpoint whose transfer was lost is not sent again (CS-SNP-04).
    SendsCheckpointOnce,
    /// Who needs purged entries gets what there is (CS-SNP-05).
    NoCheckpoints,
    /// A follower answers although its disk failed (CS-STO-01).
    AnswersOnFailedSync,
    /// A leader goes on although its disk failed (CS-STO-02).
    IgnoresLogErrors,
    /// Nobody asks for votes after the first leader (CS-LIV-01).
    ElectsOnce,
    /// A leader commits nothing that was proposed before a peer was lost (CS-LIV-02).
    StopsAfterLoss,
    /// A follower that lags behind is not brought up (CS-LIV-03).
    NoCatchUp,
    /// No trial vote before an election (CS-LIV-04).
    NoTrial,
    /// A conflict moves the leader back by one entry, once a heartbeat (CS-LIV-05).
    StepsByOne,
    /// A restarted replica keeps still for half a minute (CS-LIV-06).
    SleepsAtStart,
    /// A transfer waits until the leader ends by itself (CS-LIV-07).
    TransferDoesNothing,
    /// A commit waits for every follower (CS-LIV-08).
    WaitsForAll,
    /// Messages reach whatever group there is (CS-GRP-01).
    MixesGroups,
    /// A closed group goes on (CS-SHUT-01).
    CloseDoesNothing,
}

impl RaftMutant {
    /// Every mutant with the clause that owns it, and a part of the evidence with which it is refused.
    pub const ALL: &[(Self, &str, &str)] = &[
        (Self::VotesTwice, "CS-ELE-01", "both lead term"),
        (
            Self::VoteInMemory,
            "CS-ELE-02",
            "without the durable votes of a quorum",
        ),
        (
            Self::VoteBeforeSync,
            "CS-ELE-02",
            "without the durable votes of a quorum",
        ),
        (
            Self::VotesForAnybody,
            "CS-ELE-03",
            "without entries that were acknowledged",
        ),
        (Self::WantsBothHigh, "CS-ELE-03", "nobody is elected"),
        (Self::ComparesLength, "CS-ELE-03", "without the committed entry"),
        (Self::IgnoresPrev, "CS-LOG-01", "and later entries agree"),
        (
            Self::LeaderCutsItsLog,
            "CS-LOG-02",
            "removed entries of its own log",
        ),
        (Self::ForgetsLast, "CS-LOG-03", "without the committed entry"),
        (Self::CommitsAlone, "CS-LOG-04", "was committed before"),
        (Self::CountsBeforeSync, "CS-LOG-05", "and is durable on"),
        (Self::AnswersBeforeSync, "CS-LOG-05", "and is durable on"),
        (Self::CommitsOldTerms, "CS-LOG-06", "an entry of term"),
        (Self::DeletesThenAppends, "CS-LOG-07", "removes entry"),
        (Self::LosesPayload, "CS-SM-01", "or reached another state"),
        (Self::CommitsAllAtStart, "CS-SM-02", "is next"),
        (Self::CommitGoesBack, "CS-ORD-01", "the commit index of"),
        (Self::BarrierIsLow, "CS-LIN-01", "was acknowledged before"),
        (Self::BarrierAlone, "CS-LIN-02", "was acknowledged before"),
        (Self::LeaseWithoutMargin, "CS-LIN-03", "was acknowledged before"),
        (
            Self::UnknownIsRefused,
            "CS-LIN-04",
            "was reported as not committed and is at",
        ),
        (
            Self::SwapsProposals,
            "CS-LIN-05",
            "follows a later call of its stream",
        ),
        (
            Self::JointByNewAlone,
            "CS-MEM-01",
            "without a quorum of the old voters",
        ),
        (
            Self::KeepsTruncatedMembers,
            "CS-MEM-02",
            "after its change was truncated",
        ),
        (
            Self::OverlapsChanges,
            "CS-MEM-03",
            "a second change while one was under way",
        ),
        (
            Self::CountsLearners,
            "CS-MEM-04",
            "by one voter of three and two learners",
        ),
        (Self::HearsEverybody, "CS-MEM-05", "nothing is committed"),
        (Self::RemovedLeaderStays, "CS-MEM-06", "a removed leader goes on"),
        (Self::ForgetsMembers, "CS-MEM-07", "nothing is committed"),
        (
            Self::GrowsAlone,
            "CS-MEM-08",
            "committed the growth to three alone",
        ),
        (
            Self::PretendsChange,
            "CS-MEM-09",
            "a membership change is not declared",
        ),
        (
            Self::InstallsEmptyState,
            "CS-SNP-01",
            "with state 0 where applying gives",
        ),
        (Self::InstallsOlder, "CS-SNP-02", "the commit index of"),
        (
            Self::CheckpointWithoutMembers,
            "CS-SNP-03",
            "counts the learners []",
        ),
        (Self::SendsCheckpointOnce, "CS-SNP-04", "is not brought up"),
        (Self::NoCheckpoints, "CS-SNP-05", "is not brought up"),
        (
            Self::AnswersOnFailedSync,
            "CS-STO-01",
            "a replica whose disk failed",
        ),
        (Self::IgnoresLogErrors, "CS-STO-02", "and is durable on"),
        (Self::ElectsOnce, "CS-LIV-01", "nobody follows a dead leader"),
        (Self::StopsAfterLoss, "CS-LIV-02", "nothing is committed"),
        (Self::NoCatchUp, "CS-LIV-03", "does not converge"),
        (Self::NoTrial, "CS-LIV-04", "of a one-way partition"),
        (
            Self::StepsByOne,
            "CS-LIV-05",
            "with many conflicting entries does not converge",
        ),
        (
            Self::SleepsAtStart,
            "CS-LIV-06",
            "nobody is elected after a restart of all",
        ),
        (Self::TransferDoesNothing, "CS-LIV-07", "a transfer from"),
        (Self::WaitsForAll, "CS-LIV-08", "while one follower's disk"),
        (Self::MixesGroups, "CS-GRP-01", "nothing is committed"),
        (Self::CloseDoesNothing, "CS-SHUT-01", "a proposal after the end"),
    ];
}
