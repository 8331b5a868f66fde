//! The store: what belongs to the whole directory.

use crate::background::{Background, Requests};
use crate::frame::{FrameType, Record};
use crate::group::Group;
use crate::group::state::GroupState;
use crate::journal::group_image::create_record;
use crate::journal::writer::JournalWriter;
use crate::options::StoreOptions;
use crate::queue::{Effect, Pending, Work};
use crate::reader::GroupReader;
use crate::recover;
use crate::ring::Ring;
use crate::segment::handles::Handles;
use crate::sync::locked;
use crate::writer::GroupWriter;
use bytes::Bytes;
use chronik_core::fs::{DirLock, FileSystem, FsError};
use chronik_core::log_store::{GroupLog, LogStore, SegmentPolicy, StoreHealth};
use chronik_core::{Env, GroupId, LogError, Ticket, Watch};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The file by which a store holds its directory.
pub(crate) const LOCK: &str = "LOCK";

/// Everything that the parts of a store share.
///
/// # Locks
/// `journal` and a group's `writer` are held across disk calls, by the journal lane and the background lane; the
/// others for moments. They are taken in this order: `journal`, `background`, a group's `writer`, `groups`, a
/// group's `state`, an open segment's `index`, `requests`, `pending`, `ring`. An append takes `state`, `pending` and
/// `ring` alone, so it never waits for the disk.
pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) env: Env,
    pub(crate) journal: Mutex<JournalWriter>,
    pub(crate) background: Mutex<Background>,
    pub(crate) requests: Mutex<Requests>,
    pub(crate) groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    pub(crate) pending: Mutex<Pending>,
    pub(crate) ring: Mutex<Ring>,
    pub(crate) handles: Handles,
    pub(crate) health: Watch<StoreHealth>,
    /// Bytes of durable entries that are not in segments yet.
    pub(crate) uncopied_bytes: AtomicU64,
    /// Bytes free on the file system when somebody looked last.
    pub(crate) free_bytes: AtomicU64,
    /// The largest call that was refused since the disk is full.
    pub(crate) refused_bytes: AtomicU64,
    /// Bytes of frames that fit into the journal files that are there.
    pub(crate) journal_room: AtomicU64,
    pub(crate) lock: Mutex<Option<Box<dyn DirLock>>>,
    pub(crate) closed: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("dir", &self.options.dir)
            .finish_non_exhaustive()
    }
}

/// A store of logs in one directory: many groups, one journal, segments that are mapped once they are sealed.
///
/// Disk work runs as jobs of the environment's disk queue; opening and closing run on the caller's thread.
#[derive(Clone, Debug)]
pub struct MmapStore {
    inner: Arc<Inner>,
}

impl MmapStore {
    /// Opens the data directory, creating it where there is none, and recovers what it holds.
    ///
    /// # Errors
    /// [`LogError::Locked`] where another store holds it, [`LogError::Damaged`] where the journal is damaged,
    /// [`LogError::UnsupportedFormat`], [`LogError::Full`], [`LogError::Io`].
    pub fn open(options: StoreOptions, fs: Arc<dyn FileSystem>, env: Env) -> Result<Self, LogError> {
        options.validate()?;
        let inner = recover::open(options, fs, env)?;
        Ok(Self { inner })
    }
}

impl LogStore for MmapStore {
    fn open_group(&self, group: GroupId, policy: SegmentPolicy) -> Result<GroupLog, LogError> {
        let inner = &self.inner;
        inner.check_open()?;
        let found = {
            let mut groups = locked(&inner.groups);
            match groups.get(&group) {
                Some(found) => Arc::clone(found),
                None => {
                    let created = Arc::new(Group::new(group, GroupState::created(policy), None));
                    groups.insert(group, Arc::clone(&created));
                    inner.push(Work {
                        group: Arc::clone(&created),
                        records: VecDeque::from([create_record(group, policy.segment_bytes)]),
                        effect: Effect::None,
                        ticket: None,
                    });
                    created
                }
            }
        };
        if let Some(error) = &found.damaged {
            return Err(error.clone());
        }
        {
            let mut state = locked(&found.state);
            if state.removed {
                return Err(LogError::NoGroup(group));
            }
            if state.open {
                return Err(LogError::GroupBusy(group));
            }
            state.open = true;
        }
        let writer = GroupWriter::new(Arc::clone(inner), Arc::clone(&found));
        writer.set_policy(policy);
        Ok(GroupLog {
            writer: Box::new(writer),
            reader: Arc::new(GroupReader::new(Arc::clone(inner), found)),
        })
    }

