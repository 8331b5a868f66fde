//! Keeping the log short: when most of it is superseded, the state is written anew at its end, and the rest removed.
//!
//! While that goes on, the group coordinator works as always. A record whose key has a newer one on its way into the log is
//! left out, because it would come behind that one. If such an append fails, what was left out stands only in the part of
//! the log that was to be removed, so that the snapshot is given up. The part that is removed ends where the state had been
//! applied when the snapshot began: everything that changed later is behind that point.

use super::durable::DurableGroup;
use super::machine::{Machine, Now};
use super::pending::Then;
use super::record::StateRecord;
use crate::kafka::wire::KafkaString;
use std::sync::Arc;

/// A record of the state, by its key: a group, and in it the metadata or an offset, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    group: KafkaString,
    /// Topic and partition; `None` is the group's metadata.
    offset: Option<(KafkaString, i32)>,
}

impl Place {
    fn of(record: &StateRecord) -> Self {
        match record {
            StateRecord::Offset { key, .. } => Self {
                group: key.group.clone(),
                offset: Some((key.topic.clone(), key.partition)),
            },
            StateRecord::Group { group, .. } => Self {
                group: group.clone(),
                offset: None,
            },
        }
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The log may be removed up to here when the snapshot is complete.
    cut: i64,
    /// Bytes of the log before the cut.
    cut_bytes: u64,
    /// Where the next chunk starts.
    next: Place,
    /// The last chunk is on its way.
    last_chunk_sent: bool,
}

impl Machine {
    /// Starts a snapshot if the log has grown well past its live state.
    pub(super) fn consider_snapshot(&mut self, now: Now) {
        let worth = self
            .limits
            .compact_ratio
            .saturating_mul(self.durable.live_bytes());
        if self.snapshot.is_some() || self.log_bytes <= worth.max(self.limits.compact_min_bytes) {
            return;
        }
        log::info!(
            "event=group_snapshot_started log_bytes={} live_bytes={}",
            self.log_bytes,
            self.durable.live_bytes()
        );
        self.snapshot = Some(Snapshot {
            cut: self.applied_end,
            cut_bytes: self.log_bytes,
            next: Place::default(),
            last_chunk_sent: false,
        });
        self.send_snapshot_chunk(now);
    }

    /// A chunk is in the log: sends the next one, or removes what the snapshot replaced.
    pub(super) fn snapshot_chunk_applied(&mut self, now: Now) {
        match self.snapshot.take() {
            Some(done) if done.last_chunk_sent => {
                log::info!(
                    "event=group_snapshot_done cut={} cut_bytes={}",
                    done.cut,
                    done.cut_bytes
                );
                self.log_bytes = self.log_bytes.saturating_sub(done.cut_bytes);
                self.delete_log_before(done.cut);
            }
            Some(snapshot) => {
                self.snapshot = Some(snapshot);
                self.send_snapshot_chunk(now);
            }
            // It was given up while the chunk was on its way.
            None => {}
        }
    }

    /// Gives the snapshot up. Another one starts after the next commit.
    pub(super) fn abandon_snapshot(&mut self) {
        if self.snapshot.take().is_some() {
            log::warn!("event=group_snapshot_abandoned");
        }
    }

    fn send_snapshot_chunk(&mut self, now: Now) {
        let Some(mut snapshot) = self.snapshot.take() else {
            return;
        };
        let (records, next) = self.snapshot_chunk(&snapshot.next);
        snapshot.last_chunk_sent = next.is_none();
        snapshot.next = next.unwrap_or_default();
        self.snapshot = Some(snapshot);
        if records.is_empty() {
            // Everything of the chunk has a newer record on its way.
            self.snapshot_chunk_applied(now);
        } else {
            self.append(now, records, Then::Snapshot);
        }
    }

    /// The records of the state from a place on, as many as fit a batch, and the place after them.
    fn snapshot_chunk(&self, from: &Place) -> (Vec<StateRecord>, Option<Place>) {
        let (mut records, mut size) = (Vec::new(), 0);
        for (id, group) in self.durable.groups_from(&from.group) {
            for record in records_of(id, group) {
                let place = Place::of(&record);
                // The state may have changed since the last chunk: the place tells what was written, a count would not.
                if place < *from {
                    continue;
                }
                size += record.size();
                if size > self.limits.max_batch_bytes && !records.is_empty() {
                    return (records, Some(place));
                }
                if !self.is_in_flight(&record) {
                    records.push(record);
                }
            }
        }
        (records, None)
    }

    fn is_in_flight(&self, record: &StateRecord) -> bool {
        let mut records = self.pending.iter().flat_map(|pending| &pending.records);
        records.any(|pending| pending.same_key(record))
    }
}

/// The records that make up a group.
fn records_of<'a>(id: &'a KafkaString, group: &'a DurableGroup) -> impl Iterator<Item = StateRecord> + 'a {
    let metadata = group.metadata.iter().map(|value| StateRecord::Group {
        group: id.clone(),
        value: Some(Arc::clone(value)),
    });
    let offsets = group.offsets.iter().flat_map(move |(topic, partitions)| {
        let partitions = partitions.iter();
        partitions.map(move |(index, value)| StateRecord::offset(id, topic, *index, value.clone()))
    });
    metadata.chain(offsets)
}
