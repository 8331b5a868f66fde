//! Batches that other implementations made. `kafka_python_*` come from kafka-python's own builder with the C codecs
//! behind it; the others hold the same records in shapes that brokers meet: snappy as one raw block (librdkafka), LZ4
//! with linked blocks and all checksums, gzip and zstd in two pieces.

use super::super::time_lookup::find_by_time;
use super::*;

const BATCHES: [(&str, &[u8]); 10] = [
    ("none", include_bytes!("golden/kafka_python_none.bin")),
    ("gzip", include_bytes!("golden/kafka_python_gzip.bin")),
    ("snappy", include_bytes!("golden/kafka_python_snappy.bin")),
    ("lz4", include_bytes!("golden/kafka_python_lz4.bin")),
    ("zstd", include_bytes!("golden/kafka_python_zstd.bin")),
    ("idempotent", include_bytes!("golden/kafka_python_idempotent.bin")),
    ("raw snappy", include_bytes!("golden/snappy_raw.bin")),
    ("linked lz4", include_bytes!("golden/lz4_linked_checksums.bin")),
    (
        "gzip in two members",
        include_bytes!("golden/gzip_two_members.bin"),
    ),
    ("zstd in two frames", include_bytes!("golden/zstd_two_frames.bin")),
];

/// The records that every golden batch holds.
fn expected() -> Vec<Owned> {
    let record = |i: usize| Owned {
        timestamp_ms: NOW_MS + (i as i64 * 37) % 100,
        key: match i {
            _ if i.is_multiple_of(3) => None,
            _ if i % 7 == 1 => Some(Vec::new()),
            _ => Some(format!("key-{i}").into_bytes()),
        },
        value: match i {
            _ if i % 5 == 4 => None,
            _ if i % 11 == 5 => Some(Vec::new()),
            _ => Some(format!("value-{i}-").repeat((i % 4 + 1) * 20).into_bytes()),
        },
        headers: match i % 2 {
            0 => Vec::new(),
            _ => vec![
                (b"dup".to_vec(), Some(b"1".to_vec())),
                (b"dup".to_vec(), None),
                ("\u{e9}".as_bytes().to_vec(), Some(Vec::new())),
            ],
        },
    };
    (0..40).map(record).collect()
}

#[test]
fn batches_of_other_implementations_pass_unchanged_and_read_back() {
    for (name, golden) in BATCHES {
        let mut bytes = golden.to_vec();
        let validated =
            validate(&mut bytes, &lenient(), NOW_MS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bytes, golden, "{name}: no byte may change");
        assert_eq!(validated.record_count, 40, "{name}");
        assert_eq!(validated.max_timestamp_ms, NOW_MS + 99, "{name}");
        assert_eq!(validated.log_append_time_ms, -1, "{name}");
        assert_eq!(read_all(&bytes).expect(name), expected(), "{name}");
    }
}

#[test]
fn the_sequence_of_a_producer_wraps_after_the_greatest_integer() {
    let mut bytes = include_bytes!("golden/kafka_python_idempotent.bin").to_vec();
    let producer = validate(&mut bytes, &lenient(), NOW_MS)
        .expect("valid")
        .producer
        .expect("has a producer id");
    let fields = ProducerFields {
        id: 4711,
        epoch: 3,
        base_sequence: 2_147_483_640,
        last_sequence: 31,
    };
    assert_eq!(producer, fields);
}

#[test]
fn a_time_is_found_inside_every_kind_of_batch() {
    for (name, golden) in BATCHES {
        let mut bytes = golden.to_vec();
        stamp(&mut bytes, 1000, 7).expect(name);
        let batch = BatchView::parse(&bytes).expect(name);
        for timestamp_ms in NOW_MS - 1..=NOW_MS + 100 {
            let found = find_by_time(&batch, timestamp_ms, 0).expect(name);
            let first = expected()
                .iter()
                .position(|record| record.timestamp_ms >= timestamp_ms);
            assert_eq!(
                found.map(|found| found.offset),
                first.map(|index| 1000 + index as i64),
                "{name}"
            );
        }
    }
}
