//! Group commit: one flush takes everything that waits, writes it with one call and makes it durable with one sync,
//! while the next group gathers.

use crate::background::DropTask;
use crate::frame::{FrameType, Record};
use crate::group::Group;
use crate::journal::group_image::decode_stored;
use crate::journal::image::Image;
use crate::journal::writer::JournalWriter;
use crate::queue::{Effect, Pending, Work};
use crate::store::Inner;
use crate::sync::locked;
use chronik_core::env::DiskLane;
use chronik_core::fs::FsErrorKind;
use chronik_core::{GroupId, LogError, LogIndex};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What one step of flushing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Something was done; there may be more.
    Done,
    /// Nothing waits.
    Idle,
    /// What waits cannot go on until there is room.
    Blocked,
}

/// What one flush takes.
#[derive(Debug, Default)]
struct Batch {
    /// The store's own first, then those of calls in their order.
    records: Vec<Record>,
    /// How many of the records are the store's own.
    control: usize,
    /// Calls whose last record is in the batch, and how many of theirs are.
    finished: Vec<(Work, usize)>,
    /// The first records of an append whose others do not fit.
    begun: Option<Begun>,
    bytes: u64,
}

/// A front of an append.
#[derive(Debug)]
struct Begun {
    group: Arc<Group>,
    through: LogIndex,
    truncations: u32,
}

impl Inner {
    /// Queues a call. A flush follows where somebody waits for it.
    pub(crate) fn push(self: &Arc<Self>, work: Work) {
        let submit = {
            let mut pending = locked(&self.pending);
            let wanted = work.ticket.is_some();
            pending.bytes += work.bytes();
            pending.works.push_back(work);
            wanted && begin_flushing(&mut pending)
        };
        if submit {
            self.submit_flush();
        }
    }

    /// Queues a record of the store itself. It goes with the next flush, or at once where others wait for room.
    pub(crate) fn push_control(self: &Arc<Self>, record: Record) {
        let submit = {
            let mut pending = locked(&self.pending);
            if !pending.control.contains(&record) {
                pending.control.push_back(record);
            }
            pending.wake = true;
            pending.blocked && begin_flushing(&mut pending)
        };
        if submit {
            self.submit_flush();
        }
    }

    /// Starts a flush where something waits that found no room before.
    pub(crate) fn retry_blocked(self: &Arc<Self>) {
        let submit = {
            let mut pending = locked(&self.pending);
            pending.wake = true;
            pending.blocked && begin_flushing(&mut pending)
        };
        if submit {
            self.submit_flush();
        }
    }

    fn submit_flush(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.env
            .disk
            .submit(DiskLane::Journal, Box::new(move || inner.flush_job()));
    }

    fn flush_job(self: &Arc<Self>) {
        locked(&self.pending).wake = false;
        let progress = self.flush_step();
        let again = {
            let mut pending = locked(&self.pending);
            pending.blocked = progress == Progress::Blocked;
            let more = match progress {
                Progress::Done => !pending.works.is_empty(),
                // What this step waits for may have come while it ended.
                Progress::Blocked => pending.wake,
                Progress::Idle => false,
            };
            pending.flushing = more && !pending.closed;
            pending.flushing
        };
        if again {
            self.submit_flush();
        }
        self.start_background();
    }

    /// Writes what the store itself has to say, on the caller's thread, while nobody else uses the store. Journal files
    /// that are not needed are free after it.
    pub(crate) fn flush_control(self: &Arc<Self>) -> Result<(), LogError> {
        self.raise_floor(&locked(&self.journal));
        while !locked(&self.pending).control.is_empty() && self.flush_step() == Progress::Done {}
        self.check_health()
    }

    /// Writes everything that waits, on the caller's thread, and ends the journal.
    pub(crate) fn flush_all_and_close(self: &Arc<Self>) -> Result<(), LogError> {
        let mut progress = Progress::Done;
        while progress == Progress::Done {
            progress = self.flush_step();
        }
        self.check_health()?;
        if progress == Progress::Blocked {
            return Err(LogError::Full);
        }
        let mut journal = locked(&self.journal);
        let mut records: Vec<Record> = self.commit_hints(&journal.image);
        records.push(Record::new(FrameType::Close, GroupId(0), bytes::Bytes::new()));
        let bytes: u64 = records.iter().map(Record::frame_bytes).sum();
        if bytes > journal.room(true) {
            // The end is not marked; the next opening looks for it.
            return Ok(());
        }
        self.write_and_sync(&mut journal, &records).map(|_| ())
    }

