//! What the store says of the space on its disk.
//!
//! Small entries may fit where larger ones do not: an engine asks for more where records are concerned than for commands,
//! which may be the way out. That a command was taken is no sign that the disk has room.

use crate::store::Inner;
use crate::sync::locked;
use chronik_core::log_store::StoreHealth;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The most that must fit again before the disk counts as one with room.
const ROOM_BYTES: u64 = 1 << 20;
/// Nobody asks for so much but for records: where it is taken, records are.
const RECORD_BYTES: u64 = 256 << 10;

/// Whether space is short, and who was told so.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// The last call, or the background lane, found too little.
    is_short: AtomicBool,
    /// The largest of the calls that were refused since the disk counts as full; 0 for none.
    refused_bytes: AtomicU64,
    /// One of them was refused because the journal found no space for another file.
    by_journal: AtomicBool,
}

impl Inner {
    /// Notes whether space is short. That it is not any more is told once what was refused would fit.
    pub(crate) fn set_full(&self, full: bool) {
        self.shortage.is_short.store(full, Ordering::Relaxed);
        if full || self.shortage.refused_bytes.load(Ordering::Relaxed) == 0 {
            self.tell_full(full);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.shortage.is_short.load(Ordering::Relaxed)
    }

    /// Takes note that a call which needs `bytes` did not find them: on the disk, or in the journal.
    pub(crate) fn note_refused(&self, bytes: u64, by_journal: bool) {
        let shortage = &self.shortage;
        shortage.refused_bytes.fetch_max(bytes.max(1), Ordering::Relaxed);
        shortage.by_journal.fetch_or(by_journal, Ordering::Relaxed);
    }

    /// Takes note that a call which needs `bytes` found them.
    pub(crate) fn note_taken(&self, bytes: u64) {
        let shortage = &self.shortage;
        let most = shortage.refused_bytes.load(Ordering::Relaxed);
        if most > 0 && (bytes >= most.min(RECORD_BYTES) || self.has_room_for(most.min(ROOM_BYTES))) {
            shortage.refused_bytes.store(0, Ordering::Relaxed);
            shortage.by_journal.store(false, Ordering::Relaxed);
            self.tell_full(false);
        }
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        // Where the journal has as many files as it may, it has room in time.
        let by_journal = self.shortage.by_journal.load(Ordering::Relaxed);
        let room = self.journal_room.load(Ordering::Relaxed);
        let fits = || room >= locked(&self.pending).bytes.saturating_add(bytes);
        self.has_space_for(bytes) && (!by_journal || fits())
    }

    fn tell_full(&self, full: bool) {
        self.health.update(|health| {
            let next = match (&*health, full) {
                (StoreHealth::Working, true) => StoreHealth::Full,
                (StoreHealth::Full, false) => StoreHealth::Working,
                _ => return false,
            };
            log::warn!("store_space dir={} full={full}", self.options.dir.display());
            *health = next;
            true
        });
    }

    /// Looks how much space there is.
    pub(crate) fn look_at_space(&self) {
        match self.fs.free_bytes(&self.options.dir) {
            Ok(free) => self.free_bytes.store(free, Ordering::Relaxed),
            Err(error) => log::warn!("free_space_unknown error={error}"),
        }
    }
}
