//! The one place that repeats requests, with bounds, and settles writes whose answer was lost.

use super::{
    Answer, Bucket, Condition, Object, Page, Part, Pieces, StoreError, StoreErrorKind, Version, Want,
    body_bytes,
};
use crate::metrics::TierMetrics;
use bytes::Bytes;
use chronik_core::Env;
use futures_lite::FutureExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How often, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests for one call, the first one included.
    pub attempts_max: u32,
    /// The longest wait before the second request; doubles with each further one.
    pub backoff: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
    /// How long one request may take, beside the time for its bytes.
    pub timeout: Duration,
    /// The slowest transfer that is waited for.
    pub bytes_per_s_min: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 6,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            bytes_per_s_min: 1 << 20,
        }
    }
}

/// A bucket whose requests are repeated.
///
/// A conditional write that failed in any way is read back: if the object holds our bytes, the write has happened,
/// whatever the store answered. So the bytes of conditional writes must never be those of another writer, nor of
/// an earlier write of the same one.
#[derive(Clone, Debug)]
pub struct Retrying {
    inner: Arc<dyn Bucket>,
    env: Env,
    policy: RetryPolicy,
    metrics: Arc<TierMetrics>,
}

impl Retrying {
    /// Repeats the requests to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Bucket>, env: Env, policy: RetryPolicy, metrics: Arc<TierMetrics>) -> Self {
        Self {
            inner,
            env,
            policy,
            metrics,
        }
    }

    /// One request under its deadline.
    async fn limited<T>(&self, what: &str, bytes: u64, request: Answer<T>) -> Result<T, StoreError> {
        let transfer = Duration::from_millis(bytes.saturating_mul(1000) / self.policy.bytes_per_s_min.max(1));
        let limit = self.policy.timeout + transfer;
        let late = async {
            self.env.clock.sleep(limit).await;
            let detail = format!("{what}: no answer within {} ms", limit.as_millis());
            Err(StoreError::new(StoreErrorKind::Unknown, detail))
        };
        request.or(late).await
    }

    /// Waits before the request after the one with this number; false where it was the last one.
    async fn wait(&self, attempt: u32) -> bool {
        if attempt + 1 >= self.policy.attempts_max {
            return false;
        }
        self.metrics.retries.one();
        let longest = self
            .policy
            .backoff
            .saturating_mul(1 << attempt.min(16))
            .min(self.policy.backoff_max);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let wait = micros / 2 + self.env.rng.next_u64() % (micros / 2 + 1);
        self.env.clock.sleep(Duration::from_micros(wait)).await;
        true
    }

    /// Repeats a request that may happen more than once.
    async fn repeated<T>(
        &self,
        what: &str,
        bytes: u64,
        request: impl Fn(&dyn Bucket) -> Answer<T>,
    ) -> Result<T, StoreError> {
        let mut attempt = 0;
        loop {
            let error = match self.limited(what, bytes, request(&*self.inner)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.is_transient() || !self.wait(attempt).await {
                self.failed(&error);
                return Err(error);
            }
            attempt += 1;
        }
    }

    fn failed(&self, error: &StoreError) {
        if !matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Conflict) {
            self.metrics.failures.one();
        }
    }

    /// Writes on a condition, and finds out whether it happened.
    async fn put_once(
        &self,
        key: &str,
        body: Vec<Bytes>,
        condition: Condition,
    ) -> Result<Version, StoreError> {
        let bytes = body_bytes(&body);
        let mut attempt = 0;
        loop {
            self.metrics.puts.one();
            let request = self.inner.put(key, body.clone(), condition.clone());
            let error = match self.limited(key, bytes, request).await {
                Ok(version) => return Ok(version),
                Err(error) => error,
            };
            let unclear = error.is_transient() || error.kind == StoreErrorKind::Conflict;
            if !unclear {
                self.failed(&error);
                return Err(error);
            }
            match self.settle(key, &body, &condition).await? {
                Settled::Happened(version) => return Ok(version),
                Settled::Lost => {
                    let detail = format!("put {key}: somebody else wrote it");
                    return Err(StoreError::new(StoreErrorKind::Conflict, detail));
                }
                // An earlier request may still arrive; the condition lets one of them happen at most.
                Settled::Open if self.wait(attempt).await => attempt += 1,
                Settled::Open => {
                    self.failed(&error);
                    let detail = format!("{}; whether it happened is not known", error.detail);
                    return Err(StoreError::new(StoreErrorKind::Unknown, detail));
                }
            }
        }
    }

    /// Reads back what a conditional write left.
    async fn settle(&self, key: &str, body: &[Bytes], condition: &Condition) -> Result<Settled, StoreError> {
        let max_bytes = u64::MAX;
        let found = self
            .repeated(key, body_bytes(body), |inner| {
                self.metrics.gets.one();
                inner.get(key, Want::All { max_bytes })
            })
            .await;
        let object = match found {
            Ok(object) => object,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Ok(match condition {
                    Condition::Unchanged(_) => Settled::Lost,
                    _ => Settled::Open,
                });
            }
            Err(error) => {
                let detail = format!("{}; whether the write happened is not known", error.detail);
                return Err(StoreError::new(StoreErrorKind::Unknown, detail));
            }
        };
        if is_body(&object.data, body) {
            self.metrics.settled.one();
            return Ok(Settled::Happened(object.version));
        }
        Ok(match condition {
            Condition::Unchanged(version) if *version == object.version => Settled::Open,
            _ => Settled::Lost,
        })
    }
}

