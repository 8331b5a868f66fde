//! How much the disk has room for, and who gets the rest of it.
//!
//! What was taken must be copied into segments some day, so space for that must be there when it is taken. Of what is kept
//! free (`free_bytes_min`) records get nothing. Other entries get half, as a command may be what frees space, and so do
//! short journal files: the rest is for openings after kills.

use crate::journal::writer::JournalWriter;
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::fs::FsErrorKind;
use chronik_core::log_store::StoreHealth;
use chronik_core::{EntryKind, GroupId, LogError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// After records were refused, they are taken again once so much fits.
const MUCH_BYTES: u64 = 1 << 20;

/// How far the space of a disk may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// As far as records may use it.
    Common,
    /// As far as what may free some, or was promised its place, may use it.
    Reserve,
}

/// What the frames of `bytes` of entries take in the journal: they are longer than what is in them.
const fn framed(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 2).saturating_add(1 << 10)
}

impl Room {
    pub(crate) const fn of(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Data => Self::Common,
            EntryKind::Blank | EntryKind::Membership | EntryKind::Command => Self::Reserve,
        }
    }
}

impl Inner {
    /// Whether `bytes` of entries more can be taken.
    pub(crate) fn admit(self: &Arc<Self>, room: Room, bytes: u64) -> Result<(), LogError> {
        if self.has_space_for(room, bytes) && !self.is_full() {
            return Ok(());
        }
        // Look again: space may have returned since.
        self.look_at_space();
        if !self.has_space_for(room, bytes) {
            return Err(self.refused(bytes));
        }
        if self.is_full() {
            self.retry_space();
            self.note_space();
            // How what waits for space ends shows later.
            if self.is_held_up() || (room == Room::Common && self.is_full()) {
                self.ask_for_space();
                return Err(LogError::Full);
            }
        }
        Ok(())
    }

    /// Whether `bytes` of entries fit beside what is owed, as far as was last seen.
    pub(crate) fn has_space_for(&self, room: Room, bytes: u64) -> bool {
        let kept = match room {
            Room::Common => self.options.free_bytes_min,
            Room::Reserve => self.options.free_bytes_min / 2,
        };
        let owed = self.uncopied_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        self.free_bytes.load(Ordering::Relaxed) >= owed.saturating_add(kept)
    }

    /// Whether something waits that found no space when it was tried last.
    fn is_held_up(&self) -> bool {
        self.is_starved() || locked(&self.pending).blocked
    }

