//! What everybody reads.

use super::state::State;
use chronik_core::LogIndex;

/// The cluster's metadata as of one applied entry. Immutable: a reader that holds one sees one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClusterImage {
    /// The last applied entry of the metadata group.
    pub applied: LogIndex,
    /// The metadata.
    pub state: State,
}
