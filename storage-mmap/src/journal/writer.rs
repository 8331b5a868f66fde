//! Writing the journal. The journal lane alone does this.

use super::file::{PREAMBLE_BYTES, Preamble};
use super::image::Image;
use super::needs::Needs;
use super::{journal_dir, slot_path};
use crate::codec::Malformed;
use crate::damage::final_sync;
use crate::frame::{FrameType, HEADER_BYTES, Place, Record, encode_header};
use crate::space::Room;
use chronik_core::GroupId;
use chronik_core::env::Rng;
use chronik_core::fs::{APPEND_BLOCK_BYTES, File, FileSystem, FsError, FsErrorKind, OpenMode};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A journal file that holds something that is needed.
#[derive(Clone, Debug)]
pub(crate) struct JournalFile {
    pub(crate) slot: u32,
    pub(crate) sequence: u64,
    pub(crate) start: u64,
    pub(crate) file_bytes: u64,
    pub(crate) needs: Needs,
}

/// A journal file that may be written over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeSlot {
    pub(crate) slot: u32,
    pub(crate) file_bytes: u64,
}

/// The file that takes frames now.
#[derive(Debug)]
struct Active {
    file: Arc<dyn File>,
    salt: u32,
    /// Where the next frame goes, from the start of the file.
    end: u64,
    chain: u32,
}

/// Where the journal lies and how long its files are.
#[derive(Clone, Debug)]
pub(crate) struct JournalConfig {
    pub(crate) dir: PathBuf,
    pub(crate) file_bytes: u64,
    pub(crate) files_max: usize,
    /// What opening must leave free on the file system.
    pub(crate) free_bytes_min: u64,
}

/// The journal as its one writer sees it.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    config: JournalConfig,
    fs: Arc<dyn FileSystem>,
    rng: Arc<dyn Rng>,
    /// The state as of the last durable frame.
    pub(crate) image: Image,
    /// Files in use, oldest first; the last takes frames.
    pub(crate) files: VecDeque<JournalFile>,
    pub(crate) free: Vec<FreeSlot>,
    next_slot: u32,
    /// Grows with each attempt to start a file, so that no two attempts have the same.
    next_sequence: u64,
    active: Option<Active>,
}

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) image: Image,
    pub(crate) files: VecDeque<JournalFile>,
    pub(crate) free: Vec<FreeSlot>,
    pub(crate) next_slot: u32,
    /// Where the next file starts.
    pub(crate) end: u64,
    pub(crate) chain: u32,
    /// The newest of the files, where there is one.
    pub(crate) newest: Option<Newest>,
    pub(crate) next_sequence: u64,
}

/// The file that took frames last.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) file: Arc<dyn File>,
    pub(crate) salt: u32,
    /// Where the next frame would go, from the start of the file.
    pub(crate) end: u64,
    pub(crate) chain: u32,
    /// Where what a crash tore ends; nothing behind `end` where this is less.
    pub(crate) torn_end: u64,
}

impl JournalWriter {
    /// Continues a journal in a new file. Openings that are cut short again and again, or that can free no file, must not
    /// take a file each: where files pile up it goes on in the newest, if much of it is empty, and on a full disk in that
    /// of an opening before, which found it full too.
    pub(crate) fn start(
        config: JournalConfig,
        fs: Arc<dyn FileSystem>,
        rng: Arc<dyn Rng>,
        found: Recovered,
    ) -> Result<Self, FsError> {
        let mut journal = Self {
            config,
            fs,
            rng,
            image: found.image,
            files: found.files,
            free: found.free,
            next_slot: found.next_slot,
            next_sequence: found.next_sequence,
            active: None,
        };
        let piled_up = journal.files.len() * 2 > journal.config.files_max;
        let half = journal.files.back().map_or(0, |file| file.file_bytes / 2);
        if piled_up && journal.go_on(found.newest.as_ref(), half)? {
            return Ok(journal);
        }
        let (wanted, least) = (journal.first_bytes(), journal.least_bytes());
        if wanted > least {
            match journal.start_file(found.end, found.chain, wanted) {
                // A quota may leave less than the file system says.
                Err(error) if error.kind == FsErrorKind::NoSpace => {}
                started => return started.map(|()| journal),
            }
        }
        if !journal.is_short() || !journal.go_on(found.newest.as_ref(), least / 2)? {
            journal.start_file(found.end, found.chain, least)?;
        }
        Ok(journal)
    }

