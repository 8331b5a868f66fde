//! Tests of the record batch layer, by what they hold it against.

use std::ops::Range;

use super::compression::DecompressLimits;
use super::*;

mod bombs;
mod differential;
mod golden;
mod properties;
mod rules;

/// The wall clock of the tests, in milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;

/// A record with everything owned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Rules under which every well formed batch passes.
fn lenient() -> ValidationRules {
    ValidationRules {
        max_message_bytes: 1 << 30,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        key_required: false,
        zstd_allowed: true,
    }
}

/// Runs `case` with a generator whose seed is printed, and taken from `CHRONIK_TEST_SEED` if that is set.
fn seeded(case: impl Fn(&mut fastrand::Rng)) {
    let seed = std::env::var("CHRONIK_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("CHRONIK_TEST_SEED={seed}");
    case(&mut fastrand::Rng::with_seed(seed));
}

fn random_bytes(rng: &mut fastrand::Rng, len: Range<usize>) -> Vec<u8> {
    let len = rng.usize(len);
    // A small alphabet, so that the codecs find something to compress.
    (0..len).map(|_| rng.u8(b'a'..b'g')).collect()
}

fn random_nullable(rng: &mut fastrand::Rng, len: Range<usize>) -> Option<Vec<u8>> {
    (rng.u8(..10) > 1).then(|| random_bytes(rng, len))
}

fn random_records(rng: &mut fastrand::Rng, count: usize) -> Vec<Owned> {
    let record = |rng: &mut fastrand::Rng| Owned {
        timestamp_ms: if rng.u8(..20) == 0 {
            -1
        } else {
            NOW_MS + rng.i64(-5000..5000)
        },
        key: random_nullable(rng, 0..20),
        value: random_nullable(rng, 0..300),
        headers: (0..rng.usize(..3))
            .map(|_| (random_bytes(rng, 0..6), random_nullable(rng, 0..9)))
            .collect(),
    };
    (0..count).map(|_| record(rng)).collect()
}

fn build(builder: BatchBuilder, records: &[Owned]) -> bytes::BytesMut {
    let mut builder = builder;
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
            .collect();
        builder.push_with_headers(
            record.timestamp_ms,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    builder.build().expect("the records of a test fit into a batch")
}

fn read_all(bytes: &[u8]) -> Result<Vec<Owned>, RecordError> {
    let batch = BatchView::parse(bytes)?;
    let mut expanded = Vec::new();
    let records = Records::open(&batch, DecompressLimits::STORED, &mut expanded)?;
    let mut all = Vec::new();
    for (index, record) in records.enumerate() {
        let record = record?;
        assert_eq!(
            record.offset,
            batch.base_offset() + index as i64,
            "offsets count from the base offset"
        );
        all.push(Owned {
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers()
                .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        });
    }
    Ok(all)
}

/// Makes the CRC of a changed batch right again.
fn renew_crc(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}