    /// The space beside journal files that are made ahead: what is owed, and what is kept free.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let owed = self.uncopied_bytes.load(Ordering::Relaxed);
        owed.saturating_add(self.options.free_bytes_min)
    }

    /// Has the next journal file ready before it is needed: where space runs out, what was taken still fits. It is not
    /// made of what is kept free.
    pub(crate) fn keep_spare(self: &Arc<Self>, journal: &mut JournalWriter) -> Result<(), LogError> {
        let wants = journal.wanted_spare();
        if wants > 0 && journal.affords(wants, self.kept_bytes()) {
            match journal.add_spare(wants) {
                Ok(()) => self.look_at_space(),
                Err(error) if error.kind == FsErrorKind::NoSpace => self.wait_for_space(),
                Err(error) => return Err(self.poison("journal file", &error)),
            }
        } else if wants > 0 {
            self.ask_for_space();
        }
        self.journal_room.store(journal.whole_room(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes sure that the journal takes `bytes` of entries more without space from the file system. Where it has as
    /// many files as it may, room comes by itself, unless damaged groups keep them.
    pub(crate) fn reserve_journal(self: &Arc<Self>, room: Room, bytes: u64) -> Result<(), LogError> {
        let needed = framed(bytes);
        let enough = |room: u64| room >= locked(&self.pending).bytes.saturating_add(needed);
        if enough(self.journal_room.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let mut journal = locked(&self.journal);
        while !enough(journal.whole_room()) && journal.may_grow() {
            let made = match journal.file_to_add(self.kept_bytes(), room, needed) {
                Some(file_bytes) => journal.add_spare(file_bytes),
                None => return Err(self.refused(bytes)),
            };
            match made {
                Ok(()) => self.look_at_space(),
                Err(error) if error.kind == FsErrorKind::NoSpace => return Err(self.refused(bytes)),
                Err(error) => return Err(self.poison("journal file", &error)),
            }
        }
        self.journal_room.store(journal.whole_room(), Ordering::Relaxed);
        if enough(journal.whole_room()) {
            return Ok(());
        }
        let Some(beside) = journal.room_beside(&self.damaged_groups()) else {
            return Ok(());
        };
        if enough(beside.common) {
            return Ok(());
        }
        if !self.is_full() {
            let (dir, groups) = (self.options.dir.display(), self.damaged_groups());
            log::error!(
                "journal_held dir={dir} groups={groups:?} reason=\"damaged groups keep journal files, and there may be no \
                 more of them: nothing is taken until the groups are removed\""
            );
        }
        if room == Room::Reserve && enough(beside.reserve) {
            // It goes into what is kept of a file, as on a disk that is full.
            self.wait_for_space();
            return Ok(());
        }
        Err(self.refused(bytes))
    }

    /// The groups of which nothing moves out of the journal any more.
    fn damaged_groups(&self) -> BTreeSet<GroupId> {
        let groups = locked(&self.groups);
        let damaged = groups.values().filter(|group| group.damaged.is_some());
        damaged.map(|group| group.id).collect()
    }

    /// Notes whether space is short.
    pub(crate) fn set_full(&self, full: bool) {
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

    /// So many bytes find no space.
    fn refused(self: &Arc<Self>, bytes: u64) -> LogError {
        self.refused_bytes.fetch_max(bytes, Ordering::Relaxed);
        self.wait_for_space();
        LogError::Full
    }

    /// Notes that the disk is not full any more once what was refused would fit, or much, and nothing waits for space: at
    /// the edge, one answer must not follow the other with every record.
    pub(crate) fn note_space(&self) {
        if !self.is_full() || self.is_held_up() {
            return;
        }
        let least = self.options.payload_bytes_max;
        let refused = self.refused_bytes.load(Ordering::Relaxed);
        let much = refused.max(least).min(MUCH_BYTES);
        if self.has_space_for(Room::Common, much) && self.journal_takes(much) {
            self.refused_bytes.store(0, Ordering::Relaxed);
            self.set_full(false);
        }
    }

    /// Whether the journal would take so many bytes; not where it is being written, as nobody must wait for that here.
    fn journal_takes(&self, bytes: u64) -> bool {
        let Ok(journal) = self.journal.try_lock() else {
            return false;
        };
        let needed = locked(&self.pending).bytes.saturating_add(framed(bytes));
        let kept_bytes = self.kept_bytes();
        if journal.whole_room() >= needed {
            true
        } else if journal.may_grow() {
            journal.file_to_add(kept_bytes, Room::Common, needed).is_some()
        } else {
            let beside = journal.room_beside(&self.damaged_groups());
            beside.is_none_or(|beside| beside.common >= needed)
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.health.with(|health| *health == StoreHealth::Full)
    }

    /// Looks how much space there is.
    pub(crate) fn look_at_space(&self) {
        let before = self.uncopied_bytes.load(Ordering::Relaxed);
        match self.fs.free_bytes(&self.options.dir) {
            Ok(free) => {
                // What was copied meanwhile may have been free when the file system answered.
                let copied = before.saturating_sub(self.uncopied_bytes.load(Ordering::Relaxed));
                self.free_bytes
                    .store(free.saturating_sub(copied), Ordering::Relaxed);
            }
            Err(error) => log::warn!("free_space_unknown error={error}"),
        }
    }

    /// Notes that `bytes` of what was owed took their space.
    pub(crate) fn note_copied(&self, bytes: u64) {
        let less = |free: u64| Some(free.saturating_sub(bytes));
        let _ = self
            .free_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.uncopied_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
