//! Validation, stamping and time lookup of record batches, in bytes per second of what the client sent.

use std::hint::black_box;

use chronik_server::kafka::record::{
    BatchBuilder, BatchView, Codec, TimestampType, ValidationRules, stamp, time_lookup::find_by_time,
    validate,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW_MS: i64 = 1_700_000_000_000;

fn rules() -> ValidationRules {
    ValidationRules {
        max_message_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        key_required: false,
        zstd_allowed: true,
    }
}

/// A batch of records whose values are half random, so that codecs have something to do.
fn batch(codec: Codec, records: usize, value_len: usize) -> bytes::BytesMut {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut builder = BatchBuilder::new(codec);
    for _ in 0..records {
        let value: Vec<u8> = (0..value_len)
            .map(|i| if i % 2 == 0 { rng.u8(..) } else { b'x' })
            .collect();
        builder.push(NOW_MS, None, Some(&value));
    }
    builder.build().expect("the batch fits")
}

fn validate_and_stamp(c: &mut Criterion) {
    let mut group = c.benchmark_group("validate_and_stamp");
    for (records, value_len) in [(1, 1024), (64, 1024), (1000, 1024), (1000, 100), (10_000, 100)] {
        let mut bytes = batch(Codec::None, records, value_len);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("none/{records}x{value_len}"), |b| {
            b.iter(|| {
                bytes[..8].fill(0);
                validate(black_box(&mut bytes), &rules(), NOW_MS).expect("valid");
                stamp(black_box(&mut bytes), 1_000_000, 3).expect("whole")
            });
        });
    }
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut bytes = batch(codec, 64, 1024);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{codec:?}/64x1024").to_lowercase(), |b| {
            b.iter(|| {
                bytes[..8].fill(0);
                validate(black_box(&mut bytes), &rules(), NOW_MS).expect("valid")
            });
        });
    }
    group.finish();
}

fn time_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("time_lookup");
    for codec in [Codec::None, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        (0..1000).for_each(|i| builder.push(NOW_MS + i, None, Some(&[0; 100])));
        let bytes = builder.build().expect("the batch fits");
        group.bench_function(format!("{codec:?}/last of 1000").to_lowercase(), |b| {
            let batch = BatchView::parse(&bytes).expect("a batch");
            b.iter(|| find_by_time(black_box(&batch), NOW_MS + 999, 0).expect("readable"));
        });
    }
    group.finish();
}

criterion_group!(benches, validate_and_stamp, time_lookup);
criterion_main!(benches);
