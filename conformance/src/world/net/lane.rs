//! One direction of one lane of a session: messages that wait to arrive.

use bytes::Bytes;
use chronik_core::transport::Lane;
use event_listener::Event;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The lanes of messages, and one for answers: an answer never waits behind messages that nobody reads.
pub(super) const LANES: usize = 4;
/// Where answers travel.
pub(super) const ANSWERS: usize = 3;

/// The place of a lane.
pub(super) const fn place(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Replication => 1,
        Lane::Bulk => 2,
    }
}

/// What travels.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message, with the number of its call where an answer is expected.
    Message {
        lane: Lane,
        call: Option<u64>,
        bytes: Bytes,
    },
    /// The answer to a call; `None` where the handler gave none.
    Answer { call: u64, bytes: Option<Bytes> },
}

impl Frame {
    pub(super) const fn len(&self) -> u64 {
        match self {
            Self::Message { bytes, .. }
            | Self::Answer {
                bytes: Some(bytes), ..
            } => bytes.len() as u64,
            Self::Answer { bytes: None, .. } => 0,
        }
    }
}

/// A queue of frames with the moments at which they arrive.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    pub(super) frames: VecDeque<(Duration, Frame)>,
    /// Bytes of the frames.
    pub(super) bytes: u64,
    last_due: Duration,
    /// The queue, or what it waits for, changed.
    pub(super) moved: Arc<Event>,
}

impl LaneQueue {
    /// Queues a frame that would arrive at `due`, but never before those ahead of it.
    pub(super) fn push(&mut self, due: Duration, frame: Frame, overtakes: bool) {
        self.last_due = self.last_due.max(due);
        self.bytes += frame.len();
        let behind = usize::from(overtakes && !self.frames.is_empty());
        let at = self.frames.len() - behind;
        self.frames.insert(at, (self.last_due, frame));
        self.moved.notify(usize::MAX);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame.len();
        self.moved.notify(usize::MAX);
        Some(frame)
    }
}