    /// Goes on in the newest file behind what is whole there; false where it has not that much room.
    fn go_on(&mut self, newest: Option<&Newest>, room: u64) -> Result<bool, FsError> {
        let Some(newest) = newest else {
            return Ok(false);
        };
        self.active = Some(Active {
            file: Arc::clone(&newest.file),
            salt: newest.salt,
            end: newest.end,
            chain: newest.chain,
        });
        let fits = self.room(true) >= room;
        if fits && newest.torn_end > newest.end {
            // Whole frames may be among it: they must not be taken for ones that follow what is written next.
            match erase(&*newest.file, newest.end..newest.torn_end) {
                Err(error) if error.kind == FsErrorKind::NoSpace => {}
                other => return other.map(|()| true),
            }
        } else if fits {
            return Ok(true);
        }
        self.active = None;
        Ok(false)
    }

    /// How many bytes of frames fit into the file that takes them now.
    pub(crate) fn room(&self, privileged: bool) -> u64 {
        let (Some(active), Some(file)) = (&self.active, self.files.back()) else {
            return 0;
        };
        // The end of each file is for the store's own records and hard states.
        let reserve_bytes = (file.file_bytes / 8).min(1 << 20);
        let kept = PREAMBLE_BYTES + if privileged { 0 } else { reserve_bytes };
        file.file_bytes.saturating_sub(active.end + kept)
    }

    /// Writes records behind the last one. Nothing is durable, and the end has not moved, until
    /// [`JournalWriter::commit`].
    pub(crate) fn write(&self, records: &[Record]) -> Result<Written, FsError> {
        let (Some(active), Some(file)) = (&self.active, self.files.back()) else {
            return Ok(Written::default());
        };
        let synced = file.start + active.end;
        let mut written = Written {
            end: active.end,
            chain: active.chain,
        };
        let mut headers = Vec::with_capacity(records.len() * HEADER_BYTES);
        for record in records {
            let place = Place {
                file: file.sequence,
                synced,
                position: file.start + written.end,
                chain: written.chain,
            };
            written.chain = encode_header(&mut headers, record, place, active.salt);
            written.end += record.frame_bytes();
        }
        assert!(
            written.end + PREAMBLE_BYTES <= file.file_bytes,
            "frames fit into the file they were taken for"
        );
        let mut parts: Vec<&[u8]> = Vec::with_capacity(records.len() * 2);
        for (header, record) in headers.chunks_exact(HEADER_BYTES).zip(records) {
            parts.push(header);
            parts.push(&record.payload);
        }
        let last = written.end.next_multiple_of(APPEND_BLOCK_BYTES);
        if last + PREAMBLE_BYTES <= file.file_bytes {
            active.file.append_at(&parts, active.end)?;
        } else {
            // What may follow would be written over the preamble's copy.
            active.file.write_at(&parts, active.end)?;
        }
        Ok(written)
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        match &self.active {
            Some(active) => final_sync(active.file.sync_data()),
            None => Ok(()),
        }
    }

    /// Moves the end behind records that are durable now, and applies them.
    pub(crate) fn commit(&mut self, records: &[Record], written: Written) -> Result<(), Malformed> {
        if let Some(active) = &mut self.active {
            active.end = written.end;
            active.chain = written.chain;
        }
        for record in records {
            self.image.apply(record)?;
            if matches!(record.frame_type, FrameType::Truncate | FrameType::Remove) {
                for file in &mut self.files {
                    file.needs.forget(record);
                }
            }
            if let Some(file) = self.files.back_mut() {
                file.needs.note(record);
            }
        }
        self.release();
        Ok(())
    }

