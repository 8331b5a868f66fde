//! A bucket in memory, for tests and for trying things out.

use super::{
    Answer, Bucket, Condition, Object, ObjectMeta, Page, Part, StoreError, StoreErrorKind, Version, Want,
    cut, inside,
};
use bytes::Bytes;
use chronik_core::env::Clock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects of one page of a list.
const PAGE: usize = 1000;

#[derive(Clone, Debug)]
struct Stored {
    data: Bytes,
    version: u64,
    modified_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<u64, BTreeMap<u32, Bytes>>,
    next: u64,
}

/// A bucket in memory. Clones share it; nothing survives the process.
#[derive(Clone, Debug)]
pub struct MemoryBucket {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl MemoryBucket {
    /// An empty bucket; objects carry the times of `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_now(&self, key: &str, data: Bytes, condition: &Condition) -> Result<Version, StoreError> {
        let mut state = self.lock();
        let current = state.objects.get(key).map(|stored| version(stored.version));
        let allowed = match condition {
            Condition::Always => true,
            Condition::Absent => current.is_none(),
            Condition::Unchanged(version) => current.as_ref() == Some(version),
        };
        if !allowed {
            return Err(StoreError::new(
                StoreErrorKind::Conflict,
                format!("put {key}: the condition does not hold"),
            ));
        }
        state.next += 1;
        let stored = Stored {
            data,
            version: state.next,
            modified_ms: self.clock.wall_ms(),
        };
        let version = version(stored.version);
        state.objects.insert(key.to_owned(), stored);
        Ok(version)
    }

    fn part_now(&self, key: &str, part: Part) -> Result<Arc<str>, StoreError> {
        let gone = || {
            StoreError::new(
                StoreErrorKind::NotFound,
                format!("upload of {key}: there is none"),
            )
        };
        let number = |upload: &str| upload.parse::<u64>().map_err(|_| gone());
        match part {
            Part::Begin => {
                let mut state = self.lock();
                state.next += 1;
                let id = state.next;
                state.uploads.insert(id, BTreeMap::new());
                Ok(id.to_string().into())
            }
            Part::Store {
                upload,
                number: at,
                body,
                ..
            } => {
                let mut state = self.lock();
                let parts = state.uploads.get_mut(&number(&upload)?).ok_or_else(gone)?;
                parts.insert(at, body.concat().into());
                Ok(at.to_string().into())
            }
            Part::Complete { upload, tags } => {
                let parts = self.lock().uploads.remove(&number(&upload)?).ok_or_else(gone)?;
                let named: Option<Vec<Bytes>> = tags
                    .iter()
                    .map(|tag| parts.get(&tag.parse().ok()?).cloned())
                    .collect();
                let whole = named.ok_or_else(gone)?.concat();
                self.put_now(key, whole.into(), &Condition::Always)?;
                Ok("".into())
            }
            Part::Abort { upload } => {
                self.lock().uploads.remove(&number(&upload)?);
                Ok("".into())
            }
        }
    }

    /// The uploads in parts that were begun and neither completed nor dropped.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.lock().uploads.len()
    }
}

fn version(number: u64) -> Version {
    Version(number.to_string().into())
}

impl Bucket for MemoryBucket {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move { this.put_now(&key, body.concat().into(), &condition) })
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let stored = this.lock().objects.get(&key).cloned();
            let stored = stored
                .ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, format!("get {key}: not found")))?;
            Ok(Object {
                data: cut(&key, &stored.data, &want)?,
                version: version(stored.version),
                meta: meta(&key, &stored),
            })
        })
    }

    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page> {
        let (this, prefix, after) = (self.clone(), inside(folder), after.map(str::to_owned));
        Box::pin(async move {
            let state = this.lock();
            let start = match &after {
                Some(after) if after.as_str() >= prefix.as_str() => Bound::Excluded(after.clone()),
                _ => Bound::Included(prefix.clone()),
            };
            let mut found = state
                .objects
                .range((start, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(&prefix));
            let objects = found
                .by_ref()
                .take(PAGE)
                .map(|(key, stored)| meta(key, stored))
                .collect();
            let more = found.next().is_some();
            Ok(Page { objects, more })
        })
    }

    fn delete(&self, key: &str) -> Answer<()> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            this.lock().objects.remove(&key);
            Ok(())
        })
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move { this.part_now(&key, part) })
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}

fn meta(key: &str, stored: &Stored) -> ObjectMeta {
    ObjectMeta {
        key: key.into(),
        size_bytes: stored.data.len() as u64,
        modified_ms: stored.modified_ms,
    }
}
