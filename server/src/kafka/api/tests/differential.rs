//! Against the `kafka-protocol` crate: the same bytes in both directions, and the same fields.

use super::*;
use kafka_protocol::messages::{self as oracle, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use std::collections::BTreeSet;

/// Random messages for each API, version and direction.
const ROUNDS: usize = 10;

/// Whether the oracle, which is made from the schemas of Kafka 4.1, knows the version; `golden` covers the others.
fn oracle_knows(key: ApiKey, api_version: i16) -> bool {
    let newest = match key {
        ApiKey::ListOffsets => 10,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::DescribeLogDirs => 4,
        _ => *key.versions().end(),
    };
    api_version <= newest
}

#[test]
fn requests_are_those_of_the_oracle() {
    let mut s = Sampler::new(Sampler::seed());
    for (key, v) in all_versions().filter(|(key, v)| oracle_knows(*key, v.api)) {
        let oracle_key = oracle::ApiKey::try_from(key.code()).unwrap();
        let header_version = oracle_key.request_header_version(v.api);
        assert_eq!(header_version, key.request_header_version(v));
        for round in 0..ROUNDS {
            let request = Request::sample(&mut s, key, v);
            let client_id = (round % 4 != 0).then(|| "client".into());
            let ours = body(request.encode(v.api, round as i32, client_id).unwrap()).freeze();
            let mut rest = ours.clone();
            let header = oracle::RequestHeader::decode(&mut rest, header_version).unwrap();
            let theirs = RequestKind::decode(oracle_key, &mut rest, v.api).unwrap();
            assert!(
                rest.is_empty(),
                "the oracle left {} bytes of {request:?}",
                rest.len()
            );
            let mut bytes = BytesMut::new();
            header.encode(&mut bytes, header_version).unwrap();
            theirs.encode(&mut bytes, v.api).unwrap();
            assert_eq!(
                bytes, ours,
                "{key} v{}\n  ours {request:?}\ntheirs {theirs:?}",
                v.api
            );
            assert_same_fields(&format!("{request:?}"), &format!("{theirs:?}"));
            assert_eq!(decode_request(bytes).unwrap().1, request);
        }
    }
}

#[test]
fn responses_are_those_of_the_oracle() {
    let mut s = Sampler::new(Sampler::seed());
    for (key, v) in all_versions().filter(|(key, v)| oracle_knows(*key, v.api)) {
        let oracle_key = oracle::ApiKey::try_from(key.code()).unwrap();
        let header_version = oracle_key.response_header_version(v.api);
        assert_eq!(header_version, key.response_header_version(v));
        for round in 0..ROUNDS {
            let response = Response::sample(&mut s, key, v);
            let ours = body(response.encode(v.api, round as i32).unwrap()).freeze();
            let mut rest = ours.clone();
            let header = oracle::ResponseHeader::decode(&mut rest, header_version).unwrap();
            assert_eq!(header.correlation_id, round as i32);
            let theirs = ResponseKind::decode(oracle_key, &mut rest, v.api).unwrap();
            assert!(
                rest.is_empty(),
                "the oracle left {} bytes of {response:?}",
                rest.len()
            );
            let mut bytes = BytesMut::new();
            header.encode(&mut bytes, header_version).unwrap();
            theirs.encode(&mut bytes, v.api).unwrap();
            assert_eq!(
                bytes, ours,
                "{key} v{}\n  ours {response:?}\ntheirs {theirs:?}",
                v.api
            );
            assert_same_fields(&format!("{response:?}"), &format!("{theirs:?}"));
            assert_eq!(
                Response::decode(key, v.api, bytes).unwrap(),
                (round as i32, response)
            );
        }
    }
}

/// Equal bytes do not show that two fields of one type have not changed places: the debug texts do. Compares the fields
/// that both texts name, in order.
fn assert_same_fields(ours: &str, theirs: &str) {
    let (our_fields, their_fields) = (fields(ours), fields(theirs));
    let names = |fields: &[(String, Vec<String>)]| -> BTreeSet<String> {
        fields.iter().map(|(name, _)| name.clone()).collect()
    };
    let (our_names, their_names) = (names(&our_fields), names(&their_fields));
    let common = |fields: Vec<(String, Vec<String>)>| -> Vec<_> {
        let both = |name: &String| our_names.contains(name) && their_names.contains(name);
        // Our records show their sizes only.
        fields
            .into_iter()
            .filter(|(name, _)| both(name) && name != "records")
            .collect()
    };
    assert_eq!(
        common(our_fields),
        common(their_fields),
        "\n  ours {ours}\ntheirs {theirs}"
    );
}

/// The fields of a debug text: each name, with the values between it and the next name.
fn fields(text: &str) -> Vec<(String, Vec<String>)> {
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let len = match first {
            '"' => string_len(rest),
            'b' if rest[1..].starts_with('"') => 1 + string_len(&rest[1..]),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        if after.starts_with(':') {
            fields.push((token.to_owned(), Vec::new()));
        } else if (is_word(first) || first == '"')
            && !after.starts_with('(')
            && !after.starts_with(" {")
            && let Some((_, values)) = fields.last_mut()
        {
            values.push(normal_value(token));
        }
    }
    fields
}

/// The length of the string literal at the start of the text.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return i + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    panic!("unterminated string in {text}")
}

/// Error names as numbers, UUIDs in the form of this crate, and empty strings as null: the oracle takes the former for
/// the default of a nullable string that the version lacks, and the bytes tell which one was sent.
fn normal_value(token: &str) -> String {
    if token == "\"\"" {
        return "None".to_owned();
    }
    if !token.contains(|c: char| c.is_ascii_uppercase() || c == '-') {
        return token.to_owned();
    }
    if let Some(code) = ErrorCode::ALL.iter().find(|code| code.name() == Some(token)) {
        return code.0.to_string();
    }
    let hex = token.replace('-', "");
    match u128::from_str_radix(&hex, 16) {
        Ok(id) if token.len() == 36 => Uuid::from_u128(id).to_string(),
        _ => token.to_owned(),
    }
}
