//! Identities and positions, each a type of its own so that one cannot stand for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A node (Kafka: broker id) of the cluster.
    NodeId,
    u64
);
number!(
    /// One log among the many of a node. Group 0 is the metadata group; an id is never used twice.
    GroupId,
    u64
);
number!(
    /// One replica of one group in one incarnation of a data directory; issued once, never used again.
    ReplicaId,
    u64
);
number!(
    /// A Raft term; for a partition also the Kafka leader epoch.
    Term,
    u64
);
number!(
    /// A position in a group's log. The first entry has index 1; 0 means "before the first".
    LogIndex,
    u64
);
number!(
    /// A Kafka offset: counts client records only.
    Offset,
    i64
);

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Offset {
    /// This offset moved by `records`, or `None` where it would leave the range of offsets.
    #[must_use]
    pub const fn checked_add(self, records: u32) -> Option<Self> {
        match self.0.checked_add(records as i64) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

/// The identity of an entry. Two entries with the same id are the same entry (Raft's log matching).
///
/// Ordered by term first, then index: the order in which Raft compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term whose leader created the entry.
    pub term: Term,
    /// The position in the log.
    pub index: LogIndex,
}

impl LogId {
    /// The entry at `index` created in `term`.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self {
            term: Term(term),
            index: LogIndex(index),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
