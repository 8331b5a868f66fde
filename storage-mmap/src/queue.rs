//! What waits for the journal.

use crate::frame::Record;
use crate::group::Group;
use crate::group::seg::Seg;
use chronik_core::LogIndex;
use chronik_core::ticket::TicketSender;
use std::collections::VecDeque;
use std::sync::Arc;

/// One call of a writer: records that become durable together or in order, and what follows from that.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) group: Arc<Group>,
    pub(crate) records: VecDeque<Record>,
    pub(crate) effect: Effect,
    pub(crate) ticket: Option<TicketSender>,
}

/// What happens once the records of a call are durable.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Nothing but the ticket.
    None,
    /// Entries became durable: all through this index, unless the log was truncated since.
    Entries { through: LogIndex, truncations: u32 },
    /// A truncation became durable: entries before it are durable too, and these segments can go.
    Truncated {
        through: LogIndex,
        truncations: u32,
        gone: Vec<Seg>,
    },
    /// A purge became durable: these segments can go.
    Purged {
        gone: Vec<Seg>,
        checkpoints: Vec<LogIndex>,
    },
    /// A checkpoint's record became durable, and older ones can go.
    Checkpoint { call: u64, dropped: Vec<LogIndex> },
    /// The group is gone.
    Removed { gone: Vec<Seg> },
}

/// What is queued; behind the store's `pending` lock, which is held for moments.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) works: VecDeque<Work>,
    /// The store's own records: nobody waits for them, and they go first.
    pub(crate) control: VecDeque<Record>,
    /// Bytes of frames in `works`.
    pub(crate) bytes: u64,
    /// A flush job is submitted or running.
    pub(crate) flushing: bool,
    /// The last flush found no room in the journal.
    pub(crate) blocked: bool,
    /// Something happened since the flush job started that may give room.
    pub(crate) wake: bool,
    pub(crate) closed: bool,
}

impl Work {
    /// Bytes that its frames take.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.iter().map(Record::frame_bytes).sum()
    }
}
