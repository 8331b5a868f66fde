//! Switches that break one guarantee each.

/// A bug that a store could have. The clause is the one whose check must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// A second store may open the directory (LS-BAS-02).
    IgnoresLock,
    /// Entries may leave a gap (LS-BAS-04).
    AcceptsGap,
    /// The term of an entry may fall (LS-BAS-05).
    AcceptsTermRegression,
    /// Offsets may leave a gap (LS-BAS-06).
    AcceptsOffsetGap,
    /// Entries before the one that is refused stay in the log (LS-BAS-04).
    AppendsHalf,
    /// The kind of an entry is lost (LS-BAS-09).
    ForgetsKind,
    /// A read below the start answers with what there is (LS-READ-02).
    SkipsCompactedGap,
    /// A read whose first entry exceeds the limit answers nothing (LS-READ-03).
    StrictByteLimit,
    /// Reads by offset are served from a cache that truncation does not clear (LS-TRN-03).
    StaleCache,
    /// The journal is written in place under a live map (LS-READ-05).
    WritesUnderMap,
    /// A ticket resolves when the bytes are written and not synced (LS-DUR-01).
    AcksBeforeSync,
    /// Recovery fills a hole with the entries after it (LS-DUR-02).
    RecoversAroundHole,
    /// Tickets of one sync resolve last first (LS-DUR-03).
    TicketsOutOfOrder,
    /// The ticket of a hard state is resolved at once (LS-DUR-04).
    AcksHardStateAtOnce,
    /// Hard state is written after the appends that follow it (LS-DUR-05).
    HardStateLast,
    /// A truncation changes memory alone (LS-DUR-06).
    TruncatesInMemory,
    /// Frames are believed without their checksum (LS-DUR-08).
    NoChecksum,
    /// Recovery cuts at the first bad frame, whatever follows (LS-DUR-09).
    CutsAtFirstBadFrame,
    /// What lies behind the live frames in a file that is used again is taken for frames (LS-DUR-10).
    BelievesOldBytes,
    /// The tool that looks for damage finds none (LS-DUR-15).
    VerifiesNothing,
    /// It leaves a file behind (LS-DUR-15).
    VerifyLeavesFile,
    /// It names the place behind the damage (LS-DUR-15).
    NamesAnotherPlace,
    /// It takes what a crash tore off for damage (LS-DUR-15).
    TakesTornTailsForDamage,
    /// A failed sync is answered like a good one (LS-DUR-11).
    IgnoresSyncError,
    /// A failed sync is repeated, and the second answer believed (LS-DUR-11).
    RetriesSync,
    /// A full disk poisons the store (LS-DUR-12).
    FullIsFatal,
    /// Recovery leaves a torn tail in place, where later frames may meet it (LS-DUR-13).
    KeepsTornTail,
    /// The name of the journal is not synced (LS-DUR-14).
    NoDirSync,
    /// The purge point moves back (LS-TRN-06).
    PurgeGoesBack,
    /// The term of the purge point is forgotten (LS-TRN-05).
    PurgeForgetsTerm,
    /// A purge beyond the end needs no checkpoint (LS-TRN-07).
    PurgesBeyondEnd,
    /// The checkpoint at the purge point is dropped with the log (LS-SNP-01).
    DropsNewestCheckpoint,
    /// Two groups share one log where their ids are equal modulo 2^16 (LS-GRP-01).
    GroupsClash,
    /// Closing does not sync what was appended (LS-OPS-01).
    CloseWithoutSync,
    /// A read of a new group is an error (LS-BAS-01).
    EmptyIsError,
    /// The state says that the last entry is not durable when its ticket says that it is (LS-BAS-03).
    DurableLags,
    /// The ticket of an append of nothing does not wait for those before it (LS-BAS-07).
    EmptyAppendAtOnce,
    /// Payloads are cut at 64 KiB (LS-BAS-08).
    CutsPayloads,
    /// Reads end where the log is durable (LS-READ-01).
    ReadsOnlyDurable,
    /// Reads by index are answered from a copy of the log that is never renewed (LS-READ-04).
    AnswersFromCopy,
    /// A run leaves out the first entry of the segments that it crosses into (LS-READ-07).
    LosesSegmentEdge,
    /// Readers answer no more once the writer is dropped (LS-READ-06).
    ReadersEndWithWriter,
    /// Readers answer the thread alone on which the group was opened (LS-READ-06).
    ReadersKnowOneThread,
    /// A read beside a truncation answers the front of the old log and the end of the new one (LS-TRN-04).
    MixesTwoLogs,
    /// A read that is dropped before its answer came ends the store (LS-READ-08).
    DroppedReadEndsStore,
    /// What a purge says of the offsets is not written (LS-DUR-07).
    PurgeLosesOffset,
    /// The next offset stays where it was before a truncation (LS-TRN-01).
    TruncationKeepsOffset,
    /// A truncation at or below the purge point is taken for one of nothing (LS-TRN-02).
    TruncatesBelowPurge,
    /// A purge drops what it may drop for consensus, whatever the offsets say (LS-TRN-09).
    PurgeIgnoresOffset,
    /// A purge beyond the end writes first that the log is empty (LS-SNP-02).
    InstallsInSteps,
    /// Checkpoints have no limit (LS-SNP-03).
    StoresTooLarge,
    /// A sync tells the group that wrote last alone (LS-GRP-03).
    StarvesQuietGroups,
    /// An open group can be removed (LS-GRP-04).
    RemovesOpenGroup,
    /// The version of the files is not looked at (LS-OPS-02).
    ReadsEveryFormat,
    /// Files of another version are taken for a store that was never written (LS-OPS-02).
    TakesNewerForEmpty,
    /// The journal stays open after the end (LS-OPS-04).
    LeavesFileOpen,
    /// A task outlives the store (LS-OPS-04).
    RunsAfterClose,
    /// While a write waits, the background lane asks again and again whether it is done (LS-OPS-05).
    PollsForWork,
}

