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
}

impl Mutant {
    /// Every mutant with the clause that owns it.
    pub const ALL: &[(Self, &str)] = &[
        (Self::IgnoresLock, "LS-BAS-02"),
        (Self::AcceptsGap, "LS-BAS-04"),
        (Self::AppendsHalf, "LS-BAS-04"),
        (Self::AcceptsTermRegression, "LS-BAS-05"),
        (Self::AcceptsOffsetGap, "LS-BAS-06"),
        (Self::ForgetsKind, "LS-BAS-09"),
        (Self::SkipsCompactedGap, "LS-READ-02"),
        (Self::StrictByteLimit, "LS-READ-03"),
        (Self::WritesUnderMap, "LS-READ-05"),
        (Self::AcksBeforeSync, "LS-DUR-01"),
        (Self::RecoversAroundHole, "LS-DUR-02"),
        (Self::TicketsOutOfOrder, "LS-DUR-03"),
        (Self::AcksHardStateAtOnce, "LS-DUR-04"),
        (Self::HardStateLast, "LS-DUR-05"),
        (Self::TruncatesInMemory, "LS-DUR-06"),
        (Self::NoChecksum, "LS-DUR-08"),
        (Self::CutsAtFirstBadFrame, "LS-DUR-09"),
        (Self::IgnoresSyncError, "LS-DUR-11"),
        (Self::RetriesSync, "LS-DUR-11"),
        (Self::FullIsFatal, "LS-DUR-12"),
        (Self::KeepsTornTail, "LS-DUR-13"),
        (Self::NoDirSync, "LS-DUR-14"),
        (Self::StaleCache, "LS-TRN-03"),
        (Self::PurgeForgetsTerm, "LS-TRN-05"),
        (Self::PurgeGoesBack, "LS-TRN-06"),
        (Self::PurgesBeyondEnd, "LS-TRN-07"),
        (Self::DropsNewestCheckpoint, "LS-SNP-01"),
        (Self::GroupsClash, "LS-GRP-01"),
        (Self::CloseWithoutSync, "LS-OPS-01"),
    ];
}