    /// Whether another file can be started within the bound on their number.
    pub(crate) fn can_roll(&self) -> bool {
        !self.free.is_empty() || self.files.len() < self.config.files_max
    }

    /// Whether there are more files than the bound says.
    pub(crate) fn is_over(&self) -> bool {
        self.free.is_empty() && self.files.len() > self.config.files_max
    }

    /// How many bytes of frames fit into the file that takes them now and into those that may be written over. None do into
    /// a file beyond the bound: it is there for what gives room.
    pub(crate) fn whole_room(&self) -> u64 {
        if self.is_over() {
            return 0;
        }
        let later = self.free.iter().map(|slot| slot.file_bytes / 2).sum::<u64>();
        self.room(false) + later
    }

    /// How much fits in all, now and later, where some groups never let go of what they keep: none of the files from the
    /// first that holds such on becomes free. `None` where there is none: then room comes by itself.
    pub(crate) fn room_beside(&self, stays: &BTreeSet<GroupId>) -> Option<RoomBeside> {
        let holds = |file: &JournalFile| file.needs.open(&self.image).any(|group| stays.contains(&group));
        let held = self.files.iter().position(holds)?;
        let freed = self.files.iter().take(held).map(|file| file.file_bytes / 2);
        let common = self.whole_room() + freed.sum::<u64>();
        Some(RoomBeside {
            common,
            reserve: common.max(self.room(true) / 2),
        })
    }

    /// Whether there may be one file more.
    pub(crate) fn may_grow(&self) -> bool {
        self.files.len() + self.free.len() < self.config.files_max
    }

    /// How long a file should be made now for the next roll; 0 where there is one, or it is too early, or there may
    /// be no more.
    pub(crate) fn wanted_spare(&self) -> u64 {
        let (Some(active), Some(file)) = (&self.active, self.files.back()) else {
            return 0;
        };
        let early = active.end < file.file_bytes / 2;
        if early || self.files.len() >= self.config.files_max {
            return 0;
        }
        let wanted = self.wanted_bytes(&self.head());
        if self.has_free(wanted) { 0 } else { wanted }
    }

    /// Whether the file system has `file_bytes` for a file of the journal beside `kept_bytes`.
    pub(crate) fn affords(&self, file_bytes: u64, kept_bytes: u64) -> bool {
        let needed = file_bytes.saturating_add(kept_bytes);
        let free = self.fs.free_bytes(&self.config.dir);
        free.is_ok_and(|free| free >= needed)
    }

    /// How long a file should be made now for a later roll, so that `needed_bytes` fit: a whole one, where the file system
    /// has that beside `kept_bytes`. Where it has not, what may free space gets one short file.
    pub(crate) fn file_to_add(&self, kept_bytes: u64, room: Room, needed_bytes: u64) -> Option<u64> {
        let wanted = self.wanted_bytes(&self.head());
        if self.affords(wanted, kept_bytes) {
            return Some(wanted);
        }
        let least = self.least_bytes();
        let fits = room == Room::Reserve && self.free.is_empty() && needed_bytes <= least / 4;
        fits.then_some(least)
    }

    /// Makes a file of this length for a later roll.
    pub(crate) fn add_spare(&mut self, file_bytes: u64) -> Result<(), FsError> {
        let (slot, _) = self.create(file_bytes)?;
        self.free.push(slot);
        Ok(())
    }

    /// Goes on in another file, in which `next_bytes` of frames fit. Where the file system has none for a whole file beside
    /// `kept_bytes`, it is a short one.
    pub(crate) fn roll(&mut self, kept_bytes: u64, next_bytes: u64) -> Result<(), FsError> {
        let (wanted, least) = (self.wanted_bytes(&self.head()), self.least_bytes());
        let whole = self.has_free(wanted) || next_bytes > least / 4 || self.affords(wanted, kept_bytes);
        self.roll_into(if whole { wanted } else { least })
    }

