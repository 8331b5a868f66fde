//! Bytes written down by hand, for the versions that the oracle of `differential` does not know, and for rules that it
//! does not test.

use super::*;
use describe_log_dirs as log_dirs;

const TOPIC_ID: Uuid = Uuid::from_u128(0x00112233_44556677_8899aabb_ccddeeff);

/// Hexadecimal bytes; blanks set fields apart.
fn hex(text: &str) -> BytesMut {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn assert_request(request: impl Into<Request>, api_version: i16, text: &str) {
    let request = request.into();
    let mut frame = hex(&format!(
        "{:04x} {api_version:04x} 00000007 ffff 00",
        request.api_key().code()
    ));
    frame.unsplit(hex(text));
    let encoded = body(request.encode(api_version, 7, None).unwrap());
    assert_eq!(encoded, frame, "{request:?}");
    assert_eq!(decode_request(frame).unwrap().1, request);
}

fn assert_response(response: impl Into<Response>, api_version: i16, text: &str) {
    let response = response.into();
    let mut frame = hex("00000007 00");
    frame.unsplit(hex(text));
    assert_eq!(
        body(response.encode(api_version, 7).unwrap()),
        frame,
        "{response:?}"
    );
    assert_eq!(
        Response::decode(response.api_key(), api_version, frame).unwrap(),
        (7, response)
    );
}

#[test]
fn list_offsets_11() {
    let partition = list_offsets::ListOffsetsPartition {
        partition_index: 2,
        current_leader_epoch: 3,
        timestamp: -6,
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: 1,
        topics: vec![list_offsets::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![partition],
        }],
        timeout_ms: 1000,
    };
    let bytes = "ffffffff 01 02 0274 02 00000002 00000003 fffffffffffffffa 00 00 000003e8 00";
    assert_request(request, 11, bytes);

    let partition = list_offsets::ListOffsetsPartitionResponse {
        partition_index: 2,
        timestamp: -1,
        offset: 9,
        leader_epoch: 3,
        ..Default::default()
    };
    let topic = list_offsets::ListOffsetsTopicResponse {
        name: "t".into(),
        partitions: vec![partition],
    };
    let response = ListOffsetsResponse {
        throttle_time_ms: 5,
        topics: vec![topic],
    };
    let bytes = "00000005 02 0274 02 00000002 0000 ffffffffffffffff 0000000000000009 00000003 00 00 00";
    assert_response(response, 11, bytes);
}