    /// Commit hints that no later record carried to the disk.
    fn commit_hints(&self, image: &Image) -> Vec<Record> {
        let groups: Vec<_> = locked(&self.groups).values().cloned().collect();
        let mut records = Vec::new();
        for group in groups {
            let hint = locked(&group.state).commit_hint;
            let known = image.groups.get(&group.id).map(|image| image.commit_hint);
            if known.is_some_and(|known| known < hint) {
                let mut record = Record::new(FrameType::CommitHint, group.id, bytes::Bytes::new());
                record.commit_hint = hint;
                records.push(record);
            }
        }
        records
    }

    fn flush_step(self: &Arc<Self>) -> Progress {
        let mut journal = locked(&self.journal);
        if let Err(error) = self.check_health() {
            self.fail_all(&error);
            return Progress::Idle;
        }
        let batch = self.take_batch(&journal);
        if batch.records.is_empty() && batch.finished.is_empty() {
            return self.make_room(&mut journal);
        }
        if !batch.records.is_empty() {
            match self.write_and_sync(&mut journal, &batch.records) {
                Ok(true) => {}
                Ok(false) => {
                    put_back(&mut locked(&self.pending), batch);
                    return Progress::Blocked;
                }
                Err(error) => {
                    fail(batch.finished.into_iter().map(|(work, _)| work), &error);
                    self.fail_all(&error);
                    return Progress::Idle;
                }
            }
        }
        if batch.control > 0 {
            self.raise_floor(&journal);
        }
        for (work, _) in batch.finished {
            self.complete(work);
        }
        if let Some(begun) = batch.begun {
            // Its entries are durable though its ticket waits: they can be copied, and must be where memory is short.
            self.entries_are_durable(&begun.group, begun.through, begun.truncations);
        }
        match self.keep_spare(&mut journal) {
            Ok(()) => Progress::Done,
            Err(error) => {
                self.fail_all(&error);
                Progress::Idle
            }
        }
    }

    /// True where the records are durable, false where there was no space and nothing is lost.
    fn write_and_sync(
        self: &Arc<Self>,
        journal: &mut JournalWriter,
        records: &[Record],
    ) -> Result<bool, LogError> {
        let written = match journal.write(records) {
            Ok(written) => written,
            Err(error) if error.kind == FsErrorKind::NoSpace => {
                self.wait_for_space();
                return Ok(false);
            }
            Err(error) => return Err(self.poison("journal write", &error)),
        };
        if let Err(error) = journal.sync() {
            return Err(self.poison("journal sync", &error));
        }
        match journal.commit(records, written) {
            Ok(()) => Ok(true),
            Err(error) => Err(self.poison_with(format!("journal state: {}", error.0))),
        }
    }

    /// Goes on in another journal file, where what waits does not fit into this one.
    fn make_room(self: &Arc<Self>, journal: &mut JournalWriter) -> Progress {
        let waits = {
            let pending = locked(&self.pending);
            !pending.works.is_empty() || !pending.control.is_empty()
        };
        if !waits {
            return Progress::Idle;
        }
        match self.try_roll(journal) {
            Ok(true) => Progress::Done,
            Ok(false) => Progress::Blocked,
            Err(error) => {
                self.fail_all(&error);
                Progress::Idle
            }
        }
    }

    /// True where there is room now or will be with the next flush, false where there cannot be any yet.
    fn try_roll(self: &Arc<Self>, journal: &mut JournalWriter) -> Result<bool, LogError> {
        if !self.entries_may_flow() {
            return Ok(false);
        }
        if !journal.can_roll() {
            if self.raise_floor(journal) {
                // Saying that files are free comes first.
                return Ok(true);
            }
            let holders = journal.holders(1);
            self.request_sweep(&holders);
            // The store's own records give room, so they may take some.
            let gives_room = {
                let pending = locked(&self.pending);
                !pending.control.is_empty() || pending.closed
            };
            if !gives_room && !self.some_leave(&holders, &journal.image) {
                return Ok(false);
            }
        }
        match journal.roll(self.kept_bytes(), self.next_frame_bytes()) {
            Ok(()) => {
                self.relieve(journal);
                Ok(true)
            }
            Err(error) if error.kind == FsErrorKind::NoSpace => {
                self.wait_for_space();
                self.request_sweep(&journal.holders(1));
                Ok(false)
            }
            Err(error) => Err(self.poison("journal file", &error)),
        }
    }

