//! The APIs of offsets: they check that topics exist, and give ids to names and names to ids.

use super::{ClientInfo, GroupCoordinator};
use crate::group::offset_fetch::same_topic;
use crate::group::pending::Answer;
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::kafka::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::kafka::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};

/// From this version on, OffsetCommit and OffsetFetch carry topic ids instead of names.
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;
/// From this version on, OffsetFetch has many groups.
const FIRST_FETCH_VERSION_WITH_GROUPS: i16 = 8;
/// From this version on, an OffsetFetch response has an error of its own.
const FIRST_FETCH_VERSION_WITH_ERROR: i16 = 2;

impl GroupCoordinator {
    /// Handles OffsetCommit. Resolves when the offsets are in the log.
    pub async fn commit_offsets(
        &self,
        client: &ClientInfo,
        mut request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        // The errors that are known before the coordinator is asked, in the order of the request.
        let mut known = Vec::new();
        for topic in &mut request.topics {
            let error = self.resolve(client.api_version, topic);
            let count = self.inner.topics.partition_count(&topic.name).unwrap_or(0);
            for partition in &topic.partitions {
                let exists = (0..count).contains(&partition.partition_index);
                let missing = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).filter(|_| !exists);
                known.push(error.or(missing));
            }
        }
        let mut response = empty_response(&request);
        let errors = partition_errors(&mut response);
        for (error, known) in errors.zip(&known) {
            *error = known.unwrap_or_default();
        }
        if known.iter().all(Option::is_some) {
            return response;
        }
        let mut index = 0;
        for topic in &mut request.topics {
            topic.partitions.retain(|_| {
                index += 1;
                known.get(index - 1).is_some_and(Option::is_none)
            });
        }
        let answer = self.try_commit(client.api_version, request).await;
        let mut answers = answer.as_ref().ok().into_iter().flat_map(|answer| &answer.topics);
        let mut answers = answers.by_ref().flat_map(|topic| &topic.partitions);
        for (error, known) in partition_errors(&mut response).zip(&known) {
            if known.is_none() {
                *error = match &answer {
                    Ok(_) => answers
                        .next()
                        .map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |one| one.error_code),
                    Err(refused) => *refused,
                };
            }
        }
        response
    }

    async fn try_commit(
        &self,
        api_version: i16,
        request: OffsetCommitRequest,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        let shard = self.shard(&request.group_id)?;
        let event = move |machine: &mut crate::group::machine::Machine, now, to| {
            machine.commit_offsets(now, api_version, &request, to);
        };
        match shard.ask(event).await? {
            Answer::OffsetCommit(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Gives the topic both its name and its id, or says why it cannot.
    fn resolve(&self, api_version: i16, topic: &mut OffsetCommitRequestTopic) -> Option<ErrorCode> {
        let topics = &self.inner.topics;
        if api_version < FIRST_VERSION_WITH_TOPIC_IDS {
            topic.topic_id = topics.topic_id(&topic.name).unwrap_or_default();
            return Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).filter(|_| topic.topic_id.is_zero());
        }
        match topics.topic_name(topic.topic_id) {
            Some(name) => {
                topic.name = name;
                None
            }
            None => Some(ErrorCode::UNKNOWN_TOPIC_ID),
        }
    }

    /// Handles OffsetFetch.
    pub async fn fetch_offsets(
        &self,
        client: &ClientInfo,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let api_version = client.api_version;
        let stable = request.require_stable;
        if api_version >= FIRST_FETCH_VERSION_WITH_GROUPS {
            let mut response = OffsetFetchResponse::default();
            for group in request.groups {
                response
                    .groups
                    .push(self.fetch_group(api_version, group, stable).await);
            }
            return response;
        }
        let named =
            |topic: crate::kafka::api::offset_fetch::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            };
        let group = OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics: request
                .topics
                .map(|topics| topics.into_iter().map(named).collect()),
            ..Default::default()
        };
        flat_response(self.fetch_group(api_version, group, stable).await)
    }

    async fn fetch_group(
        &self,
        api_version: i16,
        mut group: OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let all = group.topics.is_none();
        let (mut asked, mut unknown) = (Vec::new(), Vec::new());
        for mut topic in group.topics.take().unwrap_or_default() {
            match self.resolve_fetch(api_version, &mut topic) {
                Ok(()) => asked.push(topic),
                Err(error) => unknown.push(failed_topic(&topic, error)),
            }
        }
        group.topics = Some(asked).filter(|_| !all);
        let group_id = group.group_id.clone();
        match self.try_fetch(group.clone(), stable).await {
            Ok(mut response) => {
                if all {
                    response.topics = self.current_topics(api_version, response.topics);
                }
                response.topics.append(&mut unknown);
                response
            }
            Err(error_code) if api_version >= FIRST_FETCH_VERSION_WITH_ERROR => OffsetFetchResponseGroup {
                group_id,
                error_code,
                ..Default::default()
            },
            Err(error) => OffsetFetchResponseGroup {
                group_id,
                topics: group
                    .topics
                    .iter()
                    .flatten()
                    .map(|topic| failed_topic(topic, error))
                    .collect(),
                ..Default::default()
            },
        }
    }

    async fn try_fetch(
        &self,
        group: OffsetFetchRequestGroup,
        stable: bool,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let shard = self.shard(&group.group_id)?;
        match shard
            .ask(move |machine, _, to| machine.fetch_offsets(group, stable, to))
            .await?
        {
            Answer::OffsetFetch(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Gives the topic both its name and its id. A topic that was given by name need not exist; where it does, its id keeps
    /// the offsets of an earlier topic of that name out of the answer (Kafka does that for ids alone).
    fn resolve_fetch(&self, api_version: i16, topic: &mut OffsetFetchRequestTopics) -> Result<(), ErrorCode> {
        let topics = &self.inner.topics;
        if api_version < FIRST_VERSION_WITH_TOPIC_IDS {
            topic.topic_id = topics.topic_id(&topic.name).unwrap_or_default();
            return Ok(());
        }
        topic.name = topics
            .topic_name(topic.topic_id)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        Ok(())
    }

    /// Leaves out the offsets of topics that were deleted and made anew, and, where ids are asked for, of topics that have
    /// none.
    fn current_topics(
        &self,
        api_version: i16,
        topics: Vec<OffsetFetchResponseTopics>,
    ) -> Vec<OffsetFetchResponseTopics> {
        let mut kept: Vec<OffsetFetchResponseTopics> = Vec::with_capacity(topics.len());
        for mut topic in topics {
            let id = self.inner.topics.topic_id(&topic.name).unwrap_or_default();
            if !same_topic(topic.topic_id, id) {
                continue;
            }
            if topic.topic_id.is_zero() {
                topic.topic_id = id;
            }
            if topic.topic_id.is_zero() && api_version >= FIRST_VERSION_WITH_TOPIC_IDS {
                continue;
            }
            match kept.last_mut().filter(|last| last.name == topic.name) {
                Some(last) => last.partitions.append(&mut topic.partitions),
                None => kept.push(topic),
            }
        }
        kept
    }

    /// Handles OffsetDelete. Resolves when the removal is in the log.
    pub async fn delete_offsets(&self, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let mut unknown = Vec::new();
        for topic in &mut request.topics {
            let count = self.inner.topics.partition_count(&topic.name).unwrap_or(0);
            let exists = |index: i32| (0..count).contains(&index);
            let missing = topic
                .partitions
                .iter()
                .filter(|partition| !exists(partition.partition_index));
            let missing = missing.map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            });
            unknown.push((topic.name.clone(), missing.collect::<Vec<_>>()));
            topic
                .partitions
                .retain(|partition| exists(partition.partition_index));
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        let mut response = self
            .try_delete_offsets(request)
            .await
            .unwrap_or_else(|error_code| OffsetDeleteResponse {
                error_code,
                ..Default::default()
            });
        if response.error_code == ErrorCode::NONE {
            for (name, partitions) in unknown.into_iter().filter(|(_, missing)| !missing.is_empty()) {
                match response.topics.iter_mut().find(|topic| topic.name == name) {
                    Some(topic) => topic.partitions.extend(partitions),
                    None => response
                        .topics
                        .push(OffsetDeleteResponseTopic { name, partitions }),
                }
            }
        }
        response
    }

    async fn try_delete_offsets(
        &self,
        request: OffsetDeleteRequest,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let shard = self.shard(&request.group_id)?;
        match shard
            .ask(move |machine, now, to| machine.delete_offsets(now, &request, to))
            .await?
        {
            Answer::OffsetDelete(response) => Ok(response),
            _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    /// Removes the offsets of topics that were deleted, in the groups that this node coordinates. To be called again where
    /// it fails; until then the ids of the topics keep old offsets from being used for new topics of the same names.
    ///
    /// # Errors
    /// The offsets of some groups may still be there.
    pub async fn topics_deleted(&self, topics: &[(KafkaString, Uuid)]) -> Result<(), ErrorCode> {
        let mut result = Ok(());
        for shard in self.shards() {
            let answer = shard
                .ask(|machine, now, to| machine.topics_deleted(now, topics, to))
                .await;
            match answer {
                Ok(Answer::TopicsDeleted(ErrorCode::NONE)) | Err(ErrorCode::NOT_COORDINATOR) => {}
                Ok(Answer::TopicsDeleted(error)) | Err(error) => result = Err(error),
                Ok(_) => result = Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            }
        }
        result
    }
}

fn empty_response(request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                ..Default::default()
            })
            .collect(),
    });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn partition_errors(response: &mut OffsetCommitResponse) -> impl Iterator<Item = &mut ErrorCode> {
    let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    partitions.map(|partition| &mut partition.error_code)
}

fn failed_topic(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic
        .partition_indexes
        .iter()
        .map(|&partition_index| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: -1,
            metadata: Some(KafkaString::default()),
            error_code: error,
            ..Default::default()
        });
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
    }
}

/// The response in the form of the versions that have one group.
fn flat_response(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |one: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: one.partition_index,
        committed_offset: one.committed_offset,
        committed_leader_epoch: one.committed_leader_epoch,
        metadata: one.metadata,
        error_code: one.error_code,
    };
    let topic = |one: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: one.name,
        partitions: one.partitions.into_iter().map(partition).collect(),
    };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}
