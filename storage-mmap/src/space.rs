//! What the store says of the space on its disk.
//!
//! Small entries may fit where larger ones do not: an engine asks for more where records are concerned than for commands,
//! which may be the way out. That a command was taken is no sign that the disk has room.

use crate::store::Inner;
use crate::sync::locked;
use chronik_core::LogError;
use chronik_core::log_store::StoreHealth;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The most that must fit again before the disk counts as one with room.
const ROOM_BYTES: u64 = 1 << 20;

/// Whether space is short, and who was told so.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// The last call, or the background lane, found too little.
    is_short: AtomicBool,
    /// The largest of the calls that were refused since the disk counts as full; 0 for none.
    refused_bytes: AtomicU64,
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

    /// Takes note of whether a call that needs `bytes` found them.
    pub(crate) fn note_space<T>(&self, bytes: u64, result: Result<T, LogError>) -> Result<T, LogError> {
        let refused = &self.shortage.refused_bytes;
        match result {
            Err(LogError::Full) => {
                refused.fetch_max(bytes.max(1), Ordering::Relaxed);
            }
            Ok(_) => {
                let most = refused.load(Ordering::Relaxed);
                if most > 0 && (bytes >= most || self.has_room_for(most.min(ROOM_BYTES))) {
                    refused.store(0, Ordering::Relaxed);
                    self.tell_full(false);
                }
            }
            Err(_) => {}
        }
        result
    }

    /// Whether the disk, and the journal as it is, would take so many bytes.
    fn has_room_for(&self, bytes: u64) -> bool {
        let journal = self.journal_room.load(Ordering::Relaxed);
        self.has_space_for(bytes) && journal >= locked(&self.pending).bytes.saturating_add(bytes)
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