#[test]
fn offset_commit_10() {
    let partition = offset_commit::OffsetCommitRequestPartition {
        partition_index: 2,
        committed_offset: 9,
        committed_leader_epoch: 3,
        committed_metadata: Some("x".into()),
    };
    let topic = offset_commit::OffsetCommitRequestTopic {
        topic_id: TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 4,
        member_id: "m".into(),
        topics: vec![topic],
        ..Default::default()
    };
    let bytes = "0267 00000004 026d 00 02 00112233445566778899aabbccddeeff \
        02 00000002 0000000000000009 00000003 0278 00 00 00";
    assert_request(request, 10, bytes);

    let partition = offset_commit::OffsetCommitResponsePartition {
        partition_index: 2,
        error_code: ErrorCode::UNKNOWN_TOPIC_ID,
    };
    let topic = offset_commit::OffsetCommitResponseTopic {
        topic_id: TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    let response = OffsetCommitResponse {
        throttle_time_ms: 5,
        topics: vec![topic],
    };
    let bytes = "00000005 02 00112233445566778899aabbccddeeff 02 00000002 0064 00 00 00";
    assert_response(response, 10, bytes);
}

#[test]
fn offset_fetch_10() {
    let topic = offset_fetch::OffsetFetchRequestTopics {
        topic_id: TOPIC_ID,
        partition_indexes: vec![0, 1],
        ..Default::default()
    };
    let group = offset_fetch::OffsetFetchRequestGroup {
        group_id: "g".into(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group],
        require_stable: true,
        ..Default::default()
    };
    let bytes = "02 0267 00 ffffffff 02 00112233445566778899aabbccddeeff 03 00000000 00000001 00 00 01 00";
    assert_request(request, 10, bytes);

    let partition = offset_fetch::OffsetFetchResponsePartitions {
        partition_index: 2,
        committed_offset: 9,
        committed_leader_epoch: 3,
        metadata: Some("x".into()),
        error_code: ErrorCode::NONE,
    };
    let topic = offset_fetch::OffsetFetchResponseTopics {
        topic_id: TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    let group = offset_fetch::OffsetFetchResponseGroup {
        group_id: "g".into(),
        topics: vec![topic],
        ..Default::default()
    };
    let response = OffsetFetchResponse {
        throttle_time_ms: 5,
        groups: vec![group],
        ..Default::default()
    };
    let bytes = "00000005 02 0267 02 00112233445566778899aabbccddeeff \
        02 00000002 0000000000000009 00000003 0278 0000 00 00 0000 00 00";
    assert_response(response, 10, bytes);
}

#[test]
fn describe_log_dirs_5() {
    let topic = log_dirs::DescribableLogDirTopic {
        topic: "t".into(),
        partitions: vec![0, 1],
    };
    let request = DescribeLogDirsRequest {
        topics: Some(vec![topic]),
    };
    assert_request(request, 5, "02 0274 03 00000000 00000001 00 00");
    assert_request(DescribeLogDirsRequest { topics: None }, 5, "00 00");

    let partition = log_dirs::DescribeLogDirsPartition {
        partition_index: 2,
        partition_size: 77,
        offset_lag: 1,
        is_future_key: false,
    };
    let topic = log_dirs::DescribeLogDirsTopic {
        name: "t".into(),
        partitions: vec![partition],
    };
    let dir = log_dirs::DescribeLogDirsResult {
        log_dir: "/d".into(),
        topics: vec![topic],
        total_bytes: 1000,
        usable_bytes: 500,
        is_cordoned: true,
        ..Default::default()
    };
    let response = DescribeLogDirsResponse {
        throttle_time_ms: 5,
        results: vec![dir],
        ..Default::default()
    };
    let bytes = "00000005 0000 02 0000 032f64 02 0274 02 00000002 000000000000004d 0000000000000001 00 00 00 \
        00000000000003e8 00000000000001f4 01 00 00";
    assert_response(response, 5, bytes);
}

/// KIP-511: version 0, error 35, and the keys, so that the client can ask again; the header has no tags.
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let response = Response::from(ApiVersionsResponse::unsupported_version());
    let frame = body(response.encode(0, 7).unwrap());
    assert_eq!(
        frame[..16],
        hex("00000007 0023 0000001c 0000 0000 000d")[..],
        "Produce is listed from 0"
    );
    assert_eq!(frame.len(), 10 + 6 * ApiKey::ALL.len());
}

#[test]
fn the_header_of_api_versions_responses_never_has_tags() {
    for api_version in ApiKey::ApiVersions.versions() {
        let frame = body(
            Response::from(ApiVersionsResponse::default())
                .encode(api_version, 7)
                .unwrap(),
        );
        assert_eq!(
            frame[4..6],
            [0, 0],
            "the error code follows the correlation id in version {api_version}"
        );
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let frame = hex("000c 0004 00000007 0001 63 01 63 02 aabb 0267 00000001 026d 00 02 00 00 7f 01 cc");
    let (header, request) = decode_request(frame).unwrap();
    assert_eq!(header.client_id, Some("c".into()));
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: "m".into(),
        ..Default::default()
    };
    assert_eq!(request, heartbeat.into());
}

#[test]
fn bytes_after_a_request_are_ignored_and_after_a_response_refused() {
    let mut frame = body(
        Request::from(HeartbeatRequest::default())
            .encode(4, 7, None)
            .unwrap(),
    );
    frame.extend_from_slice(b"more");
    assert_eq!(
        decode_request(frame).unwrap().1,
        HeartbeatRequest::default().into()
    );
    let mut frame = body(Response::from(HeartbeatResponse::default()).encode(4, 7).unwrap());
    frame.extend_from_slice(b"more");
    assert_eq!(
        HeartbeatResponse::decode(4, frame).unwrap_err().kind,
        WireErrorKind::TrailingBytes(4)
    );
}

#[test]
fn fields_that_the_version_lacks_are_left_out() {
    let request = HeartbeatRequest {
        group_instance_id: Some("i".into()),
        ..Default::default()
    };
    let frame = body(Request::from(request).encode(2, 7, None).unwrap());
    assert_eq!(
        decode_request(frame).unwrap().1,
        HeartbeatRequest::default().into()
    );
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let request = Request::from(MetadataRequest {
        topics: None,
        ..Default::default()
    });
    let error = request.encode(0, 7, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MetadataRequest.topics: null is not allowed in this version"
    );
    assert!(request.encode(1, 7, None).is_ok());
}

#[test]
fn client_software_names_are_checked_from_version_3() {
    let request = |name: &str, version: &str| ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: version.into(),
    };
    assert!(request("apache-kafka-java", "4.3.0").has_valid_software(3));
    assert!(request("a", "1").has_valid_software(3));
    assert!(request("", "").has_valid_software(2));
    for (name, version) in [
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a.", "1"),
        ("a b", "1"),
        ("a", "\u{e9}"),
    ] {
        assert!(
            !request(name, version).has_valid_software(4),
            "{name:?} {version:?}"
        );
    }
}
