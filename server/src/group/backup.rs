//! The copy of the coordinator's state in the object tier: the newest record of every key, as record batches.

use super::batch::{decode_batches, encode_batch};
use super::record::{BadRecord, StateRecord};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// The name of the metadata's backup.
pub const METADATA_BACKUP: &str = "metadata";
/// Records of one batch.
const BATCH_RECORDS: usize = 500;

/// The name of the backup of a partition of `__consumer_offsets`.
#[must_use]
pub fn offsets_backup(partition: u32) -> String {
    format!("offsets-{partition:05}")
}

/// The newest record of every key of a log.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    records: BTreeMap<Bytes, StateRecord>,
}

impl Newest {
    /// Takes in the records at and after offset `from`; returns the offset after the last one.
    ///
    /// # Errors
    /// They cannot be read as the coordinator's.
    pub fn add(&mut self, batches: &[u8], from: i64) -> Result<i64, BadRecord> {
        let mut failed = None;
        let next = decode_batches(batches, from, |record| match record.encode() {
            Ok((key, Some(_))) => {
                self.records.insert(key, record);
            }
            Ok((key, None)) => {
                self.records.remove(&key);
            }
            Err(error) => failed = Some(BadRecord(error.to_string())),
        })?;
        failed.map_or(Ok(next), Err)
    }

    /// The records as `change` leaves them, packed into batches that all begin at offset 0. Those that `change` gives
    /// nothing for are left out.
    ///
    /// # Errors
    /// A record is larger than a batch can be.
    pub fn pack(
        &self,
        wall_ms: i64,
        change: impl FnMut(StateRecord) -> Option<StateRecord>,
    ) -> Result<BytesMut, BadRecord> {
        let kept: Vec<StateRecord> = self.records.values().cloned().filter_map(change).collect();
        let mut out = BytesMut::new();
        for records in kept.chunks(BATCH_RECORDS) {
            let batch = encode_batch(wall_ms, records);
            let batch = batch.map_err(|code| BadRecord(format!("its records cannot be packed: {code:?}")))?;
            out.extend_from_slice(&batch);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::record::OffsetCommitValue;

    fn commit(topic: &str, offset: i64) -> StateRecord {
        let value = OffsetCommitValue {
            offset,
            leader_epoch: 1,
            metadata: "".into(),
            commit_timestamp: 1,
            expire_timestamp: -1,
            topic_id: crate::kafka::wire::Uuid::ZERO,
        };
        StateRecord::offset(&"g".into(), &topic.into(), 0, value)
    }

    #[test]
    fn the_newest_record_of_each_key_is_kept_and_removed_keys_are_not() {
        let records = [
            commit("a", 1),
            commit("b", 1),
            commit("a", 2),
            StateRecord::offset_tombstone(&"g".into(), &"b".into(), 0),
            commit("c", 3),
        ];
        let mut newest = Newest::default();
        for record in records {
            newest.add(&encode_batch(1, &[record]).unwrap(), 0).unwrap();
        }
        let kept = newest.pack(5, Some).unwrap();
        let mut seen = Vec::new();
        decode_batches(&kept, 0, |record| seen.push(record)).unwrap();
        assert_eq!(seen, [commit("a", 2), commit("c", 3)]);
        // What is packed once more stays as it is.
        let mut again = Newest::default();
        assert_eq!(again.add(&kept, 0), Ok(2));
        assert_eq!(again.pack(5, Some).unwrap(), kept);
        assert!(again.pack(5, |_| None).unwrap().is_empty());
    }
}
