//! Random batches: round trips, and every kind of damage.

use super::super::batch::{Batches, HEADER_LEN};
use super::super::time_lookup::find_by_time;
use super::*;

fn random_batch(rng: &mut fastrand::Rng, codec: Codec, most: usize) -> (Vec<Owned>, bytes::BytesMut) {
    let count = rng.usize(1..=most);
    let records = random_records(rng, count);
    let builder = match rng.bool() {
        true => BatchBuilder::new(codec).producer(rng.i64(0..), rng.i16(0..), rng.i32(0..)),
        false => BatchBuilder::new(codec),
    };
    let bytes = build(builder, &records);
    (records, bytes)
}

#[test]
fn what_is_built_passes_unchanged_and_reads_back() {
    seeded(|rng| {
        for codec in Codec::ALL {
            for most in [1, 3, 50, 800] {
                let (records, bytes) = random_batch(rng, codec, most);
                let mut validated = bytes.clone();
                let facts = validate(&mut validated, &lenient(), NOW_MS).expect("a built batch is valid");
                assert_eq!(validated, bytes);
                assert_eq!(facts.record_count as usize, records.len());
                assert_eq!(
                    facts.max_timestamp_ms,
                    records.iter().map(|r| r.timestamp_ms).max().expect("not empty")
                );
                assert_eq!(read_all(&bytes).expect("readable"), records);
            }
        }
    });
}

#[test]
fn every_truncation_is_refused() {
    seeded(|rng| {
        for codec in Codec::ALL {
            let (_, bytes) = random_batch(rng, codec, 6);
            for len in 0..bytes.len() {
                let mut cut = bytes[..len].to_vec();
                let refused =
                    validate(&mut cut, &lenient(), NOW_MS).expect_err("a truncated batch is refused");
                assert!(
                    matches!(refused, RecordError::Invalid(_)),
                    "{len} of {}: {refused:?}",
                    bytes.len()
                );
                assert_eq!(Batches::new(&cut).filter(Result::is_ok).count(), 0);
            }
        }
    });
}

#[test]
fn every_truncation_of_the_records_under_a_right_crc_is_refused() {
    seeded(|rng| {
        for codec in Codec::ALL {
            let (_, bytes) = random_batch(rng, codec, 6);
            for len in HEADER_LEN..bytes.len() {
                let mut cut = bytes[..len].to_vec();
                cut[8..12].copy_from_slice(&(len as i32 - 12).to_be_bytes());
                renew_crc(&mut cut);
                // LZ4's end mark and gzip's trailer end the stream; all records can be there without them.
                let result = validate(&mut cut, &lenient(), NOW_MS);
                let whole = read_all(&cut);
                assert_eq!(result.is_ok(), whole.is_ok(), "{codec:?} {len}: {result:?}");
                assert!(
                    result.is_err() || (codec == Codec::Lz4 && len + 4 >= bytes.len()),
                    "{codec:?} {len}"
                );
            }
        }
    });
}

#[test]
fn every_single_bit_flip_under_the_crc_is_refused() {
    seeded(|rng| {
        for codec in [Codec::None, Codec::Zstd] {
            let (_, bytes) = random_batch(rng, codec, 4);
            for bit in 16 * 8..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let refused = validate(&mut flipped, &lenient(), NOW_MS).expect_err("damage is refused");
                // The codec bits and the magic are looked at before the CRC is, as in Kafka.
                let early = matches!(bit / 8, 16 | 22);
                assert!(
                    early || matches!(refused, RecordError::Corrupt { .. }),
                    "bit {bit}: {refused:?}"
                );
            }
        }
    });
}

#[test]
fn random_damage_under_a_right_crc_never_panics_and_all_readers_agree() {
    seeded(|rng| {
        for _ in 0..4000 {
            let codec = Codec::ALL[rng.usize(..Codec::ALL.len())];
            let (_, mut bytes) = random_batch(rng, codec, 5);
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(21..bytes.len());
                bytes[at] = if rng.bool() {
                    rng.u8(..)
                } else {
                    bytes[at] ^ (1 << rng.u8(..8))
                };
            }
            renew_crc(&mut bytes);
            let read = read_all_lenient(&bytes);
            if let Ok(facts) = validate(&mut bytes, &lenient(), NOW_MS) {
                assert_eq!(
                    read,
                    Ok(facts.record_count as usize),
                    "what passes can be read in full"
                );
            }
        }
    });
}

/// Reads every record without asserting on offsets, and counts them.
fn read_all_lenient(bytes: &[u8]) -> Result<usize, RecordError> {
    let batch = BatchView::parse(bytes)?;
    let mut expanded = Vec::new();
    let records = Records::open(
        &batch,
        DecompressLimits::for_max_message_bytes(1 << 20),
        &mut expanded,
    )?;
    let mut count = 0;
    for record in records {
        count += 1;
        let record = record?;
        record.headers().for_each(drop);
    }
    Ok(count)
}

#[test]
fn stamping_changes_offset_and_epoch_alone_and_offsets_continue() {
    seeded(|rng| {
        let mut payload = Vec::new();
        let mut counts = Vec::new();
        for _ in 0..20 {
            let (records, bytes) = random_batch(rng, Codec::None, 9);
            counts.push((records.len() as i64, bytes.len()));
            payload.extend_from_slice(&bytes);
        }
        let before = payload.clone();
        let end = stamp(&mut payload, 1_000_000, 42).expect("whole batches");
        assert_eq!(
            end,
            1_000_000 + counts.iter().map(|(count, _)| count).sum::<i64>()
        );
        let (mut offset, mut at) = (1_000_000, 0);
        for (count, size) in counts {
            let batch = BatchView::parse(&payload[at..]).expect("a batch");
            assert_eq!(
                (batch.base_offset(), batch.last_offset()),
                (offset, offset + count - 1)
            );
            assert_eq!((batch.leader_epoch(), batch.size()), (42, size));
            assert_eq!(batch.crc(), batch.computed_crc());
            assert_eq!(batch.bytes()[8..12], before[at + 8..at + 12]);
            assert_eq!(batch.bytes()[16..], before[at + 16..at + size]);
            (offset, at) = (offset + count, at + size);
        }
    });
}

#[test]
fn time_lookup_agrees_with_reading_every_record() {
    seeded(|rng| {
        for codec in Codec::ALL {
            let (records, mut bytes) = random_batch(rng, codec, 30);
            stamp(&mut bytes, 70, 1).expect("whole");
            let batch = BatchView::parse(&bytes).expect("a batch");
            for _ in 0..200 {
                let (time, min) = (NOW_MS + rng.i64(-6000..6000), rng.i64(60..110));
                let slow = records
                    .iter()
                    .enumerate()
                    .find(|(i, r)| *i as i64 + 70 >= min && r.timestamp_ms >= time);
                let fast = find_by_time(&batch, time, min).expect("readable");
                assert_eq!(
                    fast.map(|f| (f.offset, f.timestamp_ms)),
                    slow.map(|(i, r)| (i as i64 + 70, r.timestamp_ms))
                );
            }
        }
    });
}
