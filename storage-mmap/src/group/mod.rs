//! A group: its state in memory, and the segment that is being written for it.

pub(crate) mod seg;
pub(crate) mod state;
pub(crate) mod tail;
pub(crate) mod terms;

use crate::segment::writer::SegmentWriter;
use chronik_core::{GroupId, LogError};
use state::GroupState;
use std::fmt;
use std::sync::Mutex;

/// A group of the store.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    /// Where the log stands. Locked for moments, never across a call to the disk.
    pub(crate) state: Mutex<GroupState>,
    /// The segment file that is being written. Locked by the background lane (and by recovery) across its work;
    /// taken before `state`.
    pub(crate) writer: Mutex<Option<SegmentWriter>>,
    /// Why the group cannot be opened, if recovery found its segments damaged.
    pub(crate) damaged: Option<LogError>,
}

impl Group {
    pub(crate) fn new(id: GroupId, state: GroupState, damaged: Option<LogError>) -> Self {
        Self {
            id,
            state: Mutex::new(state),
            writer: Mutex::new(None),
            damaged,
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
