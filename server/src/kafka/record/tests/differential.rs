//! Held against the crate `kafka-protocol`, where that is right: it folds headers of one name into one, so that the
//! names are made distinct here.

use bytes::Bytes;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;

use super::*;

fn distinct_headers(records: &mut [Owned]) {
    for record in records {
        for (index, (name, _)) in record.headers.iter_mut().enumerate() {
            name.push(b'0' + index as u8);
        }
    }
}

fn to_other(index: usize, record: &Owned) -> other::Record {
    let name = |name: &[u8]| StrBytes::from_string(String::from_utf8(name.to_vec()).expect("ASCII"));
    other::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 9,
        producer_id: 12,
        producer_epoch: 1,
        timestamp_type: other::TimestampType::Creation,
        offset: 500 + index as i64,
        sequence: 77 + index as i32,
        timestamp: record.timestamp_ms,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (name(key), value.clone().map(Bytes::from)))
            .collect(),
    }
}

fn from_other(record: other::Record) -> Owned {
    let headers: IndexMap<_, _> = record.headers;
    Owned {
        timestamp_ms: record.timestamp,
        key: record.key.map(|key| key.to_vec()),
        value: record.value.map(|value| value.to_vec()),
        headers: headers
            .into_iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.map(|v| v.to_vec())))
            .collect(),
    }
}

#[test]
fn our_batches_read_the_same_in_the_other_implementation() {
    seeded(|rng| {
        for _ in 0..200 {
            let count = rng.usize(1..20);
            let mut records = random_records(rng, count);
            distinct_headers(&mut records);
            let mut bytes = build(BatchBuilder::new(Codec::None).producer(12, 1, 77), &records);
            stamp(&mut bytes, 500, 9).expect("whole batches");
            let theirs = other::RecordBatchDecoder::decode(&mut bytes.freeze()).expect("they can read it");
            let offsets: Vec<_> = theirs.records.iter().map(|record| record.offset).collect();
            assert_eq!(offsets, (500..500 + count as i64).collect::<Vec<_>>());
            assert_eq!(
                theirs.records.into_iter().map(from_other).collect::<Vec<_>>(),
                records
            );
        }
    });
}

#[test]
fn their_batches_pass_and_read_the_same_here() {
    seeded(|rng| {
        for _ in 0..200 {
            let count = rng.usize(1..20);
            let mut records = random_records(rng, count);
            distinct_headers(&mut records);
            let theirs: Vec<_> = records
                .iter()
                .enumerate()
                .map(|(index, record)| to_other(index, record))
                .collect();
            let options = other::RecordEncodeOptions {
                version: 2,
                compression: other::Compression::None,
            };
            let mut bytes = bytes::BytesMut::new();
            other::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).expect("they can write it");
            let batch = BatchView::parse(&bytes).expect("a batch");
            assert_eq!(
                (batch.base_offset(), batch.leader_epoch(), batch.producer_id()),
                (500, 9, 12)
            );
            assert_eq!(
                (batch.base_sequence(), batch.producer_epoch(), batch.size()),
                (77, 1, bytes.len())
            );
            bytes[..8].fill(0);
            validate(&mut bytes, &lenient(), NOW_MS).expect("it passes");
            assert_eq!(read_all(&bytes).expect("it reads"), records);
        }
    });
}
