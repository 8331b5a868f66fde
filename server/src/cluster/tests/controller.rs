use super::world::{NODE, Node, World, registration};
use crate::cluster::controller::{ApplyStatus, NewTopic};
use crate::cluster::state::{Envelope, Refusal, State};
use crate::cluster::{ControlError, OpenError, Registration, TopicId};
use crate::config::Config;
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, LogIndex, NodeId, Proposal};
use std::collections::BTreeMap;
use std::time::Duration;

fn new_topic(name: &str, partitions: usize) -> NewTopic {
    NewTopic {
        name: name.into(),
        placements: vec![vec![NODE.0]; partitions],
        configs: BTreeMap::new(),
        replica_limit: 100,
    }
}

fn create(world: &World, node: &Node, name: &str) -> Result<TopicId, ControlError> {
    let created = world.run(node.context.controller.create_topic(new_topic(name, 1)));
    created.map(|topic| topic.id)
}

#[test]
fn an_empty_directory_founds_a_cluster_with_this_broker_in_it() {
    let world = World::new(1);
    let node = world.start();
    let state = node.state();
    let id = state.cluster_id().expect("the cluster has an id").to_string();
    assert_eq!(id.len(), 22, "{id}");
    let broker = &state.brokers()[&NODE];
    assert_eq!((broker.host.as_str(), broker.port), ("localhost", 9092));
    assert_eq!(node.context.controller.leader(), Some(NODE));
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_the_broker_epoch_grows() {
    let mut world = World::new(2);
    let mut known: BTreeMap<String, TopicId> = BTreeMap::new();
    let mut epoch = 0;
    let mut cluster_id = None;
    for life in 0..5 {
        let node = world.start();
        let state = node.state();
        let found: BTreeMap<String, TopicId> = state
            .topics()
            .values()
            .map(|topic| (topic.name.to_string(), topic.id))
            .collect();
        assert_eq!(found, known, "life {life}");
        let id = state.cluster_id().unwrap().to_string();
        assert_eq!(cluster_id.get_or_insert_with(|| id.clone()), &id);
        assert!(state.brokers()[&NODE].epoch > epoch);
        epoch = state.brokers()[&NODE].epoch;
        for i in 0..4 {
            let name = format!("topic-{life}-{i}");
            let id = create(&world, &node, &name).unwrap();
            known.insert(name, id);
        }
        world.crash(node);
    }
}

#[test]
fn a_checkpoint_is_written_the_log_is_purged_behind_it_and_a_restart_continues_from_it() {
    let mut world = World::new(3);
    let node = world.start();
    let controller = std::sync::Arc::clone(&node.context.controller);
    world.run(async {
        for _ in 0..1100 {
            controller.allocate_producer_ids(NODE).await.unwrap();
        }
    });
    create(&world, &node, "after").unwrap();
    world.sim.run_until_idle();
    let log = node.reader.state();
    assert!(
        log.purged.index >= LogIndex(1000),
        "purged through {}",
        log.purged
    );
    let checkpoint = node
        .reader
        .checkpoint(LogIndex(u64::MAX))
        .unwrap()
        .expect("a checkpoint");
    assert!(checkpoint.at >= log.purged);
    State::from_bytes(&checkpoint.data).unwrap();
    let before = node.state();
    drop(controller);
    world.crash(node);
    let node = world.start();
    let after = node.state();
    assert_eq!(after.topics(), before.topics());
    let block = world
        .run(node.context.controller.allocate_producer_ids(NODE))
        .unwrap();
    assert!(block.start >= 1_100_000, "{block:?} was given away before");
}

#[test]
fn of_concurrent_creators_of_one_name_exactly_one_succeeds() {
    for seed in 0..20 {
        let world = World::new(100 + seed);
        let node = world.start();
        let controller = &node.context.controller;
        let work = (0..8).map(|i| -> chronik_core::BoxFuture<'_, _> {
            Box::pin(controller.create_topic(new_topic("same", 1 + i)))
        });
        let results = world.run(crate::cluster::join::join_all(work.collect()));
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        let lost = results.iter().filter_map(|result| result.as_ref().err());
        for error in lost {
            assert_eq!(*error, ControlError::Refused(Refusal::TopicExists));
        }
        assert_eq!(node.state().topic("same"), Some(won[0]));
    }
}

#[test]
fn an_answer_is_visible_in_the_image_when_it_arrives() {
    let world = World::new(4);
    let node = world.start();
    let controller = &node.context.controller;
    world.run(async {
        for i in 0..50 {
            let name = format!("t{i}");
            let topic = controller.create_topic(new_topic(&name, 1)).await.unwrap();
            assert_eq!(controller.image().state.topic(&name), Some(&topic));
            controller.delete_topic(topic.id).await.unwrap();
            assert_eq!(controller.image().state.topic(&name), None);
        }
    });
}