    fn roll_into(&mut self, file_bytes: u64) -> Result<(), FsError> {
        let (Some(active), Some(file)) = (&self.active, self.files.back()) else {
            return Ok(());
        };
        let (start, chain) = (file.start + active.end, active.chain);
        self.start_file(start, chain, file_bytes)
    }

    /// Goes on in a file that is there already; false where there is none.
    pub(crate) fn roll_over(&mut self) -> Result<bool, FsError> {
        let wanted = self.wanted_bytes(&self.head());
        let found = self.has_free(wanted);
        if found {
            self.roll_into(wanted)?;
        }
        Ok(found)
    }

    /// Whether the file that takes frames is shorter than others, because there was no space for more.
    pub(crate) fn is_short(&self) -> bool {
        self.files
            .back()
            .is_some_and(|file| file.file_bytes < self.config.file_bytes)
    }

    fn head(&self) -> Record {
        Record::new(FrameType::Head, GroupId(0), self.image.encode())
    }

    /// How long a file must be that starts with `head`, which leaves room for what comes after it.
    fn wanted_bytes(&self, head: &Record) -> u64 {
        self.config.file_bytes.max(head.frame_bytes().saturating_mul(4))
    }

    /// How long the first file of an opening should be: a whole one, unless that takes of what is kept free.
    fn first_bytes(&self) -> u64 {
        let wanted = self.wanted_bytes(&self.head());
        if self.has_free(wanted) || self.affords(wanted, self.config.free_bytes_min) {
            wanted
        } else {
            self.least_bytes()
        }
    }

    /// How long a file must be for what frees space: a store that was killed on a full disk must open, more than once.
    fn least_bytes(&self) -> u64 {
        let share = (self.config.file_bytes / 16).min(self.config.free_bytes_min / 4);
        let head = self.head();
        share.max(4 << 10).max(head.frame_bytes().saturating_mul(4))
    }

    fn has_free(&self, wanted: u64) -> bool {
        self.free.iter().any(|slot| slot.file_bytes >= wanted)
    }

