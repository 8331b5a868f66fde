//! A request frame without its length, against the `kafka-protocol` crate: what we encode, it decodes, and encodes to the
//! same bytes. It gets only what we have encoded, because it trusts the counts that it reads.

use bytes::{Buf, BytesMut};
use chronik_server::kafka::api::{ApiKey, decode_request};
use kafka_protocol::messages::{self as oracle, RequestKind};
use kafka_protocol::protocol::{Decodable, Encodable};

/// Whether the oracle, which is made from the schemas of Kafka 4.1, knows the version.
fn oracle_knows(key: ApiKey, api_version: i16) -> bool {
    match key {
        ApiKey::ListOffsets => api_version <= 10,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => api_version <= 9,
        ApiKey::DescribeLogDirs => api_version <= 4,
        _ => true,
    }
}

pub(crate) fn check(data: &[u8]) {
    let Ok((header, request)) = decode_request(BytesMut::from(data)) else {
        return;
    };
    let (key, api_version) = (request.api_key(), header.api_version);
    if !oracle_knows(key, api_version) {
        return;
    }
    let encoded = request.encode(api_version, header.correlation_id, header.client_id);
    let mut ours = encoded.expect("what was decoded can be encoded").into_bytes();
    ours.advance(4);

    let oracle_key = oracle::ApiKey::try_from(key.code()).expect("the oracle knows the key");
    let header_version = oracle_key.request_header_version(api_version);
    let mut rest = ours.clone();
    let header = oracle::RequestHeader::decode(&mut rest, header_version).expect("a header");
    let theirs = RequestKind::decode(oracle_key, &mut rest, api_version).expect("a request");
    assert!(
        rest.is_empty(),
        "the oracle left {} bytes of {request:?}",
        rest.len()
    );
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, header_version).expect("a header");
    theirs.encode(&mut bytes, api_version).expect("a request");
    assert_eq!(bytes, ours, "{request:?}");
}
