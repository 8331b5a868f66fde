//! The produce path allocates nothing per record: counted, in a binary of its own, by a counting allocator.

use allocation_counter::measure;
use chronik_server::kafka::record::{
    BatchBuilder, BatchView, Codec, TimestampType, ValidationRules, stamp, time_lookup::find_by_time,
    validate,
};

const NOW_MS: i64 = 1_700_000_000_000;

fn rules() -> ValidationRules {
    ValidationRules {
        max_message_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 1000,
        key_required: true,
        zstd_allowed: true,
    }
}

fn batch(codec: Codec, records: usize) -> bytes::BytesMut {
    let mut builder = BatchBuilder::new(codec).producer(1, 0, 0);
    for index in 0..records {
        let value = [index as u8; 100];
        builder.push_with_headers(
            NOW_MS,
            Some(b"key"),
            Some(&value),
            &[(b"name", Some(b"value")), (b"name", None)],
        );
    }
    builder.build().expect("the batch fits")
}

/// The allocations of validating, stamping and looking up a time in one batch.
fn allocations(codec: Codec, records: usize, rules: &ValidationRules) -> u64 {
    let mut bytes = batch(codec, records);
    let counted = measure(|| {
        validate(&mut bytes, rules, NOW_MS).expect("valid");
        stamp(&mut bytes, 1_000_000, 3).expect("whole");
        let batch = BatchView::parse(&bytes).expect("a batch");
        assert!(
            find_by_time(&batch, NOW_MS, 1_000_000 + records as i64 - 1)
                .expect("readable")
                .is_some()
        );
    });
    counted.count_total
}

#[test]
fn a_plain_batch_of_a_thousand_records_is_validated_and_stamped_without_any_allocation() {
    assert_eq!(allocations(Codec::None, 1000, &rules()), 0);
    let append_time = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    assert_eq!(allocations(Codec::None, 1000, &append_time), 0);
}

#[test]
fn a_compressed_batch_allocates_the_same_for_ten_records_and_for_ten_thousand() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        // The first run makes what the thread keeps for all later ones.
        allocations(codec, 10_000, &rules());
        let (few, many) = (
            allocations(codec, 10, &rules()),
            allocations(codec, 10_000, &rules()),
        );
        assert!(
            many <= few + 2 * 40,
            "{codec:?}: {few} allocations for 10 records, {many} for 10000"
        );
        assert!(few < 40, "{codec:?}: {few} allocations for 10 records");
    }
}
