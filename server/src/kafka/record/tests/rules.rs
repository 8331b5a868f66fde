//! Each rule of validation, with the error code that its breach is answered with.

use super::*;

fn three(builder: BatchBuilder) -> bytes::BytesMut {
    let mut builder = builder;
    for index in 0..3 {
        builder.push(NOW_MS + index, Some(b"key"), Some(b"value"));
    }
    builder.build().expect("fits")
}

fn plain() -> bytes::BytesMut {
    three(BatchBuilder::new(Codec::None))
}

/// A batch with one header field replaced and the CRC made right.
fn with_field<const N: usize>(at: usize, value: [u8; N]) -> bytes::BytesMut {
    let mut bytes = plain();
    bytes[at..at + N].copy_from_slice(&value);
    renew_crc(&mut bytes);
    bytes
}

fn refused(mut bytes: bytes::BytesMut, rules: &ValidationRules) -> RecordError {
    let before = bytes.clone();
    let error = validate(&mut bytes, rules, NOW_MS).expect_err("the batch is refused");
    assert_eq!(bytes, before, "a refused batch is unchanged");
    error
}

#[test]
fn each_breach_of_the_header_rules_has_its_code() {
    let twice = bytes::BytesMut::from([plain(), plain()].concat().as_slice());
    let junk_behind = bytes::BytesMut::from([plain().as_ref(), b"junk"].concat().as_slice());
    let cases = [
        ("magic 0", with_field(16, [0]), 87),
        ("magic 1", with_field(16, [1]), 87),
        ("magic 3", with_field(16, [3]), 87),
        ("two batches", twice, 87),
        ("bytes after the batch", junk_behind, 87),
        ("no bytes", bytes::BytesMut::new(), 87),
        ("base offset", with_field(0, 1_i64.to_be_bytes()), 87),
        ("negative base offset", with_field(0, (-1_i64).to_be_bytes()), 87),
        ("count 0", with_field(57, 0_i32.to_be_bytes()), 87),
        ("count -1", with_field(57, (-1_i32).to_be_bytes()), 87),
        ("count 4 of 3", with_field(57, 4_i32.to_be_bytes()), 87),
        ("count huge", with_field(57, i32::MAX.to_be_bytes()), 87),
        ("last offset delta", with_field(23, 7_i32.to_be_bytes()), 87),
        ("negative length", with_field(8, (-1_i32).to_be_bytes()), 87),
        ("length 48", with_field(8, 48_i32.to_be_bytes()), 87),
        ("length beyond the end", with_field(8, i32::MAX.to_be_bytes()), 87),
        ("control", three(BatchBuilder::new(Codec::None).control()), 87),
        ("delete horizon", with_field(21, 0x40_i16.to_be_bytes()), 87),
        (
            "transactional",
            three(BatchBuilder::new(Codec::None).transactional()),
            48,
        ),
        (
            "no sequence",
            three(BatchBuilder::new(Codec::None).producer(5, 0, -1)),
            87,
        ),
        (
            "no epoch",
            three(BatchBuilder::new(Codec::None).producer(5, -1, 0)),
            87,
        ),
        ("codec 5", with_field(22, [5]), 76),
        ("codec 7", with_field(22, [7]), 76),
        (
            "append time",
            three(BatchBuilder::new(Codec::None).timestamp_type(TimestampType::LogAppendTime)),
            32,
        ),
    ];
    for (name, bytes, code) in cases {
        let error = refused(bytes, &lenient());
        assert_eq!(error.code(), code, "{name}: {error}");
    }
}

#[test]
fn both_counts_raised_together_are_still_held_against_the_records() {
    for count in [2, 4] {
        let mut bytes = with_field(57, i32::to_be_bytes(count));
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        renew_crc(&mut bytes);
        assert_eq!(refused(bytes, &lenient()).code(), 87, "{count} declared, 3 there");
    }
}

#[test]
fn damage_is_told_from_nonsense() {
    let mut bytes = plain();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(refused(bytes, &lenient()).code(), 2);
}

#[test]
fn offsets_inside_the_batch_must_count_from_zero() {
    let mut bytes = plain();
    // The second record: 1 length byte, attributes, timestamp delta, then its offset delta 1 as zig-zag 2.
    let first_len = 1 + usize::from(bytes[HEADER_LEN] >> 1);
    let at = HEADER_LEN + first_len + 3;
    assert_eq!(bytes[at], 2, "the test looks at the right byte");
    bytes[at] = 4;
    renew_crc(&mut bytes);
    assert_eq!(refused(bytes, &lenient()).code(), 87);
}

#[test]
fn zstd_needs_a_request_version_that_knows_it() {
    let rules = ValidationRules {
        zstd_allowed: false,
        ..lenient()
    };
    assert_eq!(refused(three(BatchBuilder::new(Codec::Zstd)), &rules).code(), 76);
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        validate(&mut three(BatchBuilder::new(codec)), &rules, NOW_MS).expect("older codecs pass");
    }
}

