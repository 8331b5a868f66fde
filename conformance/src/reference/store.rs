//! The store: groups in memory, one journal for all of them.

use super::Mutant;
use super::journal::{self, Journal};
use super::reader::MemReader;
use super::record::{Change, Record};
use super::writer::MemWriter;
use crate::model::GroupModel;
use crate::world::locked;
use chronik_core::env::{DiskLane, Env};
use chronik_core::error::Damage;
use chronik_core::fs::{DirLock, FileSystem, FsError, OpenMode};
use chronik_core::log_store::{SegmentPolicy, StoreHealth};
use chronik_core::ticket::TicketSender;
use chronik_core::{GroupId, GroupLog, LogError, LogIndex, LogStore, Ticket, Watch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a [`MemStore`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct MemOptions {
    /// The largest payload of an entry or a checkpoint.
    pub max_payload_bytes: u64,
    /// Reads are answered later, by jobs of the read lane, as by a store whose data is cold.
    pub pending_reads: bool,
    /// The guarantee to break.
    pub mutant: Option<Mutant>,
}

impl Default for MemOptions {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1 << 20,
            pending_reads: false,
            mutant: None,
        }
    }
}

/// The reference log store.
#[derive(Debug)]
pub struct MemStore {
    shared: Arc<Shared>,
}

/// A group's model, shared by its writer and its readers.
pub(super) type SharedModel = Arc<Mutex<GroupModel>>;

#[derive(Debug)]
struct Slot {
    model: SharedModel,
    is_open: Arc<AtomicBool>,
}

/// A write that waits for the next sync.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: TicketSender,
    /// What is durable in the group then.
    pub(super) reached: Option<(SharedModel, LogIndex, u64)>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) journal: Journal,
    groups: BTreeMap<GroupId, Slot>,
    /// Frames that the next flush writes at the journal's end.
    pub(super) buffer: Vec<u8>,
    /// Records that a mutant writes late.
    pub(super) late: Vec<Record>,
    pub(super) pending: Vec<Pending>,
    is_scheduled: bool,
    /// What every call answers from now on.
    pub(super) ended: Option<LogError>,
    lock: Option<Box<dyn DirLock>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) options: MemOptions,
    pub(super) inner: Mutex<Inner>,
    /// Held from taking the buffer to resolving its tickets, so that tickets resolve in order.
    flushing: Mutex<()>,
    health: Watch<StoreHealth>,
}

impl MemStore {
    /// Opens the store in `dir`, creating it where there is none.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::Damaged`], [`LogError::Io`].
    pub fn open(fs: &dyn FileSystem, dir: &Path, env: Env, options: MemOptions) -> Result<Self, LogError> {
        fs.create_dir_all(dir).map_err(LogError::Io)?;
        let lock = match fs.lock(&dir.join("LOCK")) {
            Ok(lock) => Some(lock),
            Err(_) if options.mutant == Some(Mutant::IgnoresLock) => None,
            Err(error) => return Err(LogError::Locked(error.to_string())),
        };
        let (mut journal, records) = Journal::recover(fs, dir, options.mutant)?;
        let groups = replay(records, options.mutant)?;
        if options.mutant == Some(Mutant::BelievesOldBytes) {
            let models: Vec<_> = groups
                .iter()
                .map(|(group, slot)| (*group, locked(&slot.model).clone()))
                .collect();
            super::recycle::use_file_again(&mut journal, fs, dir, &models).map_err(LogError::Io)?;
        }
        Ok(Self {
            shared: Arc::new(Shared {
                env,
                options,
                inner: Mutex::new(Inner {
                    journal,
                    groups,
                    buffer: Vec::new(),
                    late: Vec::new(),
                    pending: Vec::new(),
                    is_scheduled: false,
                    ended: None,
                    lock,
                }),
                flushing: Mutex::new(()),
                health: Watch::new(StoreHealth::Working),
            }),
        })
    }

    /// Reads the store in `dir` and names every damaged range, without changing anything.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn verify(fs: &dyn FileSystem, dir: &Path, mutant: Option<Mutant>) -> Result<Vec<Damage>, FsError> {
        let mut damage = journal::inspect(fs, dir, mutant)?.map_or_else(Vec::new, |scan| scan.damage);
        match mutant {
            Some(Mutant::VerifiesNothing) => damage.clear(),
            Some(Mutant::VerifyLeavesFile) => fs
                .open(&dir.join("verified"), OpenMode::CreateNew)?
                .write_at(&[b"verified"], 0)?,
            Some(Mutant::NamesAnotherPlace) => {
                damage
                    .iter_mut()
                    .for_each(|damage| damage.from_byte = damage.to_byte);
            }
            _ => {}
        }
        Ok(damage)
    }

    /// Makes a store that is not open one of another version of its format, which no program writes yet or any more.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn reformat(fs: &dyn FileSystem, dir: &Path, version: u8) -> Result<(), FsError> {
        journal::reformat(fs, dir, version)
    }

    /// Where the files are.
    #[must_use]
    pub fn journal_path(dir: &Path) -> PathBuf {
        dir.join("journal")
    }
}

