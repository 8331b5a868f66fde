//! What decoding allocates is bounded by the frame: counted, in a binary of its own, by a counting allocator.

use allocation_counter::measure;
use bytes::{BufMut, BytesMut};
use chronik_server::kafka::api::{ApiKey, FetchResponse, MetadataRequest, Request, decode_request};
use chronik_server::kafka::api::{ApiResponse, Response, fetch, metadata};
use chronik_server::kafka::wire::RecordSlices;

/// What decoding may allocate besides the frame, in bytes.
fn bound(frame_len: usize) -> u64 {
    2 * frame_len as u64 + 64 * 1024
}

/// The most bytes that decoding a request of the frame holds at once, and whether it succeeds.
fn peak(frame: BytesMut) -> (u64, bool) {
    let mut decoded = None;
    let counted = measure(|| decoded = Some(decode_request(frame)));
    (counted.bytes_max, matches!(decoded, Some(Ok(_))))
}

/// A frame with the header of a request, with a null client id.
fn header(key: ApiKey, api_version: i16, flexible: bool) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i16(key.code());
    frame.put_i16(api_version);
    frame.put_i32(1);
    frame.put_i16(-1);
    if flexible {
        frame.put_u8(0);
    }
    frame
}

/// Every byte of the body claims as much as a byte can, in every version of every API.
#[test]
fn lying_counts_allocate_nothing_beyond_the_bound() {
    for key in ApiKey::ALL {
        for api_version in key.versions() {
            for fill in [0xffu8, 0x7f, 0x80, 0x01, 0x00] {
                for flexible in [false, true] {
                    for len in [0, 1, 4, 100, 300_000] {
                        let mut frame = header(*key, api_version, flexible);
                        frame.put_bytes(fill, len);
                        let frame_len = frame.len();
                        let (peak, _) = peak(frame);
                        assert!(
                            peak <= bound(frame_len),
                            "{key} v{api_version}: {peak} for {frame_len} x {fill:x}"
                        );
                    }
                }
            }
        }
    }
}

/// A count at each position of the body, with as many of the smallest elements as it says behind it.
#[test]
fn true_counts_of_the_smallest_elements_stay_within_the_bound() {
    for key in ApiKey::ALL {
        for api_version in key.versions() {
            for prefix in 0..24 {
                for element in [0u8, 1] {
                    let mut frame = header(*key, api_version, true);
                    frame.put_bytes(0, prefix);
                    frame.put_slice(&[0xc0, 0x84, 0x3d]);
                    frame.put_bytes(element, 1_000_000);
                    let frame_len = frame.len();
                    let (peak, _) = peak(frame);
                    assert!(
                        peak <= bound(frame_len),
                        "{key} v{api_version}: {peak} for {frame_len}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_honest_request_stays_within_the_bound() {
    let topics = (0..20_000).map(|i| metadata::MetadataRequestTopic {
        name: Some(format!("a-topic-with-a-name-of-forty-bytes-{i:05}").into()),
        ..Default::default()
    });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        ..Default::default()
    };
    let encoded = Request::from(request)
        .encode(12, 1, None)
        .expect("encoded")
        .into_bytes();
    let frame = BytesMut::from(&encoded[4..]);
    let frame_len = frame.len();
    let (peak, decoded) = peak(frame);
    assert!(decoded && peak <= bound(frame_len), "{peak} for {frame_len}");
}

/// Records are neither copied when a Produce request is decoded nor when a Fetch response is encoded.
#[test]
fn records_are_not_copied() {
    let megabyte = 1 << 20;
    let mut frame = header(ApiKey::Produce, 3, false);
    frame.put_i16(-1);
    frame.put_i16(1);
    frame.put_i32(30_000);
    frame.put_i32(1);
    frame.put_slice(&[0, 1, b't']);
    frame.put_i32(1);
    frame.put_i32(0);
    frame.put_i32(megabyte);
    frame.put_bytes(7, megabyte as usize);
    let (peak, decoded) = peak(frame);
    assert!(decoded && peak < 1024, "{peak} bytes to decode Produce");

    let records = RecordSlices::from(bytes::Bytes::from(vec![7; megabyte as usize]));
    let partitions = vec![fetch::PartitionData {
        records: Some(records),
        ..Default::default()
    }];
    let topic = fetch::FetchableTopicResponse {
        partitions,
        ..Default::default()
    };
    let response = Response::from(FetchResponse {
        responses: vec![topic],
        ..Default::default()
    });
    let mut encoded = None;
    let counted = measure(|| encoded = Some(response.encode(16, 1)));
    assert!(
        counted.bytes_max < 1024,
        "{} bytes to encode Fetch",
        counted.bytes_max
    );
    let frame = encoded.and_then(Result::ok).expect("encoded").into_bytes();
    let (_, decoded) = FetchResponse::decode(16, BytesMut::from(&frame[4..])).expect("decoded");
    assert_eq!(Response::from(decoded), response);
}
