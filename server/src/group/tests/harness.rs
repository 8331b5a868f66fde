//! A machine, a virtual clock, and a log in memory.

use crate::group::ClientInfo;
use crate::group::batch::decode_batches;
use crate::group::join::Join;
use crate::group::limits::GroupLimits;
use crate::group::machine::{Loaded, Machine, Now};
use crate::group::pending::{Action, Answer, AppendId, ReplyId};
use crate::group::subscription::metadata_of;
use crate::kafka::api::heartbeat::HeartbeatRequest;
use crate::kafka::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::kafka::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use crate::kafka::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::kafka::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::kafka::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use crate::kafka::wire::{ErrorCode, KafkaString, Uuid};
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

pub(super) const GROUP: &str = "g";
pub(super) const TOPIC: &str = "t";

pub(super) fn limits() -> GroupLimits {
    GroupLimits {
        min_session_timeout_ms: 1_000,
        max_session_timeout_ms: 100_000,
        initial_rebalance_delay: Duration::from_millis(3_000),
        new_member_join_timeout: Duration::from_secs(300),
        max_group_size: 10,
        offsets_retention_ms: 1_000_000,
        retention_check_interval: Duration::from_secs(600),
        max_offset_metadata: 16,
        max_batch_bytes: 1_000,
        compact_min_bytes: 1 << 30,
        compact_ratio: 4,
    }
}

/// Batches in memory, with their offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryLog {
    pub(super) batches: VecDeque<(i64, Bytes)>,
    pub(super) end: i64,
}

impl MemoryLog {
    /// Adds a batch and returns the offset of its first record.
    pub(super) fn push(&mut self, batch: &BytesMut) -> i64 {
        let base = self.end;
        let mut stamped = batch.clone();
        stamped[..8].copy_from_slice(&base.to_be_bytes());
        self.end = decode_batches(&stamped, base, |_| {}).unwrap();
        self.batches.push_back((base, stamped.freeze()));
        base
    }

    pub(super) fn load(&self) -> Loaded {
        let start = self.batches.front().map_or(self.end, |(base, _)| *base);
        let mut loaded = Loaded {
            end: start,
            ..Default::default()
        };
        for (_, batch) in &self.batches {
            loaded.log_bytes += batch.len() as u64;
            let apply = |record| loaded.state.apply(&record);
            loaded.end = decode_batches(batch, loaded.end, apply).unwrap();
        }
        loaded
    }

    pub(super) fn delete_before(&mut self, offset: i64) {
        // As a real log, it keeps the batch that holds the offset.
        while self.batches.get(1).is_some_and(|(base, _)| *base <= offset) {
            self.batches.pop_front();
        }
        if self.batches.len() == 1 && self.end <= offset {
            self.batches.clear();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.len()).sum()
    }
}

/// What a member of the tests says about itself.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) version: i16,
    pub(super) group: &'static str,
    pub(super) instance: Option<&'static str>,
    pub(super) kind: &'static str,
    pub(super) protocols: Vec<(&'static str, Bytes)>,
    pub(super) session_ms: i32,
    pub(super) rebalance_ms: i32,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            version: 9,
            group: GROUP,
            instance: None,
            kind: "consumer",
            protocols: vec![("range", metadata_of(&[TOPIC]))],
            session_ms: 10_000,
            rebalance_ms: 30_000,
        }
    }
}