fn slot(policy: SegmentPolicy) -> Slot {
    Slot {
        model: Arc::new(Mutex::new(GroupModel::new(policy))),
        is_open: Arc::default(),
    }
}

fn replay(records: Vec<Record>, mutant: Option<Mutant>) -> Result<BTreeMap<GroupId, Slot>, LogError> {
    let mut groups = BTreeMap::new();
    for Record { group, change } in records {
        match change {
            Change::Create(policy) => {
                groups.entry(group).or_insert_with(|| slot(policy));
            }
            Change::Remove => {
                groups.remove(&group);
            }
            Change::Close => {}
            change => {
                let known = groups.get(&group);
                let Some(Slot { model, .. }) = known else {
                    return Err(unfit(group, "a record of a group that does not exist"));
                };
                let mut model = locked(model);
                if let (Change::Append(entry), false) = (&change, mutant.is_some()) {
                    model
                        .check_append(std::slice::from_ref(entry), u64::MAX)
                        .map_err(|error| unfit(group, &error.to_string()))?;
                }
                change.apply(&mut model);
            }
        }
    }
    groups.values().for_each(|slot| locked(&slot.model).all_durable());
    Ok(groups)
}

fn unfit(group: GroupId, reason: &str) -> LogError {
    LogError::Damaged(Arc::new(Damage {
        file: "journal".to_owned(),
        from_byte: 0,
        to_byte: u64::MAX,
        group: Some(group),
        reason: reason.to_owned(),
    }))
}

impl Shared {
    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.options.mutant == Some(mutant)
    }

    /// Sees to it that a flush comes.
    pub(super) fn schedule(self: &Arc<Self>, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.is_scheduled, true) {
            let shared = Arc::clone(self);
            self.env
                .disk
                .submit(DiskLane::Journal, Box::new(move || shared.flush()));
            if self.has(Mutant::PollsForWork) {
                self.poll_for_work();
            }
        }
    }

    /// What only a mutant does.
    fn poll_for_work(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let ask = move || {
            let waits = locked(&shared.inner).is_scheduled;
            if waits {
                shared.poll_for_work();
            }
        };
        self.env.disk.submit(DiskLane::Background, Box::new(ask));
    }

    pub(super) fn set_health(&self, health: StoreHealth) {
        self.health.update(|now| {
            let changed = *now != health && !matches!(now, StoreHealth::Poisoned(_));
            if changed {
                *now = health;
            }
            changed
        });
    }

    /// Writes what is buffered, syncs it, and resolves its tickets.
    fn flush(self: &Arc<Self>) {
        let _one_at_a_time = locked(&self.flushing);
        let (bytes, at, pending, file, ended) = {
            let mut inner = locked(&self.inner);
            inner.is_scheduled = false;
            let Inner {
                journal,
                buffer,
                late,
                ..
            } = &mut *inner;
            for record in std::mem::take(late) {
                journal.encode(buffer, &record);
            }
            let (bytes, at) = (std::mem::take(buffer), journal.end);
            journal.end += bytes.len() as u64;
            let file = Arc::clone(&journal.file);
            (
                bytes,
                at,
                std::mem::take(&mut inner.pending),
                file,
                inner.ended.clone(),
            )
        };
        let result = match ended {
            Some(error @ LogError::Poisoned(_)) => Err(error),
            _ => self.write(&*file, &bytes, at),
        };
        if let Err(error) = &result {
            let mut inner = locked(&self.inner);
            inner.ended.get_or_insert_with(|| error.clone());
            self.set_health(StoreHealth::Poisoned(error.to_string().into()));
        }
        let told = self.who_is_told(pending);
        self.resolve(told, &result);
    }

    /// Whose tickets a sync resolves: all, unless a mutant leaves out those of the groups that did not write last.
    fn who_is_told(self: &Arc<Self>, pending: Vec<Pending>) -> Vec<Pending> {
        let group_of = |pending: &Pending| pending.reached.as_ref().map(|(model, ..)| Arc::as_ptr(model));
        let last = pending.last().and_then(group_of);
        if !self.has(Mutant::StarvesQuietGroups) {
            return pending;
        }
        let (told, others): (Vec<_>, Vec<_>) = pending.into_iter().partition(|one| group_of(one) == last);
        if !others.is_empty() {
            let mut inner = locked(&self.inner);
            inner.pending.splice(..0, others);
            self.schedule(&mut inner);
        }
        told
    }

    fn write(&self, file: &dyn chronik_core::File, bytes: &[u8], at: u64) -> Result<(), LogError> {
        let poisoned = |error: FsError| LogError::Poisoned(error.detail);
        if self.has(Mutant::WritesUnderMap) {
            // What a store does that hands out maps of the file it still writes to.
            let map = file.map(at.max(1)).ok();
            file.write_at(&[&[0]], at.saturating_sub(1)).map_err(poisoned)?;
            drop(map);
        }
        file.write_at(&[bytes], at).map_err(poisoned)?;
        let end = at + bytes.len() as u64;
        match file.sync_data() {
            _ if self.has(Mutant::AcksBeforeSync) => return Ok(()),
            Err(_) if self.has(Mutant::IgnoresSyncError) => {}
            Err(_) if self.has(Mutant::RetriesSync) => file.sync_data().map_err(poisoned)?,
            result => result.map_err(poisoned)?,
        }
        let mut inner = locked(&self.inner);
        inner.journal.synced = inner.journal.synced.max(end);
        Ok(())
    }

    fn resolve(&self, mut pending: Vec<Pending>, result: &Result<(), LogError>) {
        if self.has(Mutant::TicketsOutOfOrder) {
            pending.reverse();
        }
        for Pending { ticket, reached } in pending {
            if let (Ok(()), Some((model, index, generation))) = (result, reached) {
                locked(&model).became_durable(index, generation);
            }
            ticket.resolve(result.clone());
        }
    }
}

