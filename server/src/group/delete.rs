//! DeleteGroups.

use super::classic::GroupState;
use super::machine::{Machine, Now};
use super::pending::{Answer, ReplyId, Then};
use super::record::StateRecord;
use crate::kafka::api::delete_groups::DeletableGroupResult;
use crate::kafka::wire::{ErrorCode, KafkaString};

impl Machine {
    /// Removes empty groups with their offsets. The answer waits until that is in the log.
    pub fn delete_groups(&mut self, now: Now, ids: &[KafkaString], to: ReplyId) {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let error = self.check_delete(id).err().unwrap_or_default();
            if error == ErrorCode::NONE {
                self.push_tombstones(id, &mut records);
            }
            results.push(DeletableGroupResult {
                group_id: id.clone(),
                error_code: error,
            });
        }
        if records.is_empty() {
            self.reply(to, Answer::DeleteGroups(results));
        } else {
            let answer = Answer::DeleteGroups(results);
            self.append(now, records, Then::Reply { to, answer });
        }
    }

    fn check_delete(&self, id: &str) -> Result<(), ErrorCode> {
        match self.group(id) {
            Some(group) if group.state != GroupState::Empty => Err(ErrorCode::NON_EMPTY_GROUP),
            None if self.durable.group(id).is_none() => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            _ => Ok(()),
        }
    }

    fn push_tombstones(&mut self, id: &KafkaString, records: &mut Vec<StateRecord>) {
        if let Some(durable) = self.durable.group(id) {
            for (topic, partitions) in &durable.offsets {
                let partitions = partitions.keys();
                records.extend(partitions.map(|index| StateRecord::offset_tombstone(id, topic, *index)));
            }
        }
        let in_flight = self.commits_in_flight().filter(|(key, _)| key.group == *id);
        records
            .extend(in_flight.map(|(key, _)| StateRecord::offset_tombstone(id, &key.topic, key.partition)));
        self.push_group_tombstone(id, records);
    }

    /// Removes the metadata of a group.
    pub(super) fn push_group_tombstone(&mut self, id: &KafkaString, records: &mut Vec<StateRecord>) {
        self.hold_group(id);
        records.push(StateRecord::Group {
            group: id.clone(),
            value: None,
        });
    }
}