    /// How long the frame is that goes into the journal next.
    fn next_frame_bytes(&self) -> u64 {
        let pending = locked(&self.pending);
        let waiting = pending.works.front().and_then(|work| work.records.front());
        let next = [pending.control.front(), waiting].into_iter().flatten();
        next.map(Record::frame_bytes).max().unwrap_or(0)
    }

    /// Whether a call that waits for the journal changes what the journal must keep of one of these groups: then no
    /// sweep can free the files that hold it, and the call must not wait for them.
    fn some_leave(&self, groups: &BTreeSet<GroupId>, image: &Image) -> bool {
        let known = locked(&self.groups);
        groups.iter().any(|group| {
            let (Some(found), Some(image)) = (known.get(group), image.groups.get(group)) else {
                return true;
            };
            let state = locked(&found.state);
            found.damaged.is_none()
                && (state.truncations != image.truncations
                    || state.start != image.start
                    || state.replaces_checkpoint(&image.checkpoints))
        })
    }

    /// Asks for older journal files to be freed, early enough that appends need not wait for it.
    fn relieve(self: &Arc<Self>, journal: &JournalWriter) {
        if journal.files.len() * 2 > self.options.journal_files_max {
            self.request_sweep(&journal.holders(1));
        }
        self.raise_floor(journal);
    }

    /// Says in the journal which files are not needed any more; true where that is news.
    fn raise_floor(self: &Arc<Self>, journal: &JournalWriter) -> bool {
        let wanted = journal.wanted_floor();
        if wanted > journal.image.floor {
            let mut record = Record::new(FrameType::Floor, GroupId(0), bytes::Bytes::new());
            record.id.index.0 = wanted;
            let mut pending = locked(&self.pending);
            let news = !pending.control.contains(&record);
            if news {
                pending.control.push_back(record);
            }
            return news;
        }
        false
    }

    /// Whether nothing must hold back what was taken: no more records are taken on a full disk, or of a store that closes.
    fn drains(&self) -> bool {
        self.is_full() || locked(&self.pending).closed
    }

    /// Whether entries may become durable before more of them are copied: memory is bounded.
    fn entries_may_flow(&self) -> bool {
        let limit = self
            .options
            .copy_bytes
            .saturating_mul(4)
            .max(self.options.tail_bytes_max);
        let unflushed = locked(&self.pending).bytes;
        let uncopied = self.uncopied_bytes.load(Ordering::Relaxed);
        uncopied.saturating_sub(unflushed) <= limit || self.drains()
    }

    /// How many bytes of this flush entries and checkpoints may take.
    fn entry_room(&self, journal: &JournalWriter) -> u64 {
        // A file beyond the bound is there for what gives room.
        let bounded = journal.is_over() && !self.some_leave(&journal.holders(1), &journal.image);
        if self.drains() {
            journal.room(true)
        } else if bounded || !self.entries_may_flow() {
            0
        } else {
            journal.room(false)
        }
    }

    fn take_batch(&self, journal: &JournalWriter) -> Batch {
        let entry_room = self.entry_room(journal);
        let mut batch = Batch::default();
        let mut pending = locked(&self.pending);
        let pending = &mut *pending;
        while let Some(record) = pending.control.front() {
            if batch.bytes + record.frame_bytes() > journal.room(true) {
                break;
            }
            if let Some(record) = pending.control.pop_front()
                && control_is_valid(&record, &journal.image)
            {
                batch.bytes += record.frame_bytes();
                batch.control += 1;
                batch.records.push(record);
            }
        }
        while batch.bytes < self.options.flush_bytes_max {
            let Some(work) = pending.works.front_mut() else {
                break;
            };
            let before = (batch.bytes, batch.records.len());
            while let Some(record) = work.records.front() {
                let room = match record.frame_type {
                    FrameType::Entry | FrameType::Checkpoint => entry_room,
                    _ => journal.room(true),
                };
                let bytes = record.frame_bytes();
                if batch.bytes + bytes > room || batch.bytes >= self.options.flush_bytes_max {
                    break;
                }
                batch.bytes += bytes;
                batch.records.extend(work.records.pop_front());
            }
            pending.bytes = pending.bytes.saturating_sub(batch.bytes - before.0);
            if !work.records.is_empty() {
                batch.begun = begun(work, batch.records.get(before.1..).unwrap_or_default());
                break;
            }
            if let Some(work) = pending.works.pop_front() {
                let count = batch.records.len() - before.1;
                batch.finished.push((work, count));
            }
        }
        batch
    }

