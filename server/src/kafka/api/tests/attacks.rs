//! Frames that lie. `server/tests/wire_memory.rs` counts what they make the decoder allocate.

use super::*;

/// A request frame of a version, with a null client id and the body that `write` writes.
fn frame(key: ApiKey, api_version: i16, write: impl FnOnce(&mut Writer)) -> BytesMut {
    let mut w = Writer::new(0);
    let header = RequestHeader {
        api_key: key.code(),
        api_version,
        ..Default::default()
    };
    header
        .write(
            &mut w,
            key.request_header_version(key.version(api_version).unwrap()),
        )
        .unwrap();
    write(&mut w);
    body(w.finish().unwrap())
}

/// The kind of the error that decoding such a frame ends with.
fn error(key: ApiKey, api_version: i16, write: impl FnOnce(&mut Writer)) -> WireErrorKind {
    match decode_request(frame(key, api_version, write)) {
        Err(RequestError::Malformed { error, .. }) => error.kind,
        other => panic!("not malformed: {other:?}"),
    }
}

#[test]
fn a_frame_truncated_at_any_byte_is_an_error() {
    let mut s = Sampler::new(Sampler::seed());
    for (key, v) in all_versions() {
        let request = body(
            Request::sample(&mut s, key, v)
                .encode(v.api, 1, Some("c".into()))
                .unwrap(),
        );
        for len in (0..request.len().min(250)).chain([request.len() - 1]) {
            let truncated = decode_request(BytesMut::from(&request[..len]));
            assert!(
                truncated.is_err(),
                "{len} of {} bytes of {key} v{}",
                request.len(),
                v.api
            );
        }
        let response = body(Response::sample(&mut s, key, v).encode(v.api, 1).unwrap());
        for len in (0..response.len().min(250)).chain([response.len() - 1]) {
            let truncated = Response::decode(key, v.api, BytesMut::from(&response[..len]));
            assert!(
                truncated.is_err(),
                "{len} of {} bytes of {key} v{}",
                response.len(),
                v.api
            );
        }
    }
}

/// Any error will do, and a value too where the byte allows one; a panic or an abort will not.
#[test]
fn damaged_frames_never_panic() {
    let mut s = Sampler::new(Sampler::seed());
    let damages: [&[u8]; 5] = [
        &[0xff; 4],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0x80],
        &[0xff; 6],
    ];
    for (key, v) in all_versions() {
        let request = body(Request::sample(&mut s, key, v).encode(v.api, 1, None).unwrap());
        let response = body(Response::sample(&mut s, key, v).encode(v.api, 1).unwrap());
        for at in 0..request.len().max(response.len()).min(120) {
            for damage in damages {
                for (good, is_request) in [(&request, true), (&response, false)] {
                    let mut bad = good.clone();
                    let Some(target) = bad.get_mut(at..at + damage.len()) else {
                        continue;
                    };
                    target.copy_from_slice(damage);
                    if is_request {
                        decode_request(bad).ok();
                    } else {
                        Response::decode(key, v.api, bad).ok();
                    }
                }
            }
        }
    }
}

#[test]
fn huge_counts_are_refused_before_anything_is_allocated() {
    // The body of four bytes that aborts the kafka-protocol crate.
    let kind = error(ApiKey::Metadata, 1, |w| w.i32(0x0fff_ffff));
    assert_eq!(
        kind,
        WireErrorKind::InvalidCount {
            count: 0x0fff_ffff,
            max: 0
        }
    );
    let kind = error(ApiKey::Metadata, 9, |w| w.uvarint(u32::MAX));
    assert_eq!(
        kind,
        WireErrorKind::InvalidCount {
            count: i64::from(u32::MAX) - 1,
            max: 0
        }
    );
    // Six bytes follow, and an empty topic takes two.
    let kind = error(ApiKey::Metadata, 1, |w| {
        w.i32(4);
        w.raw(&[0; 6]);
    });
    assert_eq!(kind, WireErrorKind::InvalidCount { count: 4, max: 3 });
    let kind = error(ApiKey::Produce, 3, |w| {
        w.raw(&[0xff, 0xff, 0, 1, 0, 0, 0, 0]);
        w.i32(i32::MAX);
    });
    assert!(matches!(kind, WireErrorKind::InvalidCount { .. }), "{kind:?}");
}

#[test]
fn negative_counts_and_lengths_are_refused() {
    for count in [-2, i32::MIN] {
        let kind = error(ApiKey::Metadata, 1, |w| w.i32(count));
        assert_eq!(
            kind,
            WireErrorKind::InvalidCount {
                count: count.into(),
                max: 0
            }
        );
    }
    let kind = error(ApiKey::Metadata, 0, |w| w.i32(-1));
    assert_eq!(kind, WireErrorKind::UnexpectedNull);
    let kind = error(ApiKey::Heartbeat, 0, |w| w.i16(-2));
    assert_eq!(kind, WireErrorKind::InvalidLength(-2));
    let kind = error(ApiKey::Heartbeat, 0, |w| w.i16(-1));
    assert_eq!(kind, WireErrorKind::UnexpectedNull);
    let kind = error(ApiKey::SyncGroup, 0, |w| {
        w.raw(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
        w.i32(-2);
    });
    assert_eq!(kind, WireErrorKind::InvalidLength(-2));
    let kind = error(ApiKey::Heartbeat, 4, |w| {
        w.uvarint(40_000);
        w.raw(&[b'x'; 40_000]);
    });
    assert_eq!(
        kind,
        WireErrorKind::InvalidLength(39_999),
        "strings have at most 32767 bytes"
    );
}

#[test]
fn variable_length_integers_that_are_too_long_are_refused() {
    let kind = error(ApiKey::Heartbeat, 4, |w| {
        w.raw(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00])
    });
    assert_eq!(kind, WireErrorKind::OverlongVarint);
    let kind = error(ApiKey::Heartbeat, 4, |w| w.raw(&[0xff, 0xff, 0xff, 0xff, 0x7f]));
    assert_eq!(kind, WireErrorKind::OverlongVarint);
}