/// What became of a conditional write.
enum Settled {
    Happened(Version),
    /// It cannot happen any more.
    Lost,
    /// It has not happened, and may be tried again.
    Open,
}

fn is_body(data: &[u8], body: &[Bytes]) -> bool {
    let mut rest = data;
    for part in body {
        match rest.strip_prefix(part.as_ref()) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

impl Bucket for Retrying {
    fn put(&self, key: &str, body: Vec<Bytes>, condition: Condition) -> Answer<Version> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let bytes = body_bytes(&body);
            let written = if condition == Condition::Always {
                let request = |inner: &dyn Bucket| {
                    this.metrics.puts.one();
                    inner.put(&key, body.clone(), Condition::Always)
                };
                this.repeated(&key, bytes, request).await
            } else {
                this.put_once(&key, body, condition).await
            };
            if written.is_ok() {
                this.metrics.bytes_up.add(bytes);
            }
            written
        })
    }

    fn get(&self, key: &str, want: Want) -> Answer<Object> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let bytes = match &want {
                Want::Meta => 0,
                Want::All { max_bytes } => (*max_bytes).min(64 << 20),
                Want::Range(range) => range.end.saturating_sub(range.start),
            };
            let request = |inner: &dyn Bucket| {
                this.metrics.gets.one();
                inner.get(&key, want.clone())
            };
            let object = this.repeated(&key, bytes, request).await?;
            this.metrics.bytes_down.add(object.data.len() as u64);
            Ok(object)
        })
    }

    fn get_pieces(&self, key: &str, range: Range<u64>, piece_bytes: usize, pieces: Pieces) -> Answer<()> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let bytes = range.end.saturating_sub(range.start);
            let request = |inner: &dyn Bucket| {
                this.metrics.gets.one();
                inner.get_pieces(&key, range.clone(), piece_bytes, pieces.clone())
            };
            this.repeated(&key, bytes, request).await?;
            this.metrics.bytes_down.add(bytes);
            Ok(())
        })
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> Answer<Page> {
        let (this, prefix, after) = (self.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(async move {
            let request = |inner: &dyn Bucket| {
                this.metrics.lists.one();
                inner.list(&prefix, after.as_deref())
            };
            this.repeated(&prefix, 0, request).await
        })
    }

    fn delete(&self, key: &str) -> Answer<()> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let request = |inner: &dyn Bucket| {
                this.metrics.deletes.one();
                inner.delete(&key)
            };
            this.repeated(&key, 0, request).await
        })
    }

    fn part(&self, key: &str, part: Part) -> Answer<Arc<str>> {
        let (this, key) = (self.clone(), key.to_owned());
        Box::pin(async move {
            let bytes = match &part {
                Part::Store { body, .. } => body_bytes(body),
                _ => 0,
            };
            let request = |inner: &dyn Bucket| {
                this.metrics.puts.one();
                inner.part(&key, part.clone())
            };
            // Completing twice answers NotFound the second time; the uploader looks whether the object is there.
            let answer = this.repeated(&key, bytes, request).await?;
            this.metrics.bytes_up.add(bytes);
            Ok(answer)
        })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
