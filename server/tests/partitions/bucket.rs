//! The bucket of a run: it fails as stores do, and is looked at with every write.
//!
//! Fault model: a request is refused, or its answer is lost before or after it happened, or it happens long after its
//! caller gave up, also when the caller's process is gone. A put happens whole or not at all. Reads of segments may be of
//! wrong bytes, lists may be old. Nothing that a put was acknowledged for disappears.

use crate::oracle::Oracle;
use crate::plan::BucketFaults;
use bytes::Bytes;
use chronik_conformance::world::Prng;
use chronik_core::Env;
use chronik_storage_object::bucket::{
    Answer, Bucket, Condition, MemoryBucket, Object, Page, Part, Version, Want,
};
use chronik_storage_object::manifest::{Head, Manifest, head_key, read_manifest};
use chronik_storage_object::{PartitionKey, StoreError, StoreErrorKind};
use futures_lite::future::{block_on, poll_once};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) const PARTITION: PartitionKey = PartitionKey {
    topic_id: 7,
    partition: 0,
};

/// What was uploaded is in a manifest after this, whatever waits for its upload.
const UNPUBLISHED_MAX: Duration = Duration::from_secs(30);

/// A kill that waits for its moment.
#[derive(Clone, Copy, Debug)]
struct Ambush {
    requests: u64,
    after: bool,
}

struct State {
    prng: Prng,
    faults: BucketFaults,
    ambush: Option<Ambush>,
    /// The node that is to be killed now.
    victim: Option<u64>,
    lists: BTreeMap<String, Page>,
    head: Option<Head>,
    /// When the first segment came that no manifest followed.
    unpublished: Option<Duration>,
}

/// What all nodes' views of the bucket share.
struct Shared {
    inner: MemoryBucket,
    world: Env,
    oracle: Oracle,
    state: Mutex<State>,
}

/// The bucket as one node sees it.
#[derive(Clone)]
pub(crate) struct SimBucket {
    shared: Arc<Shared>,
    node: u64,
}

/// What becomes of a request.
enum Fate {
    Fine,
    Refused,
    LostBefore,
    LostAfter,
    Late(Duration),
}

fn failure(kind: StoreErrorKind, what: &str) -> StoreError {
    StoreError::new(kind, format!("{what}: injected"))
}

impl SimBucket {
    /// An empty bucket in the world of `env`.
    pub(crate) fn new(world: Env, prng: Prng, oracle: Oracle) -> Self {
        let shared = Shared {
            inner: MemoryBucket::new(Arc::clone(&world.clock)),
            world,
            oracle,
            state: Mutex::new(State {
                prng,
                faults: BucketFaults::default(),
                ambush: None,
                victim: None,
                lists: BTreeMap::new(),
                head: None,
                unpublished: None,
            }),
        };
        Self {
            shared: Arc::new(shared),
            node: 0,
        }
    }

