//! A bucket that fails as stores do: refusals, slow answers, lost answers of requests that happened, wrong bytes.
//!
//! Fault model: a put happens whole or not at all; its answer may be lost either way. Gets may answer wrong or fewer
//! bytes. Nothing that a put was acknowledged for disappears.

use bytes::Bytes;
use chronik_conformance::world::{Prng, SimEnv};
use chronik_core::Env;
use chronik_storage_object::bucket::{
    Answer, Bucket, Condition, MemoryBucket, Object, Page, Part, Version, Want,
};
use chronik_storage_object::{StoreError, StoreErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Percent of requests with each fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) refused: u64,
    pub(crate) lost_before: u64,
    pub(crate) lost_after: u64,
    pub(crate) slow: u64,
    pub(crate) wrong_bytes: u64,
    pub(crate) short: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyBucket {
    pub(crate) inner: MemoryBucket,
    env: Env,
    prng: Arc<Mutex<Prng>>,
    faults: Arc<Mutex<Faults>>,
}

enum Fate {
    Fine,
    Refused,
    LostBefore,
    LostAfter,
}

fn lost(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unknown, format!("{what}: the connection broke"))
}

impl FaultyBucket {
    pub(crate) fn new(sim: &SimEnv, prng: Prng) -> Self {
        Self {
            inner: MemoryBucket::new(sim.env().clock),
            env: sim.env(),
            prng: Arc::new(Mutex::new(prng)),
            faults: Arc::default(),
        }
    }

    /// The same objects in a world that starts again.
    pub(crate) fn in_world(&self, sim: &SimEnv) -> Self {
        Self {
            env: sim.env(),
            ..self.clone()
        }
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    fn chance(&self, percent: impl Fn(&Faults) -> u64) -> bool {
        let percent = percent(&self.faults.lock().unwrap());
        self.prng.lock().unwrap().chance(percent)
    }

    async fn fate(&self) -> Fate {
        // Every request takes a step of its own, so that a crash can come before it and after it.
        self.env.clock.sleep(Duration::from_millis(1)).await;
        if self.chance(|faults| faults.slow) {
            self.env.clock.sleep(Duration::from_secs(40)).await;
        }
        if self.chance(|faults| faults.refused) {
            return Fate::Refused;
        }
        if self.chance(|faults| faults.lost_before) {
            return Fate::LostBefore;
        }
        if self.chance(|faults| faults.lost_after) {
            return Fate::LostAfter;
        }
        Fate::Fine
    }

    fn request<T: Send + 'static>(&self, what: &'static str, request: Answer<T>) -> Answer<T> {
        let this = self.clone();
        Box::pin(async move {
            let fate = this.fate().await;
            match fate {
                Fate::Refused => Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!("{what}: slow down"),
                )),
                Fate::LostBefore => Err(lost(what)),
                Fate::LostAfter => {
                    let _ = request.await;
                    Err(lost(what))
                }
                Fate::Fine => request.await,
            }
        })
    }
}

impl Bucket for FaultyBucket {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        self.request("put", self.inner.put(key, body, condition))
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        let answer = self.request("get", self.inner.get(key, want));
        let this = self.clone();
        let key = key.to_owned();
        Box::pin(async move {
            let mut object = answer.await?;
            // Heads have a checksum of their own, which the reader reports: only segments are read again here.
            if object.data.is_empty() || !key.ends_with(".seg") {
                return Ok(object);
            }
            if this.chance(|faults| faults.short) {
                object.data.truncate(object.data.len() / 2);
            } else if this.chance(|faults| faults.wrong_bytes) {
                let mut bytes = object.data.to_vec();
                let at = this.prng.lock().unwrap().index(bytes.len());
                bytes[at] ^= 0x55;
                object.data = bytes.into();
            }
            Ok(object)
        })
    }

    fn list(&self, folder: &str, after: Option<&str>) -> Answer<Page> {
        self.request("list", self.inner.list(folder, after))
    }

    fn delete(&self, key: &str) -> Answer<()> {
        self.request("delete", self.inner.delete(key))
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        self.request("upload", self.inner.part(key, part))
    }

    fn describe(&self) -> String {
        "faulty:".to_owned()
    }
}
