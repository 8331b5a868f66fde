//! A log store in memory whose syncs a test can hold back, and that can crash. Fault model: what was not synced is lost
//! as a whole; nothing is torn and nothing is damaged.

use bytes::Bytes;
use chronik_core::log_store::{
    Checkpoint, GroupLog, HardState, LogState, LogWriter, Purge, Read, SegmentInfo, SegmentPolicy,
    StoreHealth, TimeQuery, check_follows,
};
use chronik_core::ticket::TicketSender;
use chronik_core::{
    Entry, EntryKind, EntryMeta, GroupId, LogError, LogId, LogIndex, LogReader, LogStore, Offset, Term,
    Ticket, Watch,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    /// The first entry of each segment but the oldest.
    cuts: Vec<LogIndex>,
    policy_bytes: u64,
    purged: LogId,
    start: Offset,
    durable: LogIndex,
    hard_state: HardState,
    checkpoints: Vec<Checkpoint>,
    waiting: Vec<(LogIndex, TicketSender)>,
    held: bool,
    cold: bool,
    fails: Option<LogError>,
}

impl Log {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    fn end(&self) -> Offset {
        self.entries.last().map_or(self.start, Entry::end_offset)
    }

    fn active_bytes(&self) -> u64 {
        let first = self.cuts.last().copied().unwrap_or_default();
        self.entries
            .iter()
            .filter(|entry| entry.id.index >= first)
            .map(|entry| entry.payload.len() as u64)
            .sum()
    }

    fn ticket(&mut self) -> Ticket {
        let (sender, ticket) = Ticket::pair();
        self.waiting.push((self.last().index, sender));
        if !self.held {
            self.sync();
        }
        ticket
    }

    fn sync(&mut self) {
        self.durable = self.last().index;
        for (_, sender) in std::mem::take(&mut self.waiting) {
            sender.resolve(self.fails.clone().map_or(Ok(()), Err));
        }
    }

    fn segment_of(&self, index: LogIndex) -> usize {
        self.cuts.iter().filter(|cut| **cut <= index).count()
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let mut all: Vec<SegmentInfo> = Vec::new();
        let mut current = usize::MAX;
        for entry in &self.entries {
            if current != self.segment_of(entry.id.index) {
                current = self.segment_of(entry.id.index);
                let offsets = entry.base_offset..entry.base_offset;
                let sealed = current < self.cuts.len();
                let (id, max) = (entry.id, -1);
                all.push(SegmentInfo {
                    first: id,
                    last: id,
                    offsets,
                    max_timestamp_ms: max,
                    size_bytes: 0,
                    sealed,
                });
            }
            let segment = all.last_mut().expect("pushed above");
            segment.last = entry.id;
            segment.offsets.end = entry.end_offset();
            segment.max_timestamp_ms = segment.max_timestamp_ms.max(entry.max_timestamp_ms);
            segment.size_bytes += entry.payload.len() as u64;
        }
        all
    }
}

/// The groups of one directory. Clones share it; a reopened one is the same directory after a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryStore {
    groups: Arc<Mutex<BTreeMap<GroupId, Arc<Mutex<Log>>>>>,
}

#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Log>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().expect("no test panics while it holds a log")
    }
}

impl MemoryStore {
    fn log(&self, group: GroupId) -> Shared {
        Shared(Arc::clone(
            self.groups.lock().expect("as above").entry(group).or_default(),
        ))
    }

    /// From now on tickets wait for [`MemoryStore::sync`].
    pub(super) fn hold(&self, group: GroupId) {
        self.log(group).lock().held = true;
    }

    /// Resolves all tickets, and further ones at once.
    pub(super) fn sync(&self, group: GroupId) {
        let log = self.log(group);
        let mut log = log.lock();
        log.held = false;
        log.sync();
    }

    /// From now on tickets resolve with this error.
    pub(super) fn fail(&self, group: GroupId, error: LogError) {
        self.log(group).lock().fails = Some(error);
    }

    /// From now on reads are pending before they are answered.
    pub(super) fn make_cold(&self, group: GroupId) {
        self.log(group).lock().cold = true;
    }

