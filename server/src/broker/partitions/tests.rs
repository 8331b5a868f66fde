//! The table over the reference store, in stepped time.

use super::*;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_consensus::standalone::{StandaloneEngine, StandaloneOptions};
use chronik_core::LogIndex;
use chronik_core::log_store::SegmentPolicy;
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
