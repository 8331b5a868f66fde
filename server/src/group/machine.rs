//! The deterministic state machine of one partition of `__consumer_offsets`.
//!
//! Events go in with the time at which they happen, actions come out of [`Machine::take_actions`]. The same events at the
//! same times give the same actions.

use super::batch::encode_batch;
use super::classic::Group;
use super::durable::DurableState;
use super::limits::GroupLimits;
use super::pending::{Action, Answer, AppendId, Pending, ReplyId, Then};
use super::record::{GroupMetadataValue, StateRecord};
use super::snapshot::Snapshot;
use crate::kafka::api::heartbeat::HeartbeatResponse;
use crate::kafka::api::join_group::JoinGroupResponse;
use crate::kafka::api::leave_group::LeaveGroupResponse;
use crate::kafka::api::offset_delete::OffsetDeleteResponse;
use crate::kafka::api::offset_fetch::OffsetFetchRequestGroup;
use crate::kafka::api::sync_group::SyncGroupResponse;
use crate::kafka::wire::{ErrorCode, KafkaString};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The time of an event.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time, for timeouts.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch, for what is written into records.
    pub wall_ms: i64,
}

/// What was read from the log before the machine starts.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What its records add up to.
    pub state: DurableState,
    /// How many bytes its batches have.
    pub log_bytes: u64,
    /// The offset after its last record.
    pub end: i64,
}

/// The state of one partition of `__consumer_offsets` on its leader.
#[derive(Debug)]
pub struct Machine {
    pub(super) limits: GroupLimits,
    pub(super) durable: DurableState,
    /// Every group with durable metadata, and those that are being joined.
    groups: HashMap<KafkaString, Box<Group>>,
    pub(super) pending: VecDeque<Pending>,
    next_append: AppendId,
    /// When groups have to be woken.
    wakes: BTreeSet<(Duration, KafkaString)>,
    pub(super) retention_at: Duration,
    /// The offset after the last record that was applied.
    pub(super) applied_end: i64,
    pub(super) log_bytes: u64,
    pub(super) snapshot: Option<Snapshot>,
    actions: Vec<Action>,
}

impl Machine {
    /// Starts with what the log says. The sessions of all members start anew.
    #[must_use]
    pub fn new(limits: GroupLimits, loaded: Loaded, now: Now) -> Self {
        let retention_at = now.mono + limits.retention_check_interval;
        let mut machine = Self {
            limits,
            durable: loaded.state,
            groups: HashMap::new(),
            pending: VecDeque::new(),
            next_append: 0,
            wakes: BTreeSet::new(),
            retention_at,
            applied_end: loaded.end,
            log_bytes: loaded.log_bytes,
            snapshot: None,
            actions: Vec::new(),
        };
        let known = machine.durable.groups();
        let known = known.filter_map(|(id, group)| Some((id.clone(), Arc::clone(group.metadata.as_ref()?))));
        for (id, metadata) in known.collect::<Vec<_>>() {
            machine.start_group(now, id, &metadata);
        }
        machine.consider_snapshot(now);
        machine
    }

    fn start_group(&mut self, now: Now, id: KafkaString, metadata: &GroupMetadataValue) {
        let mut group = Box::new(Group::from_record(id, metadata));
        for member in &metadata.members {
            group.touch(&member.member_id, now.mono);
        }
        if group.members.len() > self.limits.max_group_size {
            self.prepare_rebalance(now, &mut group, "the group is over its maximum size");
        }
        self.check_in(group);
    }

    /// The offset after the last record that was applied.
    #[must_use]
    pub const fn applied_end(&self) -> i64 {
        self.applied_end
    }

    /// What is to be done, in order.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The state that is committed and applied.
    #[must_use]
    pub const fn durable(&self) -> &DurableState {
        &self.durable
    }

