//! Kafka clients: connections, requests, answers.

use super::{Counter, Histogram};
use crate::kafka::api::ApiKey;
use crate::kafka::wire::ErrorCode;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// API keys are below this.
const API_KEYS: usize = 128;

/// Whose latency is measured on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Produce.
    Produce,
    /// Fetch, with the time that the client asked to wait for records.
    Fetch,
    /// Everything else.
    Other,
}

impl Latency {
    /// All, in the order of `/metrics`.
    pub const ALL: [Self; 3] = [Self::Produce, Self::Fetch, Self::Other];

    /// Where a request of this API is counted.
    #[must_use]
    pub const fn of(api: ApiKey) -> Self {
        match api {
            ApiKey::Produce => Self::Produce,
            ApiKey::Fetch => Self::Fetch,
            _ => Self::Other,
        }
    }

    /// The value of the label `api`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Fetch => "Fetch",
            Self::Other => "other",
        }
    }
}

/// What a producer waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// Durable on the leader.
    Leader,
    /// Committed.
    All,
}

impl AckLevel {
    /// All, in the order of `/metrics`.
    pub const ALL: [Self; 2] = [Self::Leader, Self::All];

    /// The value of the label `acks`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Leader => "1",
            Self::All => "all",
        }
    }
}

/// What is counted about Kafka clients.
#[derive(Debug)]
pub struct KafkaMetrics {
    /// Connections that were accepted.
    pub connections_accepted: Counter,
    /// Connections that were turned away because there were too many.
    pub connections_refused: Counter,
    /// Bytes read from clients.
    pub received_bytes: Counter,
    /// Bytes written to clients.
    pub sent_bytes: Counter,
    /// Requests that ended their connection because they could not be understood or answered.
    pub requests_refused: Counter,
    requests: [Counter; API_KEYS],
    errors: Mutex<BTreeMap<(ApiKey, ErrorCode), u64>>,
    latencies: [Histogram; Latency::ALL.len()],
    acks: [Histogram; AckLevel::ALL.len()],
}

impl KafkaMetrics {
    pub(super) fn new() -> Self {
        Self {
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            requests_refused: Counter::default(),
            requests: std::array::from_fn(|_| Counter::default()),
            errors: Mutex::default(),
            latencies: Default::default(),
            acks: Default::default(),
        }
    }

    /// Counts a request that was answered, the error codes of its answer, and how long it took.
    pub fn answered(&self, api: ApiKey, took: Duration, errors: &[ErrorCode]) {
        if let Some(count) = usize::try_from(api.code())
            .ok()
            .and_then(|key| self.requests.get(key))
        {
            count.one();
        }
        if let Some(latency) = self.latencies.get(Latency::of(api) as usize) {
            latency.observe(took);
        }
        if errors.is_empty() {
            return;
        }
        let mut counts = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for error in errors {
            // A handler answers with named codes only, so that there are few.
            *counts.entry((api, *error)).or_default() += 1;
        }
    }

    /// Counts a batch that was acknowledged.
    pub fn acknowledged(&self, acks: AckLevel, took: Duration) {
        if let Some(histogram) = self.acks.get(acks as usize) {
            histogram.observe(took);
        }
    }

    /// How many requests of an API were answered.
    #[must_use]
    pub fn requests(&self, api: ApiKey) -> u64 {
        let key = usize::try_from(api.code()).unwrap_or(usize::MAX);
        self.requests.get(key).map_or(0, Counter::get)
    }

    /// How often each error was answered, by API.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<(ApiKey, ErrorCode), u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long requests took.
    #[must_use]
    pub fn latency(&self, of: Latency) -> &Histogram {
        &self.latencies[of as usize]
    }

    /// How long batches took from their arrival to their acknowledgement.
    #[must_use]
    pub fn acks(&self, acks: AckLevel) -> &Histogram {
        &self.acks[acks as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_a_place_of_its_own() {
        let metrics = KafkaMetrics::new();
        for (count, api) in (1..).zip(ApiKey::ALL) {
            for _ in 0..count {
                metrics.answered(*api, Duration::ZERO, &[]);
            }
        }
        for (count, api) in (1..).zip(ApiKey::ALL) {
            assert_eq!(metrics.requests(*api), count, "{api}");
        }
    }

    #[test]
    fn errors_are_counted_by_api_and_code() {
        let metrics = KafkaMetrics::new();
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        metrics.answered(ApiKey::Fetch, Duration::ZERO, &[unknown, unknown]);
        metrics.answered(ApiKey::Produce, Duration::ZERO, &[unknown]);
        let expected = BTreeMap::from([((ApiKey::Produce, unknown), 1), ((ApiKey::Fetch, unknown), 2)]);
        assert_eq!(metrics.errors(), expected);
    }
}