    /// The same bucket as a node sees it.
    pub(crate) fn of(&self, node: u64) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared, node }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: BucketFaults) {
        self.lock().faults = faults;
    }

    /// Whoever makes the n-th request from now on is to be killed.
    pub(crate) fn ambush(&self, requests: u64, after: bool) {
        self.lock().ambush = Some(Ambush { requests, after });
    }

    pub(crate) fn forget_ambush(&self) {
        let mut state = self.lock();
        (state.ambush, state.victim) = (None, None);
    }

    /// The node whose moment has come.
    pub(crate) fn take_victim(&self) -> Option<u64> {
        self.lock().victim.take()
    }

    /// The manifest as it stands, with the segments that it names.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>, String> {
        let manifest = block_on(poll_once(read_manifest(&self.shared.inner, PARTITION)));
        let manifest = manifest.expect("a bucket in memory answers at once");
        manifest.map_err(|error| error.to_string())
    }

    fn fate(&self) -> (Duration, Fate) {
        let mut state = self.lock();
        let faults = state.faults;
        let prng = &mut state.prng;
        let takes = Duration::from_micros(prng.between(200, 8_000) * (1 + faults.slower));
        let fate = if prng.chance(faults.refused) {
            Fate::Refused
        } else if prng.chance(faults.lost_before) {
            Fate::LostBefore
        } else if prng.chance(faults.lost_after) {
            Fate::LostAfter
        } else if prng.chance(faults.late) {
            Fate::Late(Duration::from_millis(prng.between(100, 4_000)))
        } else {
            Fate::Fine
        };
        (takes, fate)
    }

    /// Counts down to the kill; true where its moment is `after` this request or before it.
    fn meets_ambush(&self, after: bool) {
        let mut state = self.lock();
        let Some(ambush) = state.ambush.as_mut().filter(|ambush| ambush.after == after) else {
            return;
        };
        match ambush.requests.checked_sub(1) {
            Some(left) => ambush.requests = left,
            None => (state.ambush, state.victim) = (None, Some(self.node)),
        }
    }

    /// Makes a request, which happens in the world: the caller's end does not undo it.
    fn request<T: Send + 'static>(
        &self,
        what: &'static str,
        request: Answer<T>,
        look: impl FnOnce(&Self) + Send + 'static,
    ) -> Answer<T> {
        let this = self.clone();
        Box::pin(async move {
            let (takes, fate) = this.fate();
            this.meets_ambush(false);
            let (sender, receiver) = async_channel::bounded(1);
            let clock = Arc::clone(&this.shared.world.clock);
            let world = Arc::clone(&this.shared.world.spawn);
            let there = async move {
                clock.sleep(takes).await;
                let answer = match fate {
                    Fate::Refused => Err(failure(StoreErrorKind::Unavailable, what)),
                    Fate::LostBefore => Err(failure(StoreErrorKind::Unknown, what)),
                    Fate::Fine | Fate::LostAfter | Fate::Late(_) => {
                        if let Fate::Late(by) = fate {
                            clock.sleep(by).await;
                        }
                        let answer = request.await;
                        if answer.is_ok() {
                            look(&this);
                        }
                        this.meets_ambush(true);
                        match fate {
                            Fate::LostAfter => Err(failure(StoreErrorKind::Unknown, what)),
                            _ => answer,
                        }
                    }
                };
                clock.sleep(takes / 2).await;
                // Whoever gave up reads no answer.
                let _ = sender.try_send(answer);
            };
            world.spawn("bucket", Box::pin(there));
            let lost = failure(StoreErrorKind::Unknown, what);
            receiver.recv().await.unwrap_or(Err(lost))
        })
    }

    /// After a put: a manifest is one line of states, and all that it names is there.
    fn on_put(&self, key: &str) {
        if key != head_key(PARTITION) {
            if key.ends_with(".seg") {
                self.on_segment();
            }
            return;
        }
        self.shared.oracle.marks.hit("manifests published");
        self.lock().unpublished = None;
        let manifest = match self.manifest() {
            Ok(Some(manifest)) => manifest,
            other => {
                let what = format!("after a put the manifest is {other:?}");
                return self.shared.oracle.violate("manifest-is-sound", what);
            }
        };
        for segment in manifest.state.segments() {
            let key = segment.key(PARTITION).to_string();
            let found = block_on(poll_once(self.shared.inner.get(&key, Want::Meta)));
            let sound = matches!(&found, Some(Ok(object)) if object.meta.size_bytes == segment.object_bytes);
            if !sound {
                let what = format!("a manifest names {key}: {found:?}");
                self.shared.oracle.violate("nothing-referenced-is-missing", what);
            }
        }
        let before = self.lock().head.replace(manifest.head.clone());
        let Some(before) = before else {
            return;
        };
        let head = &manifest.head;
        let continues = head.sequence == before.sequence + 1
            && head.fence.may_replace(&before.fence)
            && head.state_version >= before.state_version
            && head.end.offset >= before.end.offset
            && head.start >= before.start;
        if !continues {
            let what = format!("{head:?} replaced {before:?}");
            self.shared.oracle.violate("one-owner-writes", what);
        }
    }

    fn on_segment(&self) {
        self.shared.oracle.marks.hit("segments uploaded");
        let now = self.shared.world.clock.now();
        let since = *self.lock().unpublished.get_or_insert(now);
        if now.saturating_sub(since) > UNPUBLISHED_MAX {
            let what =
                format!("segments are uploaded since {since:?}, and at {now:?} no manifest names them");
            self.shared.oracle.violate("what-is-uploaded-is-published", what);
        }
    }

    /// After a delete: the manifest does not name what is gone.
    fn on_delete(&self, key: &str) {
        if !key.ends_with(".seg") {
            return;
        }
        self.shared.oracle.marks.hit("objects deleted");
        let Ok(Some(manifest)) = self.manifest() else {
            return;
        };
        let named = |segment: &Arc<_>| {
            let segment: &chronik_storage_object::SegmentMeta = segment;
            segment.key(PARTITION).to_string() == key
        };
        if manifest.state.segments().iter().any(named) {
            let what = format!("{key} is deleted, and the manifest names it");
            self.shared.oracle.violate("nothing-referenced-is-missing", what);
        }
    }
}

impl Bucket for SimBucket {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        let request = if self.lock().faults.no_manifests && key == head_key(PARTITION) {
            let refused: Answer<Version> = Box::pin(async { Err(failure(StoreErrorKind::Denied, "put")) });
            refused
        } else {
            self.shared.inner.put(key, body, condition)
        };
        let key = key.to_owned();
        self.request("put", request, move |this| this.on_put(&key))
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        let may_be_wrong = key.ends_with(".seg") && matches!(want, Want::Range(_));
        let answer = self.request("get", self.shared.inner.get(key, want), |_| {});
        let this = self.clone();
        Box::pin(async move {
            let mut object = answer.await?;
            let mut state = this.lock();
            let wrong = state.faults.wrong_bytes;
            if may_be_wrong && !object.data.is_empty() && state.prng.chance(wrong) {
                let mut bytes = object.data.to_vec();
                let at = state.prng.index(bytes.len());
                bytes[at] ^= 0x55;
                object.data = bytes.into();
            }
            Ok(object)
        })
    }

    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page> {
        let answer = self.request("list", self.shared.inner.list(folder, after), |_| {});
        let (this, name) = (self.clone(), format!("{folder} {after:?}"));
        Box::pin(async move {
            let page = answer.await?;
            let mut state = this.lock();
            let stale = state.faults.stale_lists;
            if state.prng.chance(stale)
                && let Some(old) = state.lists.get(&name)
            {
                return Ok(old.clone());
            }
            state.lists.insert(name, page.clone());
            Ok(page)
        })
    }

    fn delete(&self, key: &str) -> Answer<()> {
        let request = self.shared.inner.delete(key);
        let key = key.to_owned();
        self.request("delete", request, move |this| this.on_delete(&key))
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        let completes = matches!(part, Part::Complete { .. });
        let request = self.shared.inner.part(key, part);
        let key = key.to_owned();
        self.request("part", request, move |this| {
            if completes {
                this.on_put(&key);
            }
        })
    }

    fn describe(&self) -> String {
        "simulated:".to_owned()
    }
}

impl fmt::Debug for SimBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bucket of node {}", self.node)
    }
}