#[test]
fn a_failed_disk_leaves_the_outcome_unknown_and_later_changes_not_done() {
    let world = World::new(5);
    let node = world.start();
    world.disk.power_off_at(world.disk.stats().steps);
    let first = create(&world, &node, "a");
    assert!(matches!(first, Err(ControlError::Unknown(_))), "{first:?}");
    let second = create(&world, &node, "b");
    let not_done = matches!(
        second,
        Err(ControlError::NotProposed(_) | ControlError::Unknown(_))
    );
    assert!(not_done, "{second:?}");
    assert!(node.state().topics().is_empty());
}

#[test]
fn a_closed_group_refuses_changes_and_says_so_to_whoever_watches() {
    let world = World::new(6);
    let node = world.start();
    let status = node.context.controller.status();
    world.run(node.group.close());
    world.sim.run_until_idle();
    assert_eq!(status.get(), ApplyStatus::Closed);
    let refused = create(&world, &node, "a");
    let not_done = matches!(
        refused,
        Err(ControlError::NotProposed(ProposeError::Closed) | ControlError::Unknown(_))
    );
    assert!(not_done, "{refused:?}");
}

#[test]
fn a_command_of_a_newer_version_stops_the_metadata_and_the_next_start() {
    let mut world = World::new(7);
    let node = world.start();
    let proposal = Proposal {
        kind: EntryKind::Command,
        payload: br#"{"format":99,"request":1,"command":"new"}"#[..].into(),
        record_count: 0,
        max_timestamp_ms: -1,
    };
    let handle = node.group.propose(proposal).unwrap();
    world.run(handle.outcome());
    world.sim.run_until_idle();
    let status = node.context.controller.status().get();
    assert!(
        matches!(&status, ApplyStatus::Failed(why) if why.contains("format 99")),
        "{status:?}"
    );
    let waiting = create(&world, &node, "a");
    assert!(matches!(waiting, Err(ControlError::Unknown(_))), "{waiting:?}");
    world.crash(node);
    let refused = world.start_with(registration(), Config::default()).err();
    assert!(refused.expect("refused").to_string().contains("format 99"));
}

#[test]
fn a_directory_of_another_cluster_or_broker_is_refused() {
    let mut world = World::new(8);
    let named = Registration {
        cluster_id: Some("mine".into()),
        ..registration()
    };
    let node = world.start_with(named.clone(), Config::default()).unwrap();
    assert_eq!(node.state().cluster_id().map(|id| &**id), Some("mine"));
    world.crash(node);
    let other = Registration {
        cluster_id: Some("other".into()),
        ..registration()
    };
    let refused = world.start_with(other, Config::default()).err().expect("refused");
    assert!(matches!(refused, OpenError::WrongCluster { .. }), "{refused}");
    world.power_cut();
    let other = Registration {
        node: NodeId(2),
        ..registration()
    };
    let refused = world.start_with(other, Config::default()).err().expect("refused");
    let (stored, configured) = (NODE, NodeId(2));
    assert_eq!(refused, OpenError::WrongNode { stored, configured });
    world.power_cut();
    world.start_with(named, Config::default()).unwrap();
}

#[test]
fn a_node_that_stopped_in_order_starts_again() {
    let world = World::new(12);
    let node = world.start();
    let id = create(&world, &node, "a").unwrap();
    world.stop(node);
    let node = world.start();
    assert_eq!(node.state().topic("a").map(|topic| topic.id), Some(id));
}

#[test]
fn a_changed_address_is_recorded_at_the_next_start() {
    let mut world = World::new(9);
    let node = world.start();
    world.crash(node);
    let moved = Registration {
        host: "broker.example.com".into(),
        port: 19092,
        rack: Some("r1".into()),
        ..registration()
    };
    let node = world.start_with(moved, Config::default()).unwrap();
    let state = node.state();
    assert_eq!(state.brokers().len(), 1);
    let broker = &state.brokers()[&NODE];
    assert_eq!(
        (broker.host.as_str(), broker.port, broker.rack.as_deref()),
        ("broker.example.com", 19092, Some("r1"))
    );
}

#[test]
fn a_request_that_goes_away_leaves_nothing_behind_and_may_still_be_done() {
    let world = World::new(10);
    let node = world.start();
    let controller = &node.context.controller;
    world.run(async {
        let gone = Box::pin(controller.create_topic(new_topic("a", 1)));
        // Polled once, it has proposed; then it is dropped.
        let first = futures_lite::future::poll_once(gone).await;
        assert!(first.is_none());
    });
    world.sim.run_until_idle();
    assert!(node.state().topic("a").is_some());
    assert!(format!("{controller:?}").contains("Pending { waiting: 0 }"));
}

#[test]
fn every_entry_of_the_log_reads_back_as_a_command() {
    let world = World::new(11);
    let node = world.start();
    create(&world, &node, "a").unwrap();
    world.sim.advance(Duration::from_secs(1));
    let end = node.reader.state().last.index.next();
    let entries = world
        .run(node.reader.entries(LogIndex(1)..end, u64::MAX).unwrap().get())
        .unwrap();
    let commands: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Command)
        .collect();
    assert_eq!(commands.len(), 3, "founded, registered, created");
    for entry in commands {
        Envelope::from_bytes(&entry.payload).unwrap();
    }
}