    /// What is left after a crash, as a directory of its own: the old one goes on for those who still hold it.
    pub(super) fn crashed(&self) -> Self {
        let survivor = Self::default();
        for (id, log) in self.groups.lock().expect("as above").iter() {
            let log = log.lock().expect("as above");
            let entries = log
                .entries
                .iter()
                .filter(|entry| entry.id.index <= log.durable)
                .cloned()
                .collect();
            let kept = Log {
                entries,
                cuts: log.cuts.clone(),
                policy_bytes: log.policy_bytes,
                purged: log.purged,
                start: log.start,
                durable: log.durable,
                hard_state: log.hard_state,
                checkpoints: log.checkpoints.clone(),
                ..Log::default()
            };
            survivor
                .groups
                .lock()
                .expect("as above")
                .insert(*id, Arc::new(Mutex::new(kept)));
        }
        survivor
    }

    /// All entries that are in a group's log.
    pub(super) fn entries(&self, group: GroupId) -> Vec<Entry> {
        self.log(group).lock().entries.clone()
    }

    /// The checkpoints of a group.
    pub(super) fn checkpoints(&self, group: GroupId) -> Vec<Checkpoint> {
        self.log(group).lock().checkpoints.clone()
    }

    /// Forgets the checkpoints of a group above an index, so that an open replays from there.
    pub(super) fn forget_checkpoints_above(&self, group: GroupId, index: LogIndex) {
        self.log(group)
            .lock()
            .checkpoints
            .retain(|checkpoint| checkpoint.at.index <= index);
    }
}

impl LogStore for MemoryStore {
    fn open_group(&self, group: GroupId, policy: SegmentPolicy) -> Result<GroupLog, LogError> {
        let log = self.log(group);
        log.lock().policy_bytes = policy.segment_bytes;
        Ok(GroupLog {
            writer: Box::new(log.clone()),
            reader: Arc::new(log),
        })
    }

    fn remove_group(&self, group: GroupId) -> Result<Ticket, LogError> {
        self.groups.lock().expect("as above").remove(&group);
        Ok(Ticket::resolved(Ok(())))
    }

    fn groups(&self) -> Vec<GroupId> {
        self.groups.lock().expect("as above").keys().copied().collect()
    }

    fn health(&self) -> Watch<StoreHealth> {
        Watch::new(StoreHealth::Working)
    }

    fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}

impl LogWriter for Shared {
    fn append(&mut self, entries: &[Entry]) -> Result<Ticket, LogError> {
        let mut log = self.lock();
        for entry in entries {
            check_follows(log.last(), log.end(), entry)?;
            if log.active_bytes() >= log.policy_bytes {
                log.cuts.push(entry.id.index);
            }
            log.entries.push(entry.clone());
        }
        Ok(log.ticket())
    }

    fn truncate_from(&mut self, from: LogIndex) -> Result<Ticket, LogError> {
        let mut log = self.lock();
        log.entries.retain(|entry| entry.id.index < from);
        Ok(log.ticket())
    }

    fn purge(&mut self, purge: Purge) -> Result<Ticket, LogError> {
        let mut log = self.lock();
        assert!(
            purge.through.index >= log.purged.index && purge.offset_start >= log.start,
            "a purge never goes back"
        );
        let droppable = |segment: &&SegmentInfo| {
            segment.last.index <= purge.through.index && segment.offsets.end <= purge.offset_start
        };
        let end = log.end();
        let dropped = log
            .segments()
            .iter()
            .take_while(droppable)
            .map(|segment| segment.last.index)
            .max();
        log.entries
            .retain(|entry| dropped.is_none_or(|last| entry.id.index > last));
        log.start = if log.entries.is_empty() {
            end
        } else {
            purge.offset_start
        };
        log.purged = purge.through;
        Ok(log.ticket())
    }

