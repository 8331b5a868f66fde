//! Small inputs that expand, or claim to expand, to very much.

use super::super::compression::{ZSTD_WINDOW_LOG_MAX, compress, decompress_into};
use super::*;

/// A batch with a right CRC around any body.
fn batch_around(codec: Codec, body: &[u8]) -> Vec<u8> {
    let template = build(
        BatchBuilder::new(Codec::None),
        &random_records(&mut fastrand::Rng::with_seed(1), 1),
    );
    let mut bytes = template[..HEADER_LEN].to_vec();
    bytes.extend_from_slice(body);
    let len = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    bytes[22] = codec.id();
    renew_crc(&mut bytes);
    bytes
}

/// One record whose value is `len` zeros, not compressed.
fn huge_record(len: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(NOW_MS, None, Some(&vec![0; len]));
    builder.build().expect("fits")[HEADER_LEN..].to_vec()
}

#[test]
fn an_expansion_beyond_the_limits_is_refused_without_its_memory() {
    let rules = ValidationRules {
        max_message_bytes: 1_048_588,
        ..lenient()
    };
    let body = huge_record(66 << 20);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut packed = Vec::new();
        compress(codec, &body, &mut packed).expect("in memory");
        // Snappy and LZ4 reach no ratio that fits so much into the size limit of a topic, hence a larger one.
        let rules = ValidationRules {
            max_message_bytes: rules.max_message_bytes.max(packed.len() as u64 + 61),
            ..rules
        };
        let mut bytes = batch_around(codec, &packed);
        let memory = allocation_counter::measure(|| {
            let refused = validate(&mut bytes, &rules, NOW_MS).expect_err("a bomb is refused");
            assert!(
                matches!(refused, RecordError::TooLarge { .. }),
                "{codec:?}: {refused:?}"
            );
            assert_eq!(refused.code(), 10);
        });
        assert!(
            memory.bytes_max < 1 << 20,
            "{codec:?} held {} bytes",
            memory.bytes_max
        );
    }
}

#[test]
fn a_small_batch_of_equal_records_may_compress_as_well_as_it_likes() {
    let rules = ValidationRules {
        max_message_bytes: 1_048_588,
        ..lenient()
    };
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        (0..10_000).for_each(|_| builder.push(NOW_MS, None, Some(&[0; 90])));
        let mut bytes = builder.build().expect("fits");
        validate(&mut bytes, &rules, NOW_MS).unwrap_or_else(|error| panic!("{codec:?}: {error}"));
    }
}

#[test]
fn a_zstd_window_beyond_the_bound_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("an encoder");
    encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("a window");
    std::io::Write::write_all(&mut encoder, &huge_record(9 << 20)).expect("in memory");
    let mut bytes = batch_around(Codec::Zstd, &encoder.finish().expect("in memory"));
    let refused = validate(&mut bytes, &lenient(), NOW_MS).expect_err("refused");
    assert_eq!(refused.code(), 87, "{refused}");
}

#[test]
fn lying_lengths_allocate_nothing() {
    // A snappy block that declares 2 GiB, raw and framed; a record and a header count that declare 2 billion.
    let lying_snappy = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0];
    let mut framed = vec![
        0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8,
    ];
    framed.extend_from_slice(&lying_snappy);
    let frame_beyond_the_end = [&framed[..16], &[0x7f, 0xff, 0xff, 0xff, 1][..]].concat();
    let long_record = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0];
    let many_headers = [0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    let bodies: [(Codec, &[u8]); 6] = [
        (Codec::Snappy, &lying_snappy),
        (Codec::Snappy, &framed),
        (Codec::Snappy, &frame_beyond_the_end),
        (Codec::None, &long_record),
        (Codec::None, &many_headers),
        (
            Codec::Zstd,
            &[
                0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
        ),
    ];
    for (codec, body) in bodies {
        let mut bytes = batch_around(codec, body);
        let memory = allocation_counter::measure(|| {
            assert_eq!(
                validate(&mut bytes, &lenient(), NOW_MS)
                    .expect_err("a lie is refused")
                    .code(),
                87
            );
        });
        assert!(
            memory.bytes_max < 256 << 10,
            "{codec:?} held {} bytes",
            memory.bytes_max
        );
    }
}

#[test]
fn expansion_into_a_buffer_keeps_the_limits_too() {
    let mut packed = Vec::new();
    compress(Codec::Gzip, &vec![0; 3 << 20], &mut packed).expect("in memory");
    let limits = DecompressLimits {
        max_output_bytes: 2 << 20,
        ratio_free_bytes: 1 << 20,
        max_ratio: 1 << 20,
    };
    let refused = decompress_into(Codec::Gzip, &packed, limits, &mut Vec::new()).expect_err("refused");
    assert!(
        matches!(refused, RecordError::TooLarge { limit: 2_097_152, .. }),
        "{refused:?}"
    );
    let limits = DecompressLimits {
        max_ratio: 10,
        ..limits
    };
    let refused = decompress_into(Codec::Gzip, &packed, limits, &mut Vec::new()).expect_err("refused");
    assert!(
        matches!(refused, RecordError::TooLarge { limit: 1_048_576, .. }),
        "{refused:?}"
    );
}
