//! The table over the reference store, in stepped time.

use super::super::leadership::Leadership;
use super::*;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_consensus::standalone::{StandaloneEngine, StandaloneOptions};
use chronik_core::log_store::SegmentPolicy;
use chronik_core::{LogIndex, ReplicaId};
use std::path::Path;

#[test]
fn a_group_that_is_still_in_use_is_removed_once_it_is_not_though_no_metadata_changes() {
    let sim = SimEnv::new(Seed(1));
    let disk = SimDisk::new(Seed(2));
    let store = MemStore::open(&disk, Path::new("/data"), sim.env(), MemOptions::default()).expect("a store");
    let store: Arc<dyn LogStore> = Arc::new(store);
    let policy = SegmentPolicy {
        segment_bytes: 1 << 16,
    };
    let in_use = store.open_group(GroupId(7), policy).expect("a group");
    let engine = Arc::new(StandaloneEngine::new(StandaloneOptions::default()));
    let config = Arc::new(Config::default());
    let table = PartitionTable::new(config, Arc::clone(&store), engine, None, sim.env());
    let image = ClusterImage {
        applied: LogIndex(0),
        state: State::default(),
    };
    let images = Watch::new(Arc::new(image));
    sim.env().spawn.spawn("follow", Box::pin(table.follow(images)));
    sim.advance(3 * RETRY);
    assert_eq!(store.groups(), [GroupId(7)], "what is in use stays");
    drop(in_use);
    sim.advance(3 * RETRY);
    assert_eq!(store.groups(), []);
}

/// A partition over an empty store that is led here.
fn led(sim: &SimEnv, group: GroupId) -> Arc<Partition> {
    let (disk, engine) = (
        SimDisk::new(Seed(2)),
        StandaloneEngine::new(StandaloneOptions::default()),
    );
    let store = MemStore::open(&disk, Path::new("/data"), sim.env(), MemOptions::default()).expect("a store");
    let replica = Member {
        replica: ReplicaId(70),
        node: NodeId(1),
    };
    let spec = PartitionSpec {
        name: "t-0".into(),
        group,
        replica,
        founding: Membership {
            voters: vec![replica],
            ..Membership::default()
        },
        config: PartitionConfig::DEFAULTS,
        tier: None,
    };
    let opened = sim.block_on(Partition::open(spec, &store, &engine, sim.env()));
    let partition = opened.expect("it opens at once").expect("it opens");
    sim.run_until_idle();
    assert!(partition.led_term().is_some());
    partition
}

#[test]
fn who_follows_the_leadership_hears_of_partitions_that_open_open_again_and_end() {
    const GROUP: GroupId = GroupId(7);
    let sim = SimEnv::new(Seed(1));
    let disk = SimDisk::new(Seed(3));
    let store = MemStore::open(&disk, Path::new("/data"), sim.env(), MemOptions::default()).expect("a store");
    let engine = Arc::new(StandaloneEngine::new(StandaloneOptions::default()));
    let table = PartitionTable::new(
        Arc::new(Config::default()),
        Arc::new(store),
        engine,
        None,
        sim.env(),
    );
    let mut leadership = Leadership::new(Arc::clone(&table));
    // What is told at once, if anything is.
    let mut told = || {
        let changed = futures_lite::future::poll_once(Box::pin(leadership.changed()));
        let is_told = sim.block_on(changed).expect("polled").is_some();
        is_told.then(|| leadership.take().into_iter().collect::<Vec<_>>())
    };
    assert_eq!(told(), Some(vec![]), "nothing was looked at yet");
    assert_eq!(told(), None);
    let first = led(&sim, GROUP);
    table.set(GROUP, Slot::Open(Arc::clone(&first)));
    assert_eq!(told(), Some(vec![GROUP]));
    table.set(GroupId(8), Slot::Opening);
    assert_eq!(told(), Some(vec![]));
    assert_eq!(told(), None);
    // Another one under the same id, as where a replica came back.
    let second = led(&sim, GROUP);
    table.set(GROUP, Slot::Open(Arc::clone(&second)));
    assert_eq!(told(), Some(vec![GROUP]));
    sim.block_on(first.close()).expect("it ends");
    sim.run_until_idle();
    assert_eq!(told(), None, "the first one is not followed any more");
    sim.block_on(second.close()).expect("it ends");
    sim.run_until_idle();
    assert_eq!(told(), Some(vec![GROUP]));
    assert_eq!(second.led_term(), None);
}