impl Mutant {
    /// Every mutant with the clause that owns it and what its check says.
    pub const ALL: &[(Self, &str, &str)] = &[
        (Self::IgnoresLock, "LS-BAS-02", "a second store of the directory"),
        (Self::AcceptsGap, "LS-BAS-04", "a gap: accepted with entry 0"),
        (Self::AppendsHalf, "LS-BAS-04", "after a refusal at entry 1"),
        (Self::AcceptsTermRegression, "LS-BAS-05", "accepted with entry 0"),
        (
            Self::AcceptsOffsetGap,
            "LS-BAS-06",
            "a gap: accepted with entry 0",
        ),
        (Self::ForgetsKind, "LS-BAS-09", "kind: Command"),
        (
            Self::SkipsCompactedGap,
            "LS-READ-02",
            "entries from 0, with 22 the first",
        ),
        (
            Self::StrictByteLimit,
            "LS-READ-03",
            "nothing, though there are 30 entries",
        ),
        (Self::WritesUnderMap, "LS-READ-05", "mapped bytes were changed"),
        (
            Self::AcksBeforeSync,
            "LS-DUR-01",
            "though writes to it were acknowledged",
        ),
        (Self::RecoversAroundHole, "LS-DUR-02", "where 13 is next"),
        (Self::TicketsOutOfOrder, "LS-DUR-03", "resolved in the order"),
        (
            Self::AcksHardStateAtOnce,
            "LS-DUR-04",
            "after a crash the hard state is",
        ),
        (Self::HardStateLast, "LS-DUR-05", "no history explains the log"),
        (
            Self::TruncatesInMemory,
            "LS-DUR-06",
            "no history explains the log",
        ),
        (Self::NoChecksum, "LS-DUR-08", "no history explains the log"),
        (Self::CutsAtFirstBadFrame, "LS-DUR-09", "and nobody says why"),
        (
            Self::BelievesOldBytes,
            "LS-DUR-10",
            "a frame that had been synced does not match",
        ),
        (Self::VerifiesNothing, "LS-DUR-15", "matters, and verify names []"),
        (Self::VerifyLeavesFile, "LS-DUR-15", "verify changes the store: "),
        (
            Self::NamesAnotherPlace,
            "LS-DUR-15",
            "matters, and verify names [Damage",
        ),
        (
            Self::TakesTornTailsForDamage,
            "LS-DUR-15",
            "in a store without damage",
        ),
        (
            Self::IgnoresSyncError,
            "LS-DUR-11",
            "the store says that it is Working",
        ),
        (
            Self::RetriesSync,
            "LS-DUR-11",
            "the store says that it is Working",
        ),
        (Self::FullIsFatal, "LS-DUR-12", "the store is poisoned"),
        (Self::KeepsTornTail, "LS-DUR-13", "no history explains the log"),
        (
            Self::NoDirSync,
            "LS-DUR-14",
            "though writes to it were acknowledged",
        ),
        (Self::StaleCache, "LS-TRN-03", "should not be there"),
        (Self::PurgeForgetsTerm, "LS-TRN-05", "the log runs from 2@0"),
        (Self::PurgeGoesBack, "LS-TRN-06", "the log runs from 5@1"),
        (
            Self::PurgesBeyondEnd,
            "LS-TRN-07",
            "a purge beyond the end without a checkpoint",
        ),
        (Self::DropsNewestCheckpoint, "LS-SNP-01", "is Ok(None), not Some"),
        (Self::GroupsClash, "LS-GRP-01", "entry index 1 where 3 is next"),
        (
            Self::CloseWithoutSync,
            "LS-OPS-01",
            "the ticket of \"append 2 entries\" failed",
        ),
        (
            Self::EmptyIsError,
            "LS-BAS-01",
            "were truncated or were never written",
        ),
        (Self::DurableLags, "LS-BAS-03", "durable is 0 after the ticket"),
        (
            Self::EmptyAppendAtOnce,
            "LS-BAS-07",
            "the write before the empty one",
        ),
        (Self::CutsPayloads, "LS-BAS-08", "payload_bytes: 65535"),
        (
            Self::ReadsOnlyDurable,
            "LS-READ-01",
            "nothing, though the log runs to",
        ),
        (
            Self::AnswersFromCopy,
            "LS-READ-04",
            "which no state between call and answer explains",
        ),
        (Self::LosesSegmentEdge, "LS-READ-07", "where 19 is next"),
        (
            Self::DroppedReadEndsStore,
            "LS-READ-08",
            "append 1 entries: closed",
        ),
        (
            Self::ReadersEndWithWriter,
            "LS-READ-06",
            "a reader whose writer is gone: entries: closed",
        ),
        (
            Self::ReadersKnowOneThread,
            "LS-READ-06",
            "a reader on another thread: entries: closed",
        ),
        (
            Self::MixesTwoLogs,
            "LS-TRN-04",
            "which no log between call and answer explains",
        ),
        (Self::PurgeLosesOffset, "LS-DUR-07", "no history explains the log"),
        (
            Self::TruncationKeepsOffset,
            "LS-TRN-01",
            "offsets run from 0 to 147",
        ),
        (Self::TruncatesBelowPurge, "LS-TRN-02", "purged through 8: Ok"),
        (Self::PurgeIgnoresOffset, "LS-TRN-09", "offsets kept below"),
        (Self::InstallsInSteps, "LS-SNP-02", "no history explains the log"),
        (Self::StoresTooLarge, "LS-SNP-03", "a checkpoint of 1048577 bytes"),
        (
            Self::StarvesQuietGroups,
            "LS-GRP-03",
            "waits while group 1 appends",
        ),
        (
            Self::RemovesOpenGroup,
            "LS-GRP-04",
            "removal of an open group: Ok",
        ),
        (
            Self::ReadsEveryFormat,
            "LS-OPS-02",
            "a store of a newer format was opened",
        ),
        (
            Self::TakesNewerForEmpty,
            "LS-OPS-02",
            "group 1 was opened: the log runs from",
        ),
        (
            Self::LeavesFileOpen,
            "LS-OPS-04",
            "files of the directory are open although the store is gone",
        ),
        (Self::RunsAfterClose, "LS-OPS-04", "tasks after close"),
        (
            Self::PollsForWork,
            "LS-OPS-05",
            "runs on and on while the other stands still",
        ),
    ];
}
