//! Versions, frames, and the order of answers.

use super::log::produce_request;
use super::subject::metadata_request;
use super::wire::{
    API_VERSIONS, API_VERSIONS_0, Api, CREATE_TOPICS, FETCH, LIST_OFFSETS, METADATA, PRODUCE, answer, frame,
    text,
};
use super::{Check, Failure, Subject, Verdict, batch, ensure, fine, must, refused, should};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};
use kafka_protocol::protocol::Encodable;

pub(super) const CHECKS: &[Check] = &[
    must("KB-VER-01", "the_ranges_of_versions_make_sense", &[], ranges),
    must(
        "KB-VER-02",
        "what_producers_and_consumers_need_is_offered",
        &[],
        needed,
    ),
    must(
        "KB-VER-03",
        "an_unknown_version_of_api_versions_is_answered_in_version_0",
        &[],
        kip_511,
    ),
    must(
        "KB-VER-04",
        "api_versions_3_takes_the_name_of_the_client",
        &[API_VERSIONS],
        client_name,
    ),
    should(
        "KB-VER-05",
        "a_client_whose_name_is_malformed_is_told",
        &[API_VERSIONS],
        bad_name,
    ),
    must(
        "KB-VER-06",
        "a_version_that_is_not_offered_ends_the_connection",
        &[],
        bad_version,
    ),
    must("KB-VER-07", "an_unknown_api_ends_the_connection", &[], bad_key),
    must(
        "KB-VER-08",
        "answers_come_in_the_order_of_the_requests",
        &[PRODUCE, METADATA, CREATE_TOPICS],
        in_order,
    ),
    must(
        "KB-VER-09",
        "unknown_tagged_fields_are_skipped",
        &[METADATA],
        unknown_tags,
    ),
    must(
        "KB-VER-10",
        "a_frame_of_impossible_length_ends_its_connection_alone",
        &[],
        bad_length,
    ),
    must(
        "KB-VER-11",
        "a_request_that_comes_in_pieces_is_put_together",
        &[],
        pieces,
    ),
];

fn hello() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text("chronik-judge"))
        .with_client_software_version(text("1.0"))
}

fn ranges(subject: &Subject) -> Verdict {
    let wrong = subject
        .versions()
        .iter()
        .find(|(key, (min, max))| **key < 0 || *min < 0 || min > max);
    ensure!(wrong.is_none(), "this range makes no sense: {wrong:?}");
    Ok(())
}

fn needed(subject: &Subject) -> Verdict {
    for api in [PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS_0] {
        ensure!(subject.lacks(&[api]).is_none(), "{api} is not offered");
    }
    Ok(())
}

/// KIP-511: a broker that does not know the version answers in version 0, with the versions that it knows.
fn kip_511(subject: &Subject) -> Verdict {
    let mut connection = subject.connection()?;
    connection.send_bytes(&raw(API_VERSIONS_0.key, i16::MAX, 77))?;
    let frame = connection.next_frame()?;
    let frame = frame.ok_or_else(|| Failure("the connection ends in place of an answer".to_owned()))?;
    let answer = answer::<ApiVersionsRequest>(API_VERSIONS_0, 77, frame)?;
    refused(
        "ApiVersions of an unknown version",
        answer.error_code,
        &[ResponseError::UnsupportedVersion],
    )?;
    let own = answer
        .api_keys
        .iter()
        .find(|api| api.api_key == API_VERSIONS_0.key);
    ensure!(
        own.is_some(),
        "the answer does not say which versions of ApiVersions there are"
    );
    let again = connection.call(API_VERSIONS_0, &ApiVersionsRequest::default())?;
    fine("ApiVersions on the same connection afterwards", again.error_code)
}

fn client_name(subject: &Subject) -> Verdict {
    let answer = subject.connection()?.call(API_VERSIONS, &hello())?;
    fine("ApiVersions with a client's name", answer.error_code)?;
    let own = answer.api_keys.iter().any(|api| api.api_key == PRODUCE.key);
    ensure!(own, "the answer does not mention Produce");
    Ok(())
}

fn bad_name(subject: &Subject) -> Verdict {
    let request = hello().with_client_software_name(text("no good name!"));
    let answer = subject.connection()?.call(API_VERSIONS, &request)?;
    refused(
        "a malformed client name",
        answer.error_code,
        &[ResponseError::InvalidRequest],
    )
}

/// A request with nothing but a header of the first flexible kind and a null client id, and some bytes.
fn raw(key: i16, version: i16, correlation: i32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(15);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation);
    out.put_i16(-1);
    out.put_bytes(0, 5);
    out.freeze()
}

fn bad_version(subject: &Subject) -> Verdict {
    let mut connection = subject.connection()?;
    connection.send_bytes(&raw(METADATA.key, i16::MAX, 1))?;
    ensure!(
        connection.is_ended()?,
        "Metadata of an unknown version gets an answer that nobody can read"
    );
    Ok(())
}

fn bad_key(subject: &Subject) -> Verdict {
    let mut connection = subject.connection()?;
    connection.send_bytes(&raw(i16::MAX, 0, 1))?;
    ensure!(connection.is_ended()?, "an API that nobody knows gets an answer");
    Ok(())
}

/// Slow and fast requests, all sent before the first answer is read.
fn in_order(subject: &Subject) -> Verdict {
    let topic = subject.topic(1)?;
    let mut connection = topic.log(0)?.connection;
    let metadata = metadata_request(Some(&[topic.name.as_str()]));
    let mut sent = Vec::new();
    for _ in 0..10 {
        let produce = produce_request(&topic.name, -1, &[(0, batch::of(&["v"])?)]);
        sent.push((
            connection.send(PRODUCE, &produce)?,
            connection.send(METADATA, &metadata)?,
            connection.send(API_VERSIONS_0, &ApiVersionsRequest::default())?,
        ));
    }
    for (produce, metadata, versions) in sent {
        connection.receive::<ProduceRequest>(PRODUCE, produce)?;
        connection.receive::<MetadataRequest>(METADATA, metadata)?;
        connection.receive::<ApiVersionsRequest>(API_VERSIONS_0, versions)?;
    }
    Ok(())
}

fn unknown_tags(subject: &Subject) -> Verdict {
    let mut request = metadata_request(Some(&[]));
    request
        .unknown_tagged_fields
        .insert(9001, Bytes::from_static(b"from the future"));
    let probe = request.compute_size(METADATA.version);
    ensure!(probe.is_ok(), "the request cannot be encoded");
    let answer = subject.connection()?.call(METADATA, &request)?;
    ensure!(!answer.brokers.is_empty(), "the answer names no broker");
    Ok(())
}

fn bad_length(subject: &Subject) -> Verdict {
    let mut other = subject.connection()?;
    for length in [i32::MAX, -1] {
        let mut connection = subject.connection()?;
        connection.send_bytes(&length.to_be_bytes())?;
        ensure!(connection.is_ended()?, "a frame of {length} bytes gets an answer");
    }
    let answer = other.call(API_VERSIONS_0, &ApiVersionsRequest::default())?;
    fine("another connection", answer.error_code)
}

fn pieces(subject: &Subject) -> Verdict {
    let api: Api = API_VERSIONS_0;
    let mut connection = subject.connection()?;
    let whole = frame(api, 5, &ApiVersionsRequest::default())?;
    for piece in whole.chunks(3) {
        connection.send_bytes(piece)?;
        subject.pause();
    }
    let answer = connection.receive::<ApiVersionsRequest>(api, 5)?;
    fine("a request in pieces", answer.error_code)
}
