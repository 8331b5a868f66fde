//! An honest store: what the crate's documentation asks for, in memory.

use super::config;
use anyhow::Result;
use async_raft::raft::{Entry, EntryPayload, MembershipConfig};
use async_raft::storage::{CurrentSnapshotData, HardState, InitialState};
use async_raft::{AppData, AppDataResponse, RaftStorage};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Cursor, Error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What is replicated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Value(pub(super) u64);

impl AppData for Value {}

/// What the state machine answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done;

impl AppDataResponse for Done {}

/// A stored snapshot, at an index and a term.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: (u64, u64),
    pub(super) data: Vec<u8>,
}

/// What outlives an instance of the crate.
pub(super) struct Content {
    pub(super) entries: BTreeMap<u64, Entry<Value>>,
    pub(super) hard: HardState,
    /// Every term that was stored.
    pub(super) terms: Vec<u64>,
    /// Every entry that the crate applied, in the order of its calls.
    pub(super) applied: Vec<u64>,
    /// What was applied before the start.
    pub(super) applied_before: u64,
    pub(super) snapshot: Option<Snapshot>,
    /// How often the crate asked for the snapshot, and for a new one.
    pub(super) snapshots_asked: u64,
    pub(super) compactions: u64,
}

pub(super) struct Disk {
    content: Mutex<Content>,
    /// An instance of the crate ended in a panic.
    pub(super) panicked: AtomicBool,
}

impl Disk {
    pub(super) fn new(entries: Vec<Entry<Value>>) -> Arc<Self> {
        let hard = HardState {
            current_term: 1,
            voted_for: None,
        };
        let content = Content {
            entries: entries.into_iter().map(|entry| (entry.index, entry)).collect(),
            hard,
            terms: Vec::new(),
            applied: Vec::new(),
            applied_before: 1,
            snapshot: None,
            snapshots_asked: 0,
            compactions: 0,
        };
        Arc::new(Self {
            content: Mutex::new(content),
            panicked: AtomicBool::new(false),
        })
    }

    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    pub(super) fn last(&self) -> u64 {
        self.content().entries.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether the entry there is one of a membership.
    pub(super) fn membership_at(&self, index: u64) -> bool {
        let content = self.content();
        let found = content.entries.get(&index);
        found.is_some_and(|entry| matches!(entry.payload, EntryPayload::ConfigChange(_)))
    }
}

/// The crate's view of a disk.
pub(super) struct Store {
    pub(super) id: u64,
    pub(super) disk: Arc<Disk>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.disk.panicked.store(true, Ordering::SeqCst);
        }
    }
}

impl Store {
    fn membership(&self) -> MembershipConfig {
        let content = self.disk.content();
        let newest = content
            .entries
            .values()
            .rev()
            .find_map(|entry| match &entry.payload {
                EntryPayload::ConfigChange(change) => Some(change.membership.clone()),
                EntryPayload::SnapshotPointer(pointer) => Some(pointer.membership.clone()),
                EntryPayload::Blank | EntryPayload::Normal(_) => None,
            });
        newest.unwrap_or_else(|| config([self.id]))
    }
}

#[async_trait]
impl RaftStorage<Value, Done> for Store {
    type Snapshot = Cursor<Vec<u8>>;
    type ShutdownError = Error;

    async fn get_membership_config(&self) -> Result<MembershipConfig> {
        Ok(self.membership())
    }

    async fn get_initial_state(&self) -> Result<InitialState> {
        let membership = self.membership();
        let content = self.disk.content();
        let last = content.entries.values().next_back();
        Ok(InitialState {
            last_log_index: last.map_or(0, |entry| entry.index),
            last_log_term: last.map_or(0, |entry| entry.term),
            last_applied_log: content.applied_before,
            hard_state: content.hard.clone(),
            membership,
        })
    }

    async fn save_hard_state(&self, hard: &HardState) -> Result<()> {
        let mut content = self.disk.content();
        content.hard = hard.clone();
        content.terms.push(hard.current_term);
        Ok(())
    }

    async fn get_log_entries(&self, start: u64, stop: u64) -> Result<Vec<Entry<Value>>> {
        let content = self.disk.content();
        let wanted = (start..stop).filter_map(|index| content.entries.get(&index).cloned());
        Ok(wanted.collect())
    }

    async fn delete_logs_from(&self, start: u64, stop: Option<u64>) -> Result<()> {
        let mut content = self.disk.content();
        content
            .entries
            .retain(|index, _| *index < start || stop.is_some_and(|stop| *index >= stop));
        Ok(())
    }

    async fn append_entry_to_log(&self, entry: &Entry<Value>) -> Result<()> {
        self.disk.content().entries.insert(entry.index, entry.clone());
        Ok(())
    }

    async fn replicate_to_log(&self, entries: &[Entry<Value>]) -> Result<()> {
        let entries = entries.iter().map(|entry| (entry.index, entry.clone()));
        self.disk.content().entries.extend(entries);
        Ok(())
    }

    async fn apply_entry_to_state_machine(&self, index: &u64, _: &Value) -> Result<Done> {
        self.disk.content().applied.push(*index);
        Ok(Done)
    }

    async fn replicate_to_state_machine(&self, entries: &[(&u64, &Value)]) -> Result<()> {
        let indexes = entries.iter().map(|(index, _)| **index);
        self.disk.content().applied.extend(indexes);
        Ok(())
    }

    async fn do_log_compaction(&self) -> Result<CurrentSnapshotData<Self::Snapshot>> {
        self.disk.content().compactions += 1;
        std::future::pending().await
    }

    async fn create_snapshot(&self) -> Result<(String, Box<Self::Snapshot>)> {
        Ok(("s".into(), Box::default()))
    }

    async fn finalize_snapshot_installation(
        &self,
        index: u64,
        term: u64,
        delete_through: Option<u64>,
        id: String,
        snapshot: Box<Self::Snapshot>,
    ) -> Result<()> {
        let membership = self.membership();
        let mut content = self.disk.content();
        let through = delete_through.unwrap_or(u64::MAX);
        content.entries.retain(|held, _| *held > through);
        let pointer = Entry::new_snapshot_pointer(index, term, id, membership);
        content.entries.insert(index, pointer);
        content.snapshot = Some(Snapshot {
            at: (index, term),
            data: snapshot.into_inner(),
        });
        Ok(())
    }

    async fn get_current_snapshot(&self) -> Result<Option<CurrentSnapshotData<Self::Snapshot>>> {
        let membership = self.membership();
        let mut content = self.disk.content();
        content.snapshots_asked += 1;
        let stored = content.snapshot.clone();
        Ok(stored.map(|stored| CurrentSnapshotData {
            index: stored.at.0,
            term: stored.at.1,
            membership,
            snapshot: Box::new(Cursor::new(stored.data)),
        }))
    }
}