    /// When [`tick`](Self::tick) is due.
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        let wake = self.wakes.first().map(|(at, _)| *at);
        wake.map_or(self.retention_at, |wake| wake.min(self.retention_at))
    }

    /// Runs what is due.
    pub fn tick(&mut self, now: Now) {
        while let Some((at, id)) = self.wakes.first().cloned() {
            if at > now.mono {
                break;
            }
            self.wakes.pop_first();
            if let Some(mut group) = self.groups.remove(&id) {
                group.indexed_wake = None;
                self.expire_group(now, &mut group);
                group.wake = group.next_deadline();
                self.check_in(group);
            }
        }
        if self.retention_at <= now.mono {
            self.retention_at = now.mono + self.limits.retention_check_interval;
            self.expire_offsets(now);
        }
    }

    /// The oldest append was committed, its records at `base_offset` and after.
    pub fn appended(&mut self, now: Now, id: AppendId, base_offset: i64) {
        let pending = self.next_outcome(id);
        for record in &pending.records {
            self.durable.apply(record);
        }
        self.applied_end = base_offset + pending.records.len() as i64;
        self.log_bytes += pending.bytes;
        self.release_groups(&pending);
        match pending.then {
            Then::Nothing => {}
            Then::Reply { to, answer } => self.reply(to, answer),
            Then::Assign {
                group,
                generation,
                assignments,
            } => self.assign(now, &group, generation, &assignments),
            Then::Snapshot => self.snapshot_chunk_applied(now),
        }
        self.answer_readers(pending.readers);
        self.consider_snapshot(now);
    }

    /// The oldest append is not in the log and never will be.
    pub fn not_appended(&mut self, now: Now, id: AppendId, error: ErrorCode) {
        let pending = self.next_outcome(id);
        log::warn!(
            "event=group_append_failed records={} error={error:?}",
            pending.records.len()
        );
        // What the snapshot left out because of this append is in the part of the log that it would remove.
        self.abandon_snapshot();
        self.release_groups(&pending);
        match pending.then {
            Then::Nothing | Then::Snapshot => {}
            Then::Reply { to, answer } => {
                self.reply(to, answer.failed(error));
            }
            Then::Assign {
                group, generation, ..
            } => self.assignment_failed(now, &group, generation, error),
        }
        self.answer_readers(pending.readers);
    }

    fn next_outcome(&mut self, id: AppendId) -> Pending {
        let pending = self.pending.pop_front();
        let pending = pending.filter(|pending| pending.id == id);
        // The shell reports every append once, in order.
        pending.expect("an outcome belongs to the oldest append")
    }

    /// Lets go of the groups whose metadata the append carried.
    fn release_groups(&mut self, pending: &Pending) {
        if matches!(pending.then, Then::Snapshot) {
            return;
        }
        for record in &pending.records {
            if let StateRecord::Group { group, .. } = record
                && let Some(mut group) = self.groups.remove(group)
            {
                group.appends_in_flight -= 1;
                self.check_in(group);
            }
        }
    }

    fn answer_readers(&mut self, readers: Vec<(ReplyId, OffsetFetchRequestGroup)>) {
        for (to, request) in readers {
            let answer = self.offsets_of(&request);
            self.reply(to, Answer::OffsetFetch(answer));
        }
    }

    /// Ends the machine: everybody who waits is told to look for the coordinator again.
    #[must_use]
    pub fn unload(mut self, error: ErrorCode) -> Vec<Action> {
        for pending in std::mem::take(&mut self.pending) {
            if let Then::Reply { to, answer } = pending.then {
                self.reply(to, answer.failed(error));
            }
            for (to, _) in pending.readers {
                self.reply(to, Answer::Refused(error));
            }
        }
        for (_, mut group) in std::mem::take(&mut self.groups) {
            for id in group.members.keys().cloned().collect::<Vec<_>>() {
                self.fail_member(&mut group, &id, error);
            }
        }
        self.take_actions()
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, to: ReplyId, answer: Answer) {
        self.actions.push(Action::Reply { to, answer });
    }

    /// The id of the next append.
    pub(super) const fn next_append(&self) -> AppendId {
        self.next_append
    }

    /// Answers a request behind the append that was made since `mark`; at once if none was.
    pub(super) fn reply_behind(&mut self, mark: AppendId, to: ReplyId, answer: Answer) {
        let last = self.pending.back_mut().filter(|last| last.id >= mark);
        match last {
            Some(last) if matches!(last.then, Then::Nothing) => last.then = Then::Reply { to, answer },
            _ => self.reply(to, answer),
        }
    }

    /// Takes the group out to work on it; [`check_in`](Self::check_in) brings it back. A group that only committed offsets
    /// is an empty one.
    pub(super) fn check_out(&mut self, id: &str) -> Option<Box<Group>> {
        if let Some(group) = self.groups.remove(id) {
            return Some(group);
        }
        self.durable.group(id).map(|_| Box::new(Group::new(id.into())))
    }

    /// The group, if it is more than committed offsets.
    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id).map(Box::as_ref)
    }

    /// Every group that is more than committed offsets.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values().map(Box::as_ref)
    }

    /// Puts the group back, unless nothing of it is left.
    pub(super) fn check_in(&mut self, mut group: Box<Group>) {
        let durable = self.durable.group(&group.id);
        let forget = group.is_idle() && durable.is_none_or(|group| group.metadata.is_none());
        let wake = group.wake.filter(|_| !forget);
        if group.indexed_wake != wake {
            if let Some(old) = group.indexed_wake.take() {
                self.wakes.remove(&(old, group.id.clone()));
            }
            if let Some(wake) = wake {
                self.wakes.insert((wake, group.id.clone()));
            }
            group.indexed_wake = wake;
        }
        if !forget {
            self.groups.insert(group.id.clone(), group);
        }
    }

    /// The newest metadata of the group that is in the log or on its way.
    pub(super) fn last_metadata(&self, id: &str) -> Option<Arc<GroupMetadataValue>> {
        let records = self.pending.iter().flat_map(|pending| &pending.records).rev();
        let newest = records.into_iter().find_map(|record| match record {
            StateRecord::Group { group, value } if group == id => Some(value.clone()),
            _ => None,
        });
        newest.unwrap_or_else(|| self.durable.group(id)?.metadata.clone())
    }

    /// Sends records to the log, as one batch.
    pub(super) fn append(&mut self, now: Now, records: Vec<StateRecord>, then: Then) {
        let batch = encode_batch(now.wall_ms, &records);
        let id = self.next_append;
        self.next_append += 1;
        self.pending.push_back(Pending {
            id,
            records,
            bytes: batch.as_ref().map_or(0, |batch| batch.len() as u64),
            then,
            readers: Vec::new(),
        });
        self.actions.push(Action::Append { id, batch });
    }

    /// Sends the metadata of a group, that is checked out, to the log.
    pub(super) fn append_group(
        &mut self,
        now: Now,
        group: &mut Group,
        value: GroupMetadataValue,
        then: Then,
    ) {
        group.appends_in_flight += 1;
        let record = StateRecord::Group {
            group: group.id.clone(),
            value: Some(Arc::new(value)),
        };
        self.append(now, vec![record], then);
    }

    /// Removes the log before the offset.
    pub(super) fn delete_log_before(&mut self, offset: i64) {
        self.actions.push(Action::DeleteBefore(offset));
    }

    /// Notes that the removal of a group is on its way into the log.
    pub(super) fn hold_group(&mut self, id: &str) {
        if let Some(group) = self.groups.get_mut(id) {
            group.appends_in_flight += 1;
        }
    }
}

impl Answer {
    /// The answer after the records that it depends on were not appended.
    pub(super) fn failed(self, error: ErrorCode) -> Self {
        match self {
            Self::Join(_) => Self::Join(JoinGroupResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::Sync(_) => Self::Sync(SyncGroupResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::Heartbeat(_) => Self::Heartbeat(HeartbeatResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::Leave(_) => Self::Leave(LeaveGroupResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::OffsetCommit(mut response) => {
                let topics = response.topics.iter_mut();
                for partition in topics.flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = error;
                }
                Self::OffsetCommit(response)
            }
            Self::OffsetFetch(_) | Self::Refused(_) => Self::Refused(error),
            Self::OffsetDelete(_) => Self::OffsetDelete(OffsetDeleteResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::DeleteGroups(mut results) => {
                for result in &mut results {
                    result.error_code = error;
                }
                Self::DeleteGroups(results)
            }
            Self::TopicsDeleted(_) => Self::TopicsDeleted(error),
        }
    }
}