pub(super) struct Harness {
    pub(super) limits: GroupLimits,
    pub(super) machine: Machine,
    pub(super) mono: Duration,
    pub(super) wall_ms: i64,
    pub(super) log: MemoryLog,
    /// Appends are committed at once.
    pub(super) auto_commit: bool,
    pub(super) in_flight: VecDeque<(AppendId, Result<BytesMut, ErrorCode>)>,
    answers: HashMap<ReplyId, Answer>,
    next_reply: ReplyId,
    random: u128,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(limits())
    }

    pub(super) fn with(limits: GroupLimits) -> Self {
        let (mono, wall_ms) = (Duration::from_secs(5), 1_700_000_000_000);
        let machine = Machine::new(limits.clone(), Loaded::default(), Now { mono, wall_ms });
        Self {
            limits,
            machine,
            mono,
            wall_ms,
            log: MemoryLog::default(),
            auto_commit: true,
            in_flight: VecDeque::new(),
            answers: HashMap::new(),
            next_reply: 0,
            random: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            mono: self.mono,
            wall_ms: self.wall_ms,
        }
    }

    /// The process dies and starts again: only the log is left.
    pub(super) fn restart(&mut self) {
        self.in_flight.clear();
        self.machine = Machine::new(self.limits.clone(), self.log.load(), self.now());
        self.settle();
    }

    /// Runs an event and returns the id of its answer.
    pub(super) fn run(&mut self, event: impl FnOnce(&mut Machine, Now, ReplyId)) -> ReplyId {
        let id = self.next_reply;
        self.next_reply += 1;
        let now = self.now();
        event(&mut self.machine, now, id);
        self.settle();
        id
    }

    pub(super) fn settle(&mut self) {
        loop {
            let actions = self.machine.take_actions();
            let commit = self.auto_commit && !self.in_flight.is_empty();
            if actions.is_empty() && !commit {
                return;
            }
            for action in actions {
                match action {
                    Action::Reply { to, answer } => {
                        let before = self.answers.insert(to, answer);
                        assert!(before.is_none(), "request {to} was answered twice");
                    }
                    Action::Append { id, batch } => self.in_flight.push_back((id, batch)),
                    Action::DeleteBefore(offset) => self.log.delete_before(offset),
                }
            }
            if self.auto_commit && !self.in_flight.is_empty() {
                self.commit_one();
            }
        }
    }

    /// The oldest append in flight is committed.
    pub(super) fn commit_one(&mut self) {
        let (id, batch) = self.in_flight.pop_front().expect("an append is in flight");
        let now = self.now();
        match batch {
            Ok(batch) => {
                let base = self.log.push(&batch);
                self.machine.appended(now, id, base);
            }
            Err(_) => self
                .machine
                .not_appended(now, id, ErrorCode::UNKNOWN_SERVER_ERROR),
        }
        if !self.auto_commit {
            self.settle();
        }
    }

    /// The oldest append in flight did not happen.
    pub(super) fn fail_one(&mut self, error: ErrorCode) {
        let (id, _) = self.in_flight.pop_front().expect("an append is in flight");
        let now = self.now();
        self.machine.not_appended(now, id, error);
        self.settle();
    }

    pub(super) fn commit_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.commit_one();
        }
        self.settle();
    }

    /// Time passes; whatever is due runs when it is.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.mono + Duration::from_millis(ms);
        while self.machine.next_deadline() <= end {
            let at = self.machine.next_deadline().max(self.mono);
            self.set_time(at);
            let now = self.now();
            self.machine.tick(now);
            self.settle();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, to: Duration) {
        self.wall_ms += (to - self.mono).as_millis() as i64;
        self.mono = to;
    }

    pub(super) fn answer(&self, id: ReplyId) -> Option<&Answer> {
        self.answers.get(&id)
    }

    pub(super) fn is_parked(&self, id: ReplyId) -> bool {
        !self.answers.contains_key(&id)
    }

    /// Sends JoinGroup.
    pub(super) fn send_join(&mut self, spec: &Spec, member_id: &str) -> ReplyId {
        self.random += 1;
        let protocols = spec
            .protocols
            .iter()
            .map(|(name, metadata)| JoinGroupRequestProtocol {
                name: (*name).into(),
                metadata: metadata.clone(),
            });
        let join = Join {
            request: JoinGroupRequest {
                group_id: spec.group.into(),
                session_timeout_ms: spec.session_ms,
                rebalance_timeout_ms: spec.rebalance_ms,
                member_id: member_id.into(),
                group_instance_id: spec.instance.map(KafkaString::from),
                protocol_type: spec.kind.into(),
                protocols: protocols.collect(),
                reason: None,
            },
            client: ClientInfo {
                api_version: spec.version,
                client_id: "client".into(),
                client_host: "/127.0.0.1".into(),
            },
            random: self.random,
        };
        self.run(|machine, now, to| machine.join(now, &join, to))
    }

    pub(super) fn joined(&self, id: ReplyId) -> JoinGroupResponse {
        match self.answer(id) {
            Some(Answer::Join(response)) => response.clone(),
            other => panic!("request {id} has no JoinGroup answer but {other:?}"),
        }
    }

    pub(super) fn join_error(&self, id: ReplyId) -> ErrorCode {
        self.joined(id).error_code
    }

    /// Gets a member id as a new dynamic member does, and joins with it.
    pub(super) fn start_member(&mut self, spec: &Spec) -> (KafkaString, ReplyId) {
        let first = self.send_join(spec, "");
        let response = self.joined(first);
        assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        let id = response.member_id;
        let second = self.send_join(spec, &id);
        (id, second)
    }

    pub(super) fn send_sync(
        &mut self,
        spec: &Spec,
        generation: i32,
        member_id: &str,
        assignments: &[(&str, &'static str)],
    ) -> ReplyId {
        let assignments = assignments
            .iter()
            .map(|(member, assignment)| SyncGroupRequestAssignment {
                member_id: (*member).into(),
                assignment: Bytes::from_static(assignment.as_bytes()),
            });
        let request = SyncGroupRequest {
            group_id: spec.group.into(),
            generation_id: generation,
            member_id: member_id.into(),
            group_instance_id: spec.instance.map(KafkaString::from),
            protocol_type: Some(spec.kind.into()),
            protocol_name: None,
            assignments: assignments.collect(),
        };
        self.run(|machine, now, to| machine.sync(now, &request, to))
    }

    pub(super) fn synced(&self, id: ReplyId) -> SyncGroupResponse {
        match self.answer(id) {
            Some(Answer::Sync(response)) => response.clone(),
            other => panic!("request {id} has no SyncGroup answer but {other:?}"),
        }
    }

    pub(super) fn heartbeat(&mut self, spec: &Spec, generation: i32, member_id: &str) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: spec.group.into(),
            generation_id: generation,
            member_id: member_id.into(),
            group_instance_id: spec.instance.map(KafkaString::from),
        };
        let now = self.now();
        let error = self.machine.heartbeat(now, &request);
        self.settle();
        error
    }

    pub(super) fn send_leave(&mut self, members: &[(&str, Option<&str>)]) -> ReplyId {
        let members = members.iter().map(|(id, instance)| MemberIdentity {
            member_id: (*id).into(),
            group_instance_id: instance.map(KafkaString::from),
            reason: Some("test".into()),
        });
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: members.collect(),
            ..Default::default()
        };
        self.run(|machine, now, to| machine.leave(now, &request, to))
    }

    pub(super) fn left(&self, id: ReplyId) -> LeaveGroupResponse {
        match self.answer(id) {
            Some(Answer::Leave(response)) => response.clone(),
            other => panic!("request {id} has no LeaveGroup answer but {other:?}"),
        }
    }

    /// A stable group of that many dynamic members; the first one leads. Assigns "a0", "a1" and so on.
    pub(super) fn stable_group(&mut self, spec: &Spec, members: usize) -> (Vec<KafkaString>, i32) {
        const ASSIGNMENTS: [&str; 4] = ["a0", "a1", "a2", "a3"];
        let started: Vec<_> = (0..members).map(|_| self.start_member(spec)).collect();
        self.advance(self.limits.initial_rebalance_delay.as_millis() as u64 * 2);
        let leader = self.joined(started[0].1).leader;
        let generation = self.joined(started[0].1).generation_id;
        let mut ids: Vec<_> = started.into_iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| *id != leader);
        let assignments: Vec<_> = ids.iter().map(KafkaString::as_str).zip(ASSIGNMENTS).collect();
        for id in &ids {
            let all = if *id == leader { &assignments[..] } else { &[] };
            let sync = self.send_sync(spec, generation, id, all);
            assert_eq!(self.synced(sync).error_code, ErrorCode::NONE);
        }
        assert_eq!(self.state(), "Stable");
        (ids, generation)
    }

    pub(super) fn state(&self) -> String {
        self.machine
            .describe_group(0, &GROUP.into())
            .group_state
            .to_string()
    }

    pub(super) fn send_commit(&mut self, commit: &Commit) -> ReplyId {
        let request = OffsetCommitRequest {
            group_id: commit.group.into(),
            generation_id_or_member_epoch: commit.generation,
            member_id: commit.member.clone(),
            group_instance_id: commit.instance.clone(),
            retention_time_ms: commit.retention_ms,
            topics: vec![OffsetCommitRequestTopic {
                name: commit.topic.into(),
                topic_id: commit.topic_id,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: commit.partition,
                    committed_offset: commit.offset,
                    committed_leader_epoch: commit.epoch,
                    committed_metadata: commit.metadata.clone(),
                }],
            }],
        };
        let version = commit.version;
        self.run(|machine, now, to| machine.commit_offsets(now, version, &request, to))
    }

    pub(super) fn committed(&self, id: ReplyId) -> ErrorCode {
        match self.answer(id) {
            Some(Answer::OffsetCommit(response)) => response.topics[0].partitions[0].error_code,
            other => panic!("request {id} has no OffsetCommit answer but {other:?}"),
        }
    }

    /// Commits an offset as somebody who is no member.
    pub(super) fn commit_simple(&mut self, group: &'static str, partition: i32, offset: i64) {
        let id = self.send_commit(&Commit {
            group,
            partition,
            offset,
            ..Default::default()
        });
        assert_eq!(self.committed(id), ErrorCode::NONE);
    }

    /// Commits an offset as a member.
    pub(super) fn commit_simple_as(&mut self, member: &str, generation: i32, offset: i64) {
        let id = self.send_commit(&Commit {
            member: member.into(),
            generation,
            offset,
            ..Default::default()
        });
        assert_eq!(self.committed(id), ErrorCode::NONE);
    }

    /// The committed offset, -1 if there is none.
    pub(super) fn offset(&self, group: &str, topic: &str, partition: i32) -> i64 {
        let request = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.into(),
                partition_indexes: vec![partition],
                ..Default::default()
            }]),
            ..Default::default()
        };
        self.machine.offsets_of(&request).topics[0].partitions[0].committed_offset
    }
}

/// An offset to commit.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) version: i16,
    pub(super) group: &'static str,
    pub(super) member: KafkaString,
    pub(super) instance: Option<KafkaString>,
    pub(super) generation: i32,
    pub(super) topic: &'static str,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) metadata: Option<KafkaString>,
    pub(super) retention_ms: i64,
}

impl Default for Commit {
    fn default() -> Self {
        Self {
            version: 9,
            group: GROUP,
            member: KafkaString::default(),
            instance: None,
            generation: -1,
            topic: TOPIC,
            topic_id: Uuid::from_u128(7),
            partition: 0,
            offset: 1,
            epoch: -1,
            metadata: None,
            retention_ms: -1,
        }
    }
}