    /// Answers everything that waits with `error`.
    fn fail_all(&self, error: &LogError) {
        let works = {
            let mut pending = locked(&self.pending);
            pending.bytes = 0;
            pending.control.clear();
            std::mem::take(&mut pending.works)
        };
        fail(works, error);
    }

    /// Entries up to `through` are durable, as far as they were not removed since.
    fn entries_are_durable(&self, group: &Arc<Group>, through: LogIndex, truncations: u32) {
        let mut state = locked(&group.state);
        state.is_durable(through, truncations);
        self.queue_copy(group, &mut state);
    }

    /// What follows from a call that is durable now.
    fn complete(self: &Arc<Self>, work: Work) {
        match work.effect {
            Effect::None => {}
            Effect::Entries { through, truncations } => {
                self.entries_are_durable(&work.group, through, truncations);
            }
            Effect::Truncated {
                through,
                truncations,
                gone,
            } => {
                self.entries_are_durable(&work.group, through, truncations);
                self.queue_drop(DropTask::segments(&work.group, gone));
            }
            Effect::Purged { gone, checkpoints } => {
                let mut task = DropTask::segments(&work.group, gone);
                task.checkpoints = checkpoints;
                self.queue_drop(task);
            }
            Effect::Checkpoint { call, dropped } => {
                self.checkpoint_is_durable(&work.group, call, dropped);
            }
            Effect::Removed { gone } => {
                let mut task = DropTask::segments(&work.group, gone);
                task.whole_group = true;
                self.queue_drop(task);
            }
        }
        if let Some(ticket) = work.ticket {
            ticket.resolve(Ok(()));
        }
    }
}

/// What part of a call that goes on in the next flush lies in `records`, the last ones of this one.
fn begun(work: &Work, records: &[Record]) -> Option<Begun> {
    let Effect::Entries { truncations, .. } = work.effect else {
        return None;
    };
    Some(Begun {
        group: Arc::clone(&work.group),
        through: records.last()?.id.index,
        truncations,
    })
}

fn begin_flushing(pending: &mut Pending) -> bool {
    let begins = !pending.flushing && !pending.closed;
    pending.flushing |= begins;
    begins
}

/// Whether a record of the store still says something true: calls that went before it may have changed that.
fn control_is_valid(record: &Record, image: &Image) -> bool {
    if record.frame_type == FrameType::Floor {
        return record.id.index.0 > image.floor;
    }
    let Some(group) = image.groups.get(&record.group) else {
        return false;
    };
    match record.frame_type {
        FrameType::Stored => {
            record.truncations == group.truncations
                && decode_stored(record) != Ok(group.stored)
                && record.id.index >= group.stored.through.index
                && record.id.index <= group.last.index
        }
        _ => true,
    }
}

fn fail(works: impl IntoIterator<Item = Work>, error: &LogError) {
    for work in works {
        if let Some(ticket) = work.ticket {
            ticket.resolve(Err(error.clone()));
        }
    }
}

/// The records of a batch go back to where they came from.
fn put_back(pending: &mut Pending, mut batch: Batch) {
    let calls = batch.records.split_off(batch.control);
    for record in batch.records.into_iter().rev() {
        pending.control.push_front(record);
    }
    let mut records = calls.into_iter();
    let mut restored = Vec::with_capacity(batch.finished.len());
    for (mut work, count) in batch.finished {
        work.records = records.by_ref().take(count).collect();
        pending.bytes += work.bytes();
        restored.push(work);
    }
    let rest: Vec<Record> = records.collect();
    if let Some(partial) = pending.works.front_mut() {
        for record in rest.into_iter().rev() {
            pending.bytes += record.frame_bytes();
            partial.records.push_front(record);
        }
    }
    for work in restored.into_iter().rev() {
        pending.works.push_front(work);
    }
}