impl LogStore for MemStore {
    fn open_group(&self, group: GroupId, policy: SegmentPolicy) -> Result<GroupLog, LogError> {
        let mut inner = locked(&self.shared.inner);
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        let mut key = group;
        if self.shared.has(Mutant::GroupsClash) {
            key.0 &= 0xffff;
        }
        if !inner.groups.contains_key(&key) {
            let record = Record {
                group: key,
                change: Change::Create(policy),
            };
            let Inner { journal, buffer, .. } = &mut *inner;
            journal.reserve(buffer.len() as u64, Journal::frame_bytes(0), true)?;
            journal.encode(buffer, &record);
        }
        let slot = inner.groups.entry(key).or_insert_with(|| slot(policy));
        if slot.is_open.swap(true, Ordering::SeqCst) && !self.shared.has(Mutant::GroupsClash) {
            return Err(LogError::GroupBusy(group));
        }
        let model = Arc::clone(&slot.model);
        locked(&model).roll(policy, false);
        Ok(GroupLog {
            writer: Box::new(MemWriter {
                shared: Arc::clone(&self.shared),
                group: key,
                model: Arc::clone(&model),
                is_open: Arc::clone(&slot.is_open),
            }),
            reader: Arc::new(MemReader::new(
                Arc::clone(&self.shared),
                model,
                Arc::clone(&slot.is_open),
            )),
        })
    }

    fn remove_group(&self, group: GroupId) -> Result<Ticket, LogError> {
        let mut inner = locked(&self.shared.inner);
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        match inner.groups.get(&group) {
            None => return Err(LogError::NoGroup(group)),
            Some(slot)
                if slot.is_open.load(Ordering::SeqCst) && !self.shared.has(Mutant::RemovesOpenGroup) =>
            {
                return Err(LogError::GroupBusy(group));
            }
            Some(_) => inner.groups.remove(&group),
        };
        let record = Record {
            group,
            change: Change::Remove,
        };
        let Inner { journal, buffer, .. } = &mut *inner;
        // A removal gives space back: it may use what appends leave.
        journal.reserve(buffer.len() as u64, Journal::frame_bytes(0), false)?;
        journal.encode(buffer, &record);
        let (sender, ticket) = Ticket::pair();
        inner.pending.push(Pending {
            ticket: sender,
            reached: None,
        });
        self.shared.schedule(&mut inner);
        Ok(ticket)
    }

    fn groups(&self) -> Vec<GroupId> {
        locked(&self.shared.inner).groups.keys().copied().collect()
    }

    fn health(&self) -> Watch<StoreHealth> {
        self.shared.health.clone()
    }

    fn close(&self) -> Result<(), LogError> {
        {
            let mut inner = locked(&self.shared.inner);
            match &inner.ended {
                Some(LogError::Closed) => return Ok(()),
                Some(error) => {
                    let error = error.clone();
                    inner.lock = None;
                    return Err(error);
                }
                None => inner.ended = Some(LogError::Closed),
            }
        }
        if self.shared.has(Mutant::CloseWithoutSync) {
            let unwritten = {
                let mut inner = locked(&self.shared.inner);
                inner.lock = None;
                inner.buffer.clear();
                std::mem::take(&mut inner.pending)
            };
            drop(unwritten);
            return Ok(());
        }
        self.shared.flush();
        if self.shared.has(Mutant::LeavesFileOpen) {
            std::mem::forget(Arc::clone(&locked(&self.shared.inner).journal.file));
        }
        if self.shared.has(Mutant::RunsAfterClose) {
            let clock = Arc::clone(&self.shared.env.clock);
            let late = async move {
                loop {
                    clock.sleep(Duration::from_secs(600)).await;
                }
            };
            self.shared.env.spawn.spawn("mem-store-late", Box::pin(late));
        }
        {
            let mut inner = locked(&self.shared.inner);
            let Inner { journal, buffer, .. } = &mut *inner;
            // Without space for it, a clean end looks like a crash, which is safe.
            if journal.reserve(0, Journal::frame_bytes(0), false).is_ok() {
                journal.encode(buffer, &Journal::closing());
            }
        }
        self.shared.flush();
        locked(&self.shared.inner).lock = None;
        match self.shared.health.get() {
            StoreHealth::Poisoned(cause) => Err(LogError::Poisoned(cause)),
            _ => Ok(()),
        }
    }
}
