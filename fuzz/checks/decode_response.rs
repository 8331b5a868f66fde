//! The index of an API, a version, and a response frame: what is decoded can be encoded, and is then decoded to the same
//! response.

use bytes::{Buf, BytesMut};
use chronik_server::kafka::api::{ApiKey, Response};
use chronik_server::kafka::wire::WireErrorKind;

pub(crate) fn check(data: &[u8]) {
    let [index, api_version, frame @ ..] = data else {
        return;
    };
    let key = ApiKey::ALL[usize::from(*index) % ApiKey::ALL.len()];
    let api_version = i16::from(*api_version);
    let Ok((correlation_id, response)) = Response::decode(key, api_version, BytesMut::from(frame)) else {
        return;
    };
    let encoded = response.encode(api_version, correlation_id);
    let mut frame = encoded.expect("what was decoded can be encoded").into_bytes();
    frame.advance(4);
    match Response::decode(key, api_version, BytesMut::from(frame)) {
        Ok(again) => assert_eq!(again, (correlation_id, response)),
        // Unknown tags were dropped, so the new frame justifies less memory.
        Err(error) => assert_eq!(error.kind, WireErrorKind::MemoryBudget),
    }
}