#[test]
fn the_size_limit_is_for_the_batch_as_sent() {
    let len = plain().len() as u64;
    let rules = ValidationRules {
        max_message_bytes: len,
        ..lenient()
    };
    validate(&mut plain(), &rules, NOW_MS).expect("the limit itself is allowed");
    let rules = ValidationRules {
        max_message_bytes: len - 1,
        ..rules
    };
    assert_eq!(refused(plain(), &rules).code(), 10);
}

#[test]
fn a_compacted_topic_names_the_records_without_a_key() {
    let rules = ValidationRules {
        key_required: true,
        ..lenient()
    };
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            builder.push(NOW_MS, key, None);
        }
        let error = refused(builder.build().expect("fits"), &rules);
        assert_eq!(error.code(), 87);
        assert_eq!(
            error.issues().iter().map(|issue| issue.index).collect::<Vec<_>>(),
            [1, 3]
        );
    }
}

#[test]
fn timestamps_out_of_range_are_named_and_a_missing_one_passes() {
    let rules = ValidationRules {
        timestamp_before_max_ms: 100,
        timestamp_after_max_ms: 10,
        ..lenient()
    };
    let mut builder = BatchBuilder::new(Codec::None);
    for timestamp in [
        NOW_MS - 100,
        NOW_MS - 101,
        -1,
        NOW_MS + 10,
        NOW_MS + 11,
        i64::MAX - 1,
    ] {
        builder.push(timestamp, None, None);
    }
    let error = refused(builder.build().expect("fits"), &rules);
    assert_eq!(error.code(), 32);
    assert_eq!(
        error.issues().iter().map(|issue| issue.index).collect::<Vec<_>>(),
        [1, 4, 5]
    );
    let append_time = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules
    };
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, None);
    validate(&mut builder.build().expect("fits"), &append_time, NOW_MS)
        .expect("the producer's time does not matter");
}

#[test]
fn the_issues_of_one_answer_are_bounded() {
    let rules = ValidationRules {
        key_required: true,
        ..lenient()
    };
    let mut builder = BatchBuilder::new(Codec::None);
    (0..10_000).for_each(|_| builder.push(NOW_MS, None, None));
    assert_eq!(refused(builder.build().expect("fits"), &rules).issues().len(), 32);
}

#[test]
fn append_time_is_written_once_under_a_new_crc() {
    let rules = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..lenient()
    };
    for codec in Codec::ALL {
        let before = three(BatchBuilder::new(codec));
        let mut bytes = before.clone();
        let facts = validate(&mut bytes, &rules, NOW_MS + 5555).expect("valid");
        assert_eq!(
            (facts.max_timestamp_ms, facts.log_append_time_ms),
            (NOW_MS + 5555, NOW_MS + 5555)
        );
        let batch = BatchView::parse(&bytes).expect("a batch");
        assert_eq!(
            (batch.timestamp_type(), batch.max_timestamp_ms()),
            (TimestampType::LogAppendTime, NOW_MS + 5555)
        );
        assert_eq!(batch.crc(), batch.computed_crc());
        assert_eq!(
            (&bytes[23..35], &bytes[43..]),
            (&before[23..35], &before[43..]),
            "the rest is as sent"
        );
        assert!(
            read_all(&bytes)
                .expect("readable")
                .iter()
                .all(|record| record.timestamp_ms == NOW_MS + 5555)
        );
    }
}

#[test]
fn a_wrong_greatest_timestamp_is_set_right() {
    let mut bytes = with_field(35, (-1_i64).to_be_bytes());
    let facts = validate(&mut bytes, &lenient(), NOW_MS).expect("valid");
    assert_eq!(facts.max_timestamp_ms, NOW_MS + 2);
    assert_eq!(
        bytes,
        plain(),
        "the header tells what the records hold, under the CRC that goes with it"
    );
}

#[test]
fn numbers_survive_their_variable_length() {
    use super::super::input::SliceInput;
    use super::super::varint::{MAX_VARINT_LEN, MAX_VARLONG_LEN, len_i64, read_i32, read_i64, write_i64};
    let edges = (0..64).flat_map(|bit| [(1_i64 << bit).wrapping_sub(1), 1 << bit, -(1_i64 << bit.min(62))]);
    for value in edges.chain([i64::MAX, i64::MIN, 0, -1]) {
        let mut out = Vec::new();
        write_i64(&mut out, value);
        assert_eq!(out.len(), len_i64(value));
        assert!(out.len() <= MAX_VARLONG_LEN);
        assert_eq!(read_i64(&mut SliceInput::new(&out)), Ok(value));
        assert_eq!(
            read_i32(&mut SliceInput::new(&out)).ok(),
            i32::try_from(value).ok()
        );
        (0..out.len()).for_each(|cut| assert!(read_i64(&mut SliceInput::new(&out[..cut])).is_err()));
    }
    let (long, longer) = ([0x80; MAX_VARINT_LEN], [0xff; MAX_VARLONG_LEN]);
    assert!(
        read_i32(&mut SliceInput::new(&long)).is_err() && read_i64(&mut SliceInput::new(&longer)).is_err()
    );
}
