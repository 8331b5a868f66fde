//! Switches that break one guarantee of the simulated disk each.

/// A bug that a file system could have. The clause is the one whose check must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskMutant {
    /// A sync does nothing (FS-01).
    SyncsNothing,
    /// A sync makes the bytes durable and not the length (FS-01).
    SyncKeepsOldLength,
    /// A sync of a directory makes new names durable and not that others are gone (FS-02).
    DirSyncKeepsOldNames,
    /// The two halves of a rename survive each on its own (FS-02).
    RenamesInSteps,
    /// What was not synced survives in the order in which it lies in a file, up to one place (FS-03).
    LosesInOrder,
}

impl DiskMutant {
    /// Every mutant with the clause that owns it and what its check says.
    pub const ALL: &[(Self, &str, &str)] = &[
        (Self::SyncsNothing, "FS-01", "bytes after a power cut, and"),
        (Self::SyncKeepsOldLength, "FS-01", "bytes after a power cut, and"),
        (Self::DirSyncKeepsOldNames, "FS-02", "the names in"),
        (Self::RenamesInSteps, "FS-02", "after a rename without a sync"),
        (
            Self::LosesInOrder,
            "FS-03",
            "\"writes kept behind one that was lost\" never happened",
        ),
    ];
}
