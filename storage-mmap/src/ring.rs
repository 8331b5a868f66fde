//! Which entries leave the memory first: those that were appended first, over all groups.

use crate::group::Group;
use crate::sync::locked;
use chronik_core::LogIndex;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// The entries in memory, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    appended: VecDeque<(Weak<Group>, LogIndex, u64)>,
    bytes: u64,
}

impl Ring {
    /// Takes note of entries up to `through`.
    pub(crate) fn push(&mut self, group: &Arc<Group>, through: LogIndex, bytes: u64) {
        self.appended.push_back((Arc::downgrade(group), through, bytes));
        self.bytes += bytes;
    }

    /// The oldest entries, where more than `max_bytes` are in memory.
    fn oldest(&self, max_bytes: u64) -> Option<(Weak<Group>, LogIndex)> {
        if self.bytes <= max_bytes {
            return None;
        }
        let (group, through, _) = self.appended.front()?;
        Some((Weak::clone(group), *through))
    }

    fn pop(&mut self) {
        if let Some((_, _, bytes)) = self.appended.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// Drops the oldest entries from memory until no more than `max_bytes` are left, as far as they lie in segments.
pub(crate) fn evict(ring: &std::sync::Mutex<Ring>, max_bytes: u64) {
    loop {
        let Some((group, through)) = locked(ring).oldest(max_bytes) else {
            return;
        };
        if let Some(group) = group.upgrade() {
            let mut state = locked(&group.state);
            if state.copied < through && state.last.index >= through {
                return;
            }
            let evictable = state.copied.min(through);
            state.tail.evict(evictable);
        }
        locked(ring).pop();
    }
}
