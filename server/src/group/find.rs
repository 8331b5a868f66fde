//! FindCoordinator: which node to ask about a group.

use super::partitioner::partition_for;
use crate::kafka::api::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::kafka::wire::{ErrorCode, KafkaString};

/// Where a node listens, as the client that asks should see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The broker id.
    pub node_id: i32,
    /// The host name or address.
    pub host: KafkaString,
    /// The port.
    pub port: i32,
}

/// The key type of consumer groups.
const GROUP: i8 = 0;
/// The key type of transactions.
const TRANSACTION: i8 = 1;
/// The last version in which librdkafka asks.
const LAST_VERSION_OF_LIBRDKAFKA: i16 = 2;
/// From this version on, a request has many keys.
const FIRST_VERSION_WITH_MANY_KEYS: i16 = 4;

/// Answers FindCoordinator. `partitions` is the number of partitions of `__consumer_offsets`, 0 if the topic does not exist
/// yet; `leader` tells who leads one of them, `None` if nobody does.
#[must_use]
pub fn find_coordinator(
    api_version: i16,
    request: &FindCoordinatorRequest,
    partitions: i32,
    leader: impl Fn(i32) -> Option<Endpoint>,
) -> FindCoordinatorResponse {
    let find = |key: &KafkaString| match request.key_type {
        GROUP if partitions > 0 => match leader(partition_for(key, partitions)) {
            Some(endpoint) => found(key, endpoint),
            None => refused(
                key,
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
                "The coordinator is not available.",
            ),
        },
        GROUP => refused(
            key,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            "The coordinator is not available.",
        ),
        TRANSACTION => refused(key, no_transactions(api_version), NO_TRANSACTIONS),
        _ => refused(
            key,
            ErrorCode::INVALID_REQUEST,
            "There are no coordinators of that type.",
        ),
    };
    if api_version >= FIRST_VERSION_WITH_MANY_KEYS {
        return FindCoordinatorResponse {
            coordinators: request.coordinator_keys.iter().map(find).collect(),
            ..Default::default()
        };
    }
    let one = find(&request.key);
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..Default::default()
    }
}

const NO_TRANSACTIONS: &str = "This broker does not support transactions: unset transactional.id.";

/// The error that ends a transactional producer at once. librdkafka, which asks in version 2 at most, repeats every
/// other one until its timeout, and shows the text beside this one. The Java client asks in a later version: there
/// any error that is not its coordinator's is fatal, and it shows the text with all but errors about authorization.
const fn no_transactions(api_version: i16) -> ErrorCode {
    if api_version <= LAST_VERSION_OF_LIBRDKAFKA {
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    } else {
        ErrorCode::INVALID_REQUEST
    }
}

fn found(key: &KafkaString, endpoint: Endpoint) -> Coordinator {
    Coordinator {
        key: key.clone(),
        node_id: endpoint.node_id,
        host: endpoint.host,
        port: endpoint.port,
        ..Default::default()
    }
}

fn refused(key: &KafkaString, error: ErrorCode, text: &'static str) -> Coordinator {
    Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code: error,
        error_message: Some(KafkaString::new_static(text)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(partition: i32) -> Option<Endpoint> {
        (partition != 7).then(|| Endpoint {
            node_id: partition,
            host: "h".into(),
            port: 9092,
        })
    }

    #[test]
    fn a_group_is_found_at_the_leader_of_its_partition() {
        let request = FindCoordinatorRequest {
            coordinator_keys: vec!["hello".into(), "group".into()],
            ..Default::default()
        };
        let response = find_coordinator(4, &request, 50, endpoint);
        let nodes: Vec<_> = response
            .coordinators
            .iter()
            .map(|one| (one.node_id, one.error_code))
            .collect();
        assert_eq!(nodes, [(22, ErrorCode::NONE), (47, ErrorCode::NONE)]);
        let request = FindCoordinatorRequest {
            key: "hello".into(),
            ..Default::default()
        };
        let response = find_coordinator(0, &request, 50, endpoint);
        assert_eq!((response.node_id, response.port), (22, 9092));
    }

    #[test]
    fn without_a_leader_or_the_topic_the_coordinator_is_not_available() {
        for (partitions, leader) in [(0, Some(0)), (8, None)] {
            let request = FindCoordinatorRequest {
                key: "hello".into(),
                ..Default::default()
            };
            let response = find_coordinator(3, &request, partitions, |_| leader.and_then(endpoint));
            assert_eq!(response.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
            assert_eq!((response.node_id, response.port), (-1, -1));
        }
    }

    #[test]
    fn transactions_and_unknown_types_are_refused_with_a_reason() {
        for key_type in [1, 2, 9, -1] {
            let request = FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec!["x".into()],
                ..Default::default()
            };
            let response = find_coordinator(6, &request, 50, endpoint);
            let one = response.coordinators.first().unwrap();
            assert_eq!(one.error_code, ErrorCode::INVALID_REQUEST);
            assert!(one.error_message.as_ref().unwrap().len() > 10);
        }
    }

    #[test]
    fn a_transactional_producer_of_librdkafka_is_told_what_ends_it() {
        for (version, expected) in [
            (1, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            (2, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            (3, ErrorCode::INVALID_REQUEST),
        ] {
            let request = FindCoordinatorRequest {
                key_type: TRANSACTION,
                key: "x".into(),
                ..Default::default()
            };
            let response = find_coordinator(version, &request, 50, endpoint);
            assert_eq!(response.error_code, expected);
            assert!(response.error_message.unwrap().contains("transactional.id"));
        }
    }
}