    fn remove_group(&self, group: GroupId) -> Result<Ticket, LogError> {
        self.inner.check_open()?;
        self.inner.remove_group(group)
    }

    fn groups(&self) -> Vec<GroupId> {
        locked(&self.inner.groups).keys().copied().collect()
    }

    fn health(&self) -> Watch<StoreHealth> {
        self.inner.health.clone()
    }

    fn close(&self) -> Result<(), LogError> {
        self.inner.close()
    }
}

impl Inner {
    /// Whether calls are still answered.
    pub(crate) fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        self.check_health()
    }

    /// Whether reads are still answered: they are from a poisoned store, what was acknowledged is there.
    pub(crate) fn check_readable(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        Ok(())
    }

    /// Whether the store still promises anything.
    pub(crate) fn check_health(&self) -> Result<(), LogError> {
        self.health.with(|health| match health {
            StoreHealth::Poisoned(cause) => Err(LogError::Poisoned(Arc::clone(cause))),
            StoreHealth::Working | StoreHealth::Full => Ok(()),
        })
    }

    /// Notes that a write or sync failed: nothing is acknowledged from now on.
    pub(crate) fn poison(&self, what: &str, error: &FsError) -> LogError {
        self.poison_with(format!("{what}: {error}"))
    }

    pub(crate) fn poison_with(&self, cause: String) -> LogError {
        let cause: Arc<str> = cause.into();
        let mut first = false;
        self.health.update(|health| {
            first = !matches!(health, StoreHealth::Poisoned(_));
            if first {
                *health = StoreHealth::Poisoned(Arc::clone(&cause));
            }
            first
        });
        if first {
            log::error!("store_poisoned dir={} cause={cause}", self.options.dir.display());
        }
        match self.check_health() {
            Err(error) => error,
            Ok(()) => LogError::Poisoned(cause),
        }
    }

    fn remove_group(self: &Arc<Self>, group: GroupId) -> Result<Ticket, LogError> {
        let mut groups = locked(&self.groups);
        let Some(found) = groups.get(&group).cloned() else {
            return Err(LogError::NoGroup(group));
        };
        let (sender, ticket) = Ticket::pair();
        {
            let mut state = locked(&found.state);
            if state.open {
                return Err(LogError::GroupBusy(group));
            }
            state.removed = true;
            state.rewrites += 1;
            let gone = state.segs.drain(..).collect();
            state.tail.clear();
            self.uncopied_bytes
                .fetch_sub(std::mem::take(&mut state.uncopied_bytes), Ordering::Relaxed);
            self.push(Work {
                group: Arc::clone(&found),
                records: VecDeque::from([Record::new(FrameType::Remove, group, Bytes::new())]),
                effect: Effect::Removed { gone },
                ticket: Some(sender),
            });
        }
        groups.remove(&group);
        Ok(ticket)
    }

    fn close(self: &Arc<Self>) -> Result<(), LogError> {
        {
            let mut pending = locked(&self.pending);
            if pending.closed {
                return Ok(());
            }
            pending.closed = true;
        }
        self.closed.store(true, Ordering::Release);
        // Waits for the step that the background lane is in; its later steps see that the store is closed. What it
        // has to say goes into the journal: the next opening must know which files are complete.
        drop(locked(&self.background));
        let result = self.flush_all_and_close();
        // Whoever still waits is told that the outcome is unknown, and writes nothing any more.
        let left = std::mem::take(&mut locked(&self.pending).works);
        drop(left);
        *locked(&self.lock) = None;
        result
    }
}