    fn start_file(&mut self, start: u64, chain: u32, wanted: u64) -> Result<(), FsError> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let head = self.head();
        let place = self.free.iter().position(|slot| slot.file_bytes >= wanted);
        let (slot, file) = match place {
            Some(place) => {
                let slot = self.free[place];
                let file = self
                    .fs
                    .open(&slot_path(&self.config.dir, slot.slot), OpenMode::Write)?;
                (slot, file)
            }
            None => self.create(wanted)?,
        };
        let preamble = Preamble {
            salt: self.rng.next_u64() as u32,
            sequence,
            start,
            file_bytes: slot.file_bytes,
        };
        let at = Place {
            file: sequence,
            synced: start,
            position: start + PREAMBLE_BYTES,
            chain,
        };
        let encoded = preamble.encode();
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let chain = encode_header(&mut header, &head, at, preamble.salt);
        let copy_at = slot.file_bytes - PREAMBLE_BYTES;
        let started = file
            .write_at(&[&encoded, &header, &head.payload], 0)
            .and_then(|()| file.write_at(&[&encoded], copy_at))
            .and_then(|()| final_sync(file.sync_data()));
        if let Some(place) = place {
            self.free.swap_remove(place);
        }
        if let Err(error) = started {
            // The file before goes on. A head that was written all the same would hide what follows there.
            if error.kind == FsErrorKind::NoSpace {
                erase_preambles(&*file, copy_at)?;
                self.free.push(slot);
            }
            return Err(error);
        }
        self.files.push_back(JournalFile {
            slot: slot.slot,
            sequence,
            start,
            file_bytes: slot.file_bytes,
            needs: Needs::default(),
        });
        self.active = Some(Active {
            file,
            salt: preamble.salt,
            end: PREAMBLE_BYTES + head.frame_bytes(),
            chain,
        });
        Ok(())
    }

    /// Makes a new file with its space reserved and its name durable.
    fn create(&mut self, file_bytes: u64) -> Result<(FreeSlot, Arc<dyn File>), FsError> {
        let slot = self.next_slot;
        let path = slot_path(&self.config.dir, slot);
        let file = self.fs.open(&path, OpenMode::CreateNew)?;
        let prepared = file
            .allocate(file_bytes)
            .and_then(|()| final_sync(self.fs.sync_dir(&journal_dir(&self.config.dir))));
        if let Err(error) = prepared {
            // What was made of it must not stay in the way of a later attempt.
            drop(file);
            let _ = self.fs.remove(&path);
            // Nor its space, in that of a shorter one.
            let _ = self.fs.sync_dir(&journal_dir(&self.config.dir));
            return Err(error);
        }
        self.next_slot += 1;
        Ok((FreeSlot { slot, file_bytes }, file))
    }

    /// The sequence number of the oldest file that holds something needed.
    pub(crate) fn wanted_floor(&self) -> u64 {
        let mut floor = 0;
        for (place, file) in self.files.iter().enumerate() {
            floor = file.sequence;
            let is_active = place + 1 == self.files.len();
            if is_active || file.needs.open(&self.image).next().is_some() {
                break;
            }
        }
        floor
    }

    /// The groups whose data keeps files older than the newest `newest` ones.
    pub(crate) fn holders(&self, newest: usize) -> BTreeSet<GroupId> {
        let older = self.files.len().saturating_sub(newest);
        self.files
            .iter()
            .take(older)
            .flat_map(|file| file.needs.open(&self.image))
            .collect()
    }

    /// Frees the files below the durable floor. Those that no roll would take are removed, but for a short one while there
    /// is no whole one.
    fn release(&mut self) {
        while self.files.len() > 1
            && let Some(file) = self.files.front()
            && file.sequence < self.image.floor
        {
            self.free.push(FreeSlot {
                slot: file.slot,
                file_bytes: file.file_bytes,
            });
            self.files.pop_front();
        }
        let (fs, config, count) = (&self.fs, &self.config, self.free.len());
        let is_whole = |slot: &FreeSlot| slot.file_bytes >= config.file_bytes;
        let mut enough = self.free.iter().any(is_whole);
        self.free.retain(|slot| {
            let kept = is_whole(slot) || !std::mem::replace(&mut enough, true);
            // What cannot be removed now may be later.
            kept || fs.remove(&slot_path(&config.dir, slot.slot)).is_err()
        });
        if self.free.len() < count {
            // Their space returns with their names gone; nothing depends on that.
            let _ = fs.sync_dir(&journal_dir(&config.dir));
        }
    }
}

/// How many bytes of frames fit at most beside what stays for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomBeside {
    pub(crate) common: u64,
    /// For what may let something go, as far as the ends of files that are kept for hard states allow it.
    pub(crate) reserve: u64,
}

/// Makes sure that a file which was not started does not look as if it had been.
fn erase_preambles(file: &dyn File, copy_at: u64) -> Result<(), FsError> {
    let nothing = [0; PREAMBLE_BYTES as usize];
    let erased = file
        .write_at(&[&nothing], 0)
        .and_then(|()| file.write_at(&[&nothing], copy_at))
        .and_then(|()| file.sync_data());
    final_sync(erased)
}

/// Writes zeros over a range, and makes them durable.
fn erase(file: &dyn File, range: Range<u64>) -> Result<(), FsError> {
    const STEP_BYTES: u64 = 1 << 20;
    let zeros = vec![0; (range.end - range.start).min(STEP_BYTES) as usize];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(STEP_BYTES);
        file.write_at(&[zeros.get(..count as usize).unwrap_or_default()], at)?;
        at += count;
    }
    final_sync(file.sync_data())
}

/// The end of frames that were written and are not durable yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    end: u64,
    chain: u32,
}
