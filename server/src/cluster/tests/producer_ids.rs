use super::world::{Node, World};
use crate::cluster::join::join_all;
use crate::kafka::api::{InitProducerIdRequest, InitProducerIdResponse};
use crate::kafka::handlers::init_producer_id;
use crate::kafka::wire::ErrorCode;
use std::collections::BTreeSet;

fn init(world: &World, node: &Node, request: InitProducerIdRequest) -> InitProducerIdResponse {
    world.run(init_producer_id::handle(&node.context, request, 5))
}

fn fresh(world: &World, node: &Node) -> i64 {
    let response = init(world, node, InitProducerIdRequest::default());
    assert_eq!(
        (response.error_code, response.producer_epoch),
        (ErrorCode::NONE, 0)
    );
    response.producer_id
}

#[test]
fn producer_ids_are_unique_over_blocks_and_crashes() {
    let mut world = World::new(60);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let node = world.start();
        for _ in 0..1500 {
            let id = fresh(&world, &node);
            assert!(id >= 0 && seen.insert(id), "{id} again");
        }
        world.crash(node);
    }
}

#[test]
fn concurrent_producers_that_find_the_block_used_up_take_one_new_block() {
    let world = World::new(61);
    let node = world.start();
    let asks = (0..64).map(|_| -> chronik_core::BoxFuture<'_, _> {
        let request = InitProducerIdRequest::default();
        Box::pin(init_producer_id::handle(&node.context, request, 5))
    });
    let ids: BTreeSet<i64> = world
        .run(join_all(asks.collect()))
        .iter()
        .map(|response| response.producer_id)
        .collect();
    assert_eq!(ids, (0..64).collect());
}

#[test]
fn a_producer_that_names_its_id_and_epoch_gets_a_new_id_with_epoch_0() {
    let world = World::new(62);
    let node = world.start();
    let producer_id = fresh(&world, &node);
    let request = InitProducerIdRequest {
        producer_id,
        producer_epoch: 3,
        ..InitProducerIdRequest::default()
    };
    let response = init(&world, &node, request);
    assert_eq!(
        (response.error_code, response.producer_epoch),
        (ErrorCode::NONE, 0)
    );
    assert_ne!(response.producer_id, producer_id);
}

#[test]
fn half_an_identity_is_an_invalid_request() {
    let world = World::new(63);
    let node = world.start();
    for (producer_id, producer_epoch) in [(5, -1), (-1, 0)] {
        let request = InitProducerIdRequest {
            producer_id,
            producer_epoch,
            ..InitProducerIdRequest::default()
        };
        let response = init(&world, &node, request);
        assert_eq!(
            (response.error_code, response.producer_id),
            (ErrorCode::INVALID_REQUEST, -1)
        );
    }
}

#[test]
fn a_transactional_id_gets_an_error_that_clients_do_not_take_for_a_passing_one() {
    let world = World::new(64);
    let node = world.start();
    for (id, code) in [
        ("tx", ErrorCode::UNSUPPORTED_VERSION),
        ("", ErrorCode::INVALID_REQUEST),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.into()),
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        let response = init(&world, &node, request);
        assert_eq!((response.error_code, response.producer_id), (code, -1));
    }
}

#[test]
fn without_a_disk_no_producer_id_is_given_out_and_the_client_may_try_again() {
    let world = World::new(65);
    let node = world.start();
    world.disk.power_off_at(world.disk.stats().steps);
    let response = init(&world, &node, InitProducerIdRequest::default());
    assert_eq!(
        (response.error_code, response.producer_id),
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, -1)
    );
}