    fn save_hard_state(&mut self, state: HardState) -> Result<Ticket, LogError> {
        let mut log = self.lock();
        log.hard_state = state;
        Ok(log.ticket())
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<Ticket, LogError> {
        let mut log = self.lock();
        log.checkpoints.push(checkpoint);
        Ok(log.ticket())
    }

    fn commit_hint(&mut self, _: LogIndex) {}

    fn roll(&mut self, policy: SegmentPolicy, now: bool) -> Result<(), LogError> {
        let mut log = self.lock();
        log.policy_bytes = policy.segment_bytes;
        let next = log.last().index.next();
        if now && !log.entries.is_empty() && log.cuts.last() != Some(&next) {
            log.cuts.push(next);
        }
        Ok(())
    }

    fn reserve(&mut self, _: u64) -> Result<(), LogError> {
        Ok(())
    }
}

impl LogReader for Shared {
    fn state(&self) -> LogState {
        let log = self.lock();
        LogState {
            purged: log.purged,
            last: log.last(),
            durable: log.durable,
            offset_start: log.start,
            offset_end: log.end(),
            hard_state: log.hard_state,
            commit_hint: LogIndex(0),
            size_bytes: log.entries.iter().map(|entry| entry.payload.len() as u64).sum(),
        }
    }

    fn term_at(&self, index: LogIndex) -> Result<Term, LogError> {
        let log = self.lock();
        let found = log.entries.iter().find(|entry| entry.id.index == index);
        found.map(|entry| entry.id.term).ok_or(LogError::Truncated)
    }

    fn entries(&self, range: Range<LogIndex>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        let log = self.lock();
        if range.start <= log.purged.index {
            return Err(LogError::Compacted {
                first: log.purged.index.next(),
            });
        }
        Ok(log.answer(bounded(
            log.entries.iter().filter(|entry| range.contains(&entry.id.index)),
            max_bytes,
        )))
    }

    fn read_offsets(&self, offsets: Range<Offset>, max_bytes: u64) -> Result<Read<Vec<Entry>>, LogError> {
        let log = self.lock();
        if offsets.start < log.start {
            return Err(LogError::Compacted {
                first: log.purged.index.next(),
            });
        }
        let data = log.entries.iter().filter(|entry| {
            entry.kind == EntryKind::Data
                && entry.end_offset() > offsets.start
                && entry.base_offset < offsets.end
        });
        Ok(log.answer(bounded(data, max_bytes)))
    }

    fn find_time(&self, query: TimeQuery, before: Offset) -> Result<Read<Option<EntryMeta>>, LogError> {
        let log = self.lock();
        let mut data = log.entries.iter().filter(|entry| {
            entry.kind == EntryKind::Data && entry.base_offset < before && entry.end_offset() > log.start
        });
        let found = match query {
            TimeQuery::AtOrAfter(time) => data.find(|entry| entry.max_timestamp_ms >= time),
            TimeQuery::Maximum => data.rev().max_by_key(|entry| entry.max_timestamp_ms),
        };
        Ok(Read::Ready(found.map(Entry::meta)))
    }

    fn end_of_term(&self, term: Term) -> Option<(Term, Offset)> {
        let log = self.lock();
        let last = log
            .entries
            .iter()
            .rev()
            .find(|entry| entry.kind == EntryKind::Data && entry.id.term <= term)?;
        Some((last.id.term, last.end_offset()))
    }

    fn checkpoint(&self, index: LogIndex) -> Result<Option<Checkpoint>, LogError> {
        let log = self.lock();
        Ok(log
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.at.index <= index)
            .max_by_key(|c| c.at)
            .cloned())
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        self.lock().segments()
    }
}

impl Log {
    fn answer(&self, entries: Vec<Entry>) -> Read<Vec<Entry>> {
        if !self.cold {
            return Read::Ready(entries);
        }
        Read::Pending(Box::pin(async move {
            futures_lite::future::yield_now().await;
            Ok(entries)
        }))
    }
}

/// A run from the start: at least one entry, and no more than `max_bytes` of payload beyond it.
fn bounded<'a>(entries: impl Iterator<Item = &'a Entry>, max_bytes: u64) -> Vec<Entry> {
    let mut left = max_bytes;
    let mut run: Vec<Entry> = Vec::new();
    for entry in entries {
        let bytes = entry.payload.len() as u64;
        if !run.is_empty() && bytes > left {
            break;
        }
        left = left.saturating_sub(bytes);
        run.push(Entry {
            payload: Bytes::clone(&entry.payload),
            ..entry.clone()
        });
    }
    run
}