#[test]
fn strings_must_be_utf8() {
    let kind = error(ApiKey::Heartbeat, 4, |w| w.raw(&[3, 0xc3, 0x28]));
    assert_eq!(kind, WireErrorKind::InvalidUtf8);
}

#[test]
fn tag_counts_sizes_and_values_must_fit() {
    let heartbeat = |w: &mut Writer| w.raw(&[1, 0, 0, 0, 0, 1, 0]);
    let kind = error(ApiKey::Heartbeat, 4, |w| {
        heartbeat(w);
        w.uvarint(u32::MAX);
        w.raw(&[0; 8]);
    });
    assert_eq!(
        kind,
        WireErrorKind::InvalidCount {
            count: u32::MAX.into(),
            max: 4
        }
    );
    let kind = error(ApiKey::Heartbeat, 4, |w| {
        heartbeat(w);
        w.raw(&[1, 9, 3, 0, 0]);
    });
    assert_eq!(
        kind,
        WireErrorKind::Truncated {
            needed: 3,
            remaining: 2
        }
    );
    // The replica state (tag 1) has 13 bytes, whatever is announced.
    for size in [12, 14] {
        let kind = error(ApiKey::Fetch, 15, |w| {
            w.raw(&[0; 21]);
            w.raw(&[1, 1, 1]);
            w.raw(&[1, 1, size]);
            w.raw(&[0; 20]);
        });
        assert_eq!(kind, WireErrorKind::TagSize, "{size}");
    }
}

#[test]
fn a_flood_of_unknown_tags_is_skipped_without_keeping_them() {
    let tags = 500_000;
    let frame = frame(ApiKey::Heartbeat, 4, |w| {
        w.raw(&[1, 0, 0, 0, 0, 1, 0]);
        w.uvarint(tags);
        (0..tags).for_each(|_| w.raw(&[9, 0]));
    });
    assert_eq!(
        decode_request(frame).unwrap().1,
        HeartbeatRequest::default().into()
    );
}

#[test]
fn frames_of_the_smallest_elements_exceed_the_memory_budget() {
    let kind = error(ApiKey::DescribeGroups, 5, |w| {
        w.uvarint(1_000_001);
        w.raw(&vec![1; 1_000_010]);
    });
    assert_eq!(kind, WireErrorKind::MemoryBudget);
}

/// Requests of an honest client with very many partitions stay within the budget.
#[test]
fn large_honest_requests_are_decoded() {
    let fetch = |topics: u128| FetchRequest {
        topics: (1..=topics)
            .map(|i| fetch::FetchTopic {
                topic: format!("a-topic-name-{i}").into(),
                topic_id: Uuid::from_u128(i),
                partitions: vec![fetch::FetchPartition::default()],
            })
            .collect(),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: "a-topic-name".into(),
            topic_id: Uuid::from_u128(1),
            partitions: vec![Default::default(); 4_000],
        }],
        ..Default::default()
    };
    let topic = |i| metadata::MetadataRequestTopic {
        name: Some(format!("t{i:09}").into()),
        ..Default::default()
    };
    let metadata = MetadataRequest {
        topics: Some((0..3_000).map(topic).collect()),
        ..Default::default()
    };
    // Up to version 8, which few clients use, an element of Fetch is small on the wire.
    for (request, from) in [
        (Request::from(fetch(3_000)), 0),
        (fetch(20_000).into(), 9),
        (commit.into(), 0),
        (metadata.into(), 0),
    ] {
        for api_version in request.api_key().versions().filter(|version| *version >= from) {
            let frame = body(request.encode(api_version, 1, None).unwrap());
            let decoded = decode_request(frame);
            assert!(
                decoded.is_ok(),
                "{} v{api_version}: {}",
                request.api_key(),
                decoded.unwrap_err()
            );
        }
    }
}

#[test]
fn large_responses_are_decoded() {
    let topic = metadata::MetadataResponseTopic {
        name: Some("t".into()),
        partitions: vec![Default::default(); 10_000],
        ..Default::default()
    };
    let response = Response::from(MetadataResponse {
        topics: vec![topic],
        ..Default::default()
    });
    for api_version in ApiKey::Metadata.versions() {
        let frame = body(response.encode(api_version, 1).unwrap());
        assert!(
            MetadataResponse::decode(api_version, frame).is_ok(),
            "v{api_version}"
        );
    }
}

#[test]
fn null_records_are_told_apart_from_empty_ones() {
    for (len, expected) in [(-1, None), (0, Some(BytesMut::new()))] {
        let frame = frame(ApiKey::Produce, 3, |w| {
            w.raw(&[0xff, 0xff, 0, 1, 0, 0, 0, 0]);
            w.i32(1);
            w.raw(&[0, 1, b't']);
            w.i32(1);
            w.i32(0);
            w.i32(len);
        });
        let Ok((_, Request::Produce(request))) = decode_request(frame) else {
            panic!("not Produce")
        };
        assert_eq!(request.topic_data[0].partition_data[0].records, expected);
    }
}

#[test]
fn frame_lengths_are_limited() {
    assert_eq!(frame_len(100i32.to_be_bytes(), 100), Ok(100));
    for len in [101, -1, i32::MIN, i32::MAX] {
        let refused = WireErrorKind::FrameLength {
            len: len.into(),
            max: 100,
        };
        assert_eq!(frame_len(len.to_be_bytes(), 100).unwrap_err().kind, refused);
    }
}
