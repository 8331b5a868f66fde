use super::*;
use crate::kafka::wire::sample::Sampler;
use crate::kafka::wire::*;
use bytes::{Buf, Bytes, BytesMut};

mod attacks;
mod differential;
mod golden;

/// The frame without its length prefix, which is checked.
fn body(frame: OutFrame) -> BytesMut {
    let mut bytes = BytesMut::from(&frame.into_bytes()[..]);
    let len = frame_len(bytes[..4].try_into().unwrap(), DEFAULT_MAX_FRAME_LEN).unwrap();
    bytes.advance(4);
    assert_eq!(len, bytes.len());
    bytes
}

/// Every served version of every API.
fn all_versions() -> impl Iterator<Item = (ApiKey, Version)> {
    let versions = |key: &ApiKey| {
        key.versions().map({
            let key = *key;
            move |v| (key, key.version(v).unwrap())
        })
    };
    ApiKey::ALL.iter().flat_map(versions)
}

#[test]
fn every_message_is_read_back_as_it_was_written() {
    let mut s = Sampler::new(Sampler::seed());
    for (key, v) in all_versions() {
        for _ in 0..10 {
            let request = Request::sample(&mut s, key, v);
            let frame = body(request.encode(v.api, 1, Some("client".into())).unwrap());
            let (header, decoded) = decode_request(frame).unwrap();
            assert_eq!(
                (header.api_key, header.api_version, header.correlation_id),
                (key.code(), v.api, 1)
            );
            assert_eq!(decoded, request, "{key} v{}", v.api);

            let response = Response::sample(&mut s, key, v);
            let frame = body(response.encode(v.api, 2).unwrap());
            let decoded = Response::decode(key, v.api, frame).unwrap();
            assert_eq!(decoded, (2, response), "{key} v{}", v.api);
        }
    }
}

#[test]
fn produced_records_are_sole_owners_of_their_part_of_the_frame() {
    let partitions = (0..3u8).map(|index| produce::PartitionProduceData {
        index: index.into(),
        records: Some(BytesMut::from(&[index; 100][..])),
    });
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![produce::TopicProduceData {
            name: "topic".into(),
            partition_data: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = body(
        Request::from(request.clone())
            .encode(9, 7, Some("me".into()))
            .unwrap(),
    );
    let range = frame.as_ptr_range();
    let (header, decoded) = decode_request(frame).unwrap();
    assert_eq!(
        (header.api_version, header.correlation_id, header.client_id),
        (9, 7, Some("me".into()))
    );
    assert_eq!(decoded, request.into());
    let Request::Produce(mut decoded) = decoded else {
        panic!("not Produce")
    };
    for partition in &mut decoded.topic_data[0].partition_data {
        let records = partition.records.as_mut().unwrap();
        assert!(range.contains(&records.as_ptr()), "records were copied");
        records[0] = 0xff;
        assert_eq!(records[1], partition.index as u8);
    }
}

#[test]
fn fetched_records_are_sent_by_reference() {
    let log = Bytes::from(vec![7u8; 5000]);
    let slices: RecordSlices = [log.slice(..2000), log.slice(3000..)].into_iter().collect();
    let response = FetchResponse {
        responses: vec![fetch::FetchableTopicResponse {
            topic: "topic".into(),
            partitions: vec![
                fetch::PartitionData {
                    records: Some(slices),
                    ..Default::default()
                };
                2
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    let frame = Response::from(response.clone()).encode(12, 9).unwrap();
    let mut io = [std::io::IoSlice::new(&[]); 16];
    let by_reference = frame
        .io_slices(&mut io, usize::MAX)
        .iter()
        .filter(|slice| log.as_ptr_range().contains(&slice.as_ptr()));
    assert_eq!(by_reference.count(), 4);
    assert_eq!(FetchResponse::decode(12, body(frame)).unwrap(), (9, response));
}

#[test]
fn unknown_versions_say_what_to_do() {
    let frame = |key: i16, version: i16| {
        let mut w = Writer::new(0);
        RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id: 5,
            client_id: None,
        }
        .write(&mut w, 1)
        .unwrap();
        body(w.finish().unwrap())
    };
    let unknown = RequestError::UnknownApiVersionsVersion {
        api_version: 77,
        correlation_id: 5,
    };
    assert_eq!(decode_request(frame(18, 77)), Err(unknown));
    for (api_key, api_version) in [(0, 2), (0, 14), (4, 0), (-1, 0), (22, 6), (3, -1)] {
        let unsupported = RequestError::Unsupported {
            api_key,
            api_version,
            correlation_id: 5,
        };
        assert_eq!(decode_request(frame(api_key, api_version)), Err(unsupported));
    }
}
