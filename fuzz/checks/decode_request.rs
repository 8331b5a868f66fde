//! A request frame without its length: what is decoded can be encoded, and is then decoded to the same request.

use bytes::{Buf, BytesMut};
use chronik_server::kafka::api::{RequestError, decode_request};
use chronik_server::kafka::wire::WireErrorKind;

pub(crate) fn check(data: &[u8]) {
    let Ok((header, request)) = decode_request(BytesMut::from(data)) else {
        return;
    };
    let encoded = request.encode(
        header.api_version,
        header.correlation_id,
        header.client_id.clone(),
    );
    let mut frame = encoded.expect("what was decoded can be encoded").into_bytes();
    frame.advance(4);
    match decode_request(BytesMut::from(frame)) {
        Ok(again) => assert_eq!(again, (header, request)),
        // Unknown tags were dropped, so the new frame justifies less memory.
        Err(RequestError::Malformed { error, .. }) => assert_eq!(error.kind, WireErrorKind::MemoryBudget),
        Err(error) => panic!("{error}"),
    }
}
