//! The broker under judgement, and what checks make on it.

use super::log::Log;
use super::wire::{
    API_VERSIONS_0, Api, CREATE_TOPICS, Connection, DELETE_TOPICS, LIST_OFFSETS, METADATA, PATIENCE, text,
};
use super::{Failure, ensure, fine, named};
use chronik_core::env::{Clock, Rng};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
    TopicName,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before something is looked at again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long what fails is tried again: a new leader may not know yet that it is one.
const FAILING: Duration = Duration::from_secs(15);
/// How long a broker may take for what a client may ask of it.
const TIMEOUT_MS: i32 = 30_000;

/// The broker under judgement.
pub struct Subject {
    bootstrap: String,
    clock: Arc<dyn Clock>,
    /// Begins every name that the judge makes up.
    prefix: String,
    made: Cell<u64>,
    /// The topics to delete in the end.
    topics: RefCell<Vec<String>>,
    versions: BTreeMap<i16, (i16, i16)>,
}

/// A topic of a check.
pub(super) struct Topic {
    pub(super) name: String,
    /// The address of each partition's leader.
    leaders: Vec<String>,
}

impl Topic {
    /// A connection to the leader of a partition.
    pub(super) fn log(&self, partition: i32) -> Result<Log, Failure> {
        let leader = usize::try_from(partition)
            .ok()
            .and_then(|at| self.leaders.get(at));
        let leader = leader.ok_or_else(|| Failure(format!("{} has no partition {partition}", self.name)))?;
        Ok(Log::new(Connection::open(leader)?, &self.name, partition))
    }
}

impl Subject {
    /// Asks the broker at `HOST:PORT` what it offers.
    ///
    /// # Errors
    /// Says why nobody who speaks Kafka's protocol answers there.
    pub fn connect(bootstrap: &str, clock: Arc<dyn Clock>, rng: &dyn Rng) -> Result<Self, Failure> {
        let mut connection = Connection::open(bootstrap)?;
        let answer = connection.call(API_VERSIONS_0, &ApiVersionsRequest::default())?;
        fine("ApiVersions", answer.error_code)?;
        let ranges = answer.api_keys.iter();
        Ok(Self {
            bootstrap: bootstrap.to_owned(),
            clock,
            prefix: format!("chronik-judge-{:08x}", rng.next_u64() >> 32),
            made: Cell::new(0),
            topics: RefCell::default(),
            versions: ranges
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect(),
        })
    }

    /// Monotonic time.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Milliseconds since the epoch.
    pub(super) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// The first of these that the broker does not offer.
    pub(super) fn lacks(&self, needs: &[Api]) -> Option<Api> {
        let offered = |api: &Api| {
            self.versions
                .get(&api.key)
                .is_some_and(|(min, max)| (*min..=*max).contains(&api.version))
        };
        needs.iter().find(|api| !offered(api)).copied()
    }

    /// What the broker said of its versions at first.
    pub(super) fn versions(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.versions
    }

    pub(super) fn connection(&self) -> Result<Connection, Failure> {
        Connection::open(&self.bootstrap)
    }

    /// A name that nobody else uses.
    pub(super) fn name(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("{}-{}", self.prefix, self.made.get())
    }

    /// Tries until there is a result, or until the broker had time enough; what fails is not tried for so long.
    pub(super) fn until<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let (start, end) = (self.now(), self.now() + PATIENCE);
        loop {
            match attempt() {
                Ok(Some(done)) => return Ok(done),
                Ok(None) if self.now() > end => {
                    return Err(Failure(format!("not within {} s: {what}", PATIENCE.as_secs())));
                }
                Err(failure) if self.now() > start + FAILING => return Err(failure),
                _ => futures_lite::future::block_on(self.clock.sleep(PAUSE)),
            }
        }
    }

    /// Lets time pass.
    pub(super) fn pause(&self) {
        futures_lite::future::block_on(self.clock.sleep(PAUSE));
    }

    /// A new topic whose partitions have leaders that answer.
    pub(super) fn topic(&self, partitions: i32) -> Result<Topic, Failure> {
        self.topic_with(partitions, &[])
    }

    pub(super) fn topic_with(&self, partitions: i32, configs: &[(&str, &str)]) -> Result<Topic, Failure> {
        let name = self.name();
        let request = create(&name, partitions, -1, configs);
        let answer = self.connection()?.call(CREATE_TOPICS, &request)?;
        self.topics.borrow_mut().push(name.clone());
        let result = answer.topics.first();
        let code = result.map_or(-1, |result| result.error_code);
        let message = result
            .and_then(|result| result.error_message.as_ref())
            .map_or("", |text| text.as_str());
        ensure!(code == 0, "creating {name}: {} {message}", named(code));
        let leaders = self.until("the new topic has leaders", || self.leaders(&name, partitions))?;
        let topic = Topic { name, leaders };
        for partition in 0..partitions {
            self.until("the leader of a new partition answers", || {
                let (code, ..) = topic.log(partition)?.list(LIST_OFFSETS, -1)?;
                Ok((code == 0).then_some(()))
            })?;
        }
        Ok(topic)
    }

    /// The address of every partition's leader, once all have one.
    fn leaders(&self, name: &str, partitions: i32) -> Result<Option<Vec<String>>, Failure> {
        let answer = self.metadata(Some(&[name]))?;
        let addresses: BTreeMap<i32, String> = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", &*broker.host, broker.port)))
            .collect();
        let Some(topic) = answer.topics.first().filter(|topic| topic.error_code == 0) else {
            return Ok(None);
        };
        let leader = |index: i32| {
            let partition = topic
                .partitions
                .iter()
                .find(|partition| partition.partition_index == index);
            addresses.get(&partition?.leader_id.0).cloned()
        };
        Ok((0..partitions).map(leader).collect())
    }

    /// What the broker says of these topics, of all where it is `None`. None is created by that.
    pub(super) fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse, Failure> {
        self.connection()?.call(METADATA, &metadata_request(topics))
    }

    /// What it says of one topic.
    pub(super) fn described(&self, name: &str) -> Result<MetadataResponseTopic, Failure> {
        let answer = self.metadata(Some(&[name]))?;
        let topic = answer.topics.into_iter().next();
        topic.ok_or_else(|| Failure(format!("Metadata does not mention {name}")))
    }

    /// Deletes a topic.
    pub(super) fn delete(&self, name: &str) -> Result<i16, Failure> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_timeout_ms(TIMEOUT_MS);
        let answer = self.connection()?.call(DELETE_TOPICS, &request)?;
        Ok(answer.responses.first().map_or(-1, |result| result.error_code))
    }

    /// Deletes what is left of the checks, as far as the broker lets it.
    pub(super) fn clean(&self) {
        if self.lacks(&[DELETE_TOPICS]).is_none() {
            for name in self.topics.take() {
                let _ = self.delete(&name);
            }
        }
    }
}

/// A request for one topic.
pub(super) fn create(
    name: &str,
    partitions: i32,
    replicas: i16,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(*key))
            .with_value(Some(text(*value)))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS)
}

pub(crate) fn metadata_request(topics: Option<&[&str]>) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(TopicName(text(*name))));
    MetadataRequest::default()
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}
