//! Expiry of committed offsets (KIP-211).
//!
//! The leader decides by its wall clock and writes tombstones; a replay does what they say and reads no clock.

use super::classic::{Group, GroupState};
use super::durable::DurableGroup;
use super::machine::{Machine, Now};
use super::record::{OffsetCommitValue, StateRecord};
use super::subscription::CONSUMER_PROTOCOL_TYPE;
use crate::kafka::wire::KafkaString;

/// From when on the retention of a group's offsets counts.
#[derive(Clone, Copy)]
enum Since {
    /// From the commit of each.
    Commit,
    /// From the moment that the group became empty; from the commit where an old record does not tell.
    Empty(Option<i64>),
    /// The offsets are in use.
    Never,
}

impl Machine {
    /// Removes offsets that nobody used for longer than the retention time, and groups that nothing is left of.
    pub(super) fn expire_offsets(&mut self, now: Now) {
        let mut records = Vec::new();
        let mut empty = Vec::new();
        for (id, durable) in self.durable.groups() {
            if self.expired_offsets(now, id, durable, &mut records) {
                empty.push(id.clone());
            }
        }
        for id in empty {
            self.push_group_tombstone(&id, &mut records);
        }
        if !records.is_empty() {
            log::info!("event=group_offsets_expired records={}", records.len());
        }
        self.append_in_batches(now, records);
    }

    /// Pushes tombstones for the expired offsets of the group. True if the group itself is to go.
    fn expired_offsets(
        &self,
        now: Now,
        id: &KafkaString,
        durable: &DurableGroup,
        records: &mut Vec<StateRecord>,
    ) -> bool {
        let group = self.group(id);
        let since = since(group);
        let mut kept = self.commits_in_flight().any(|(key, _)| key.group == *id);
        for (topic, partitions) in &durable.offsets {
            let subscribed = group.is_some_and(|group| group.is_subscribed_to(topic));
            for (partition, value) in partitions {
                if !subscribed && self.is_expired(now, since, value) {
                    records.push(StateRecord::offset_tombstone(id, topic, *partition));
                } else {
                    kept = true;
                }
            }
        }
        let idle = group.is_some_and(Group::is_idle);
        !kept && idle && durable.metadata.is_some()
    }

    fn is_expired(&self, now: Now, since: Since, value: &OffsetCommitValue) -> bool {
        let base = match since {
            Since::Never => return false,
            // Old clients may give an offset its own time to live.
            _ if value.expire_timestamp != -1 => return now.wall_ms >= value.expire_timestamp,
            Since::Empty(Some(since)) => since,
            Since::Empty(None) | Since::Commit => value.commit_timestamp,
        };
        now.wall_ms.saturating_sub(base) >= self.limits.offsets_retention_ms
    }
}

fn since(group: Option<&Group>) -> Since {
    let Some(group) = group else {
        return Since::Commit;
    };
    match (group.protocol_type.as_deref(), group.state) {
        (None, _) => Since::Commit,
        (Some(_), GroupState::Empty) => Since::Empty(group.state_since_ms),
        // Of consumers it is known which topics they use; the offsets of others may go.
        (Some(CONSUMER_PROTOCOL_TYPE), GroupState::Stable) if group.subscribed_topics.is_some() => {
            Since::Commit
        }
        _ => Since::Never,
    }
}
