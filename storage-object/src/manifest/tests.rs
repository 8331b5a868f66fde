//! Manifests: what is published is read, and who lost the right to write never writes again.

use super::*;
use crate::bucket::{Bucket, MemoryBucket};
use crate::error::TierError;
use crate::format::TermSpan;
use crate::state::{SegmentMeta, TierCommand, TierState};
use chronik_conformance::world::{Seed, SimEnv};
use chronik_core::{LogId, Offset, Term};
use std::sync::Arc;

const PARTITION: PartitionKey = PartitionKey {
    topic_id: 9,
    partition: 2,
};

fn segment(number: u64) -> Arc<SegmentMeta> {
    let offsets = Offset(number as i64 * 10)..Offset(number as i64 * 10 + 10);
    Arc::new(SegmentMeta {
        first: LogId::new(1, number + 1),
        last: LogId::new(1, number + 1),
        offsets: offsets.clone(),
        max_timestamp_ms: 1,
        object_bytes: 1000,
        footer_position: 800,
        crc: 7,
        salt: 0,
        terms: vec![TermSpan {
            term: Term(1),
            offsets,
        }],
    })
}

struct World {
    sim: SimEnv,
    bucket: Arc<dyn Bucket>,
}

impl World {
    fn new() -> Self {
        let sim = SimEnv::new(Seed(1));
        let bucket = Arc::new(MemoryBucket::new(sim.env().clock));
        Self { sim, bucket }
    }

    fn publisher(&self, claim: u64, term: u64) -> Publisher {
        let fence = Fence::new(claim, Term(term), u128::from(claim));
        Publisher::new(Arc::clone(&self.bucket), self.sim.env(), PARTITION, fence)
    }

    fn publish(
        &self,
        publisher: &mut Publisher,
        state: &TierState,
    ) -> Result<Option<TierCommand>, TierError> {
        self.sim.block_on(publisher.publish(state)).unwrap()
    }

    fn read(&self) -> TierState {
        let read = read_manifest(&*self.bucket, PARTITION);
        self.sim.block_on(read).unwrap().unwrap().unwrap().state
    }
}

#[test]
fn what_is_published_is_read_through_pages_and_removals() {
    let world = World::new();
    let mut publisher = world.publisher(1, 1);
    let mut state = TierState::default();
    for number in 0..1500 {
        state.apply(&TierCommand::Add(segment(number)));
        if number % 7 == 3 {
            state.remove_below(Offset(number as i64 * 5));
        }
        if number % 50 == 49 {
            let command = world.publish(&mut publisher, &state).unwrap().unwrap();
            state.apply(&command);
            assert_eq!(state.published(), state.version());
            assert_eq!(world.publish(&mut publisher, &state).unwrap(), None);
            let read = world.read();
            assert_eq!(read.segments(), state.segments());
            assert_eq!(read.end(), state.end());
        }
    }
    let head = world.sim.block_on(read::read_head(&*world.bucket, PARTITION));
    let (head, _) = head.unwrap().unwrap().unwrap();
    assert!(!head.pages.is_empty() && head.segments.len() <= HEAD_SEGMENTS_MAX);
    state.remove_all();
    world.publish(&mut publisher, &state).unwrap();
    assert!(world.read().segments().is_empty());
    assert_eq!(world.read().end(), state.end());
}

#[test]
fn an_old_leader_cannot_write_after_a_new_one() {
    let world = World::new();
    let (mut old, mut new) = (world.publisher(1, 1), world.publisher(1, 2));
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    world.publish(&mut old, &state).unwrap();
    let mut newer = state.clone();
    newer.apply(&TierCommand::Add(segment(1)));
    world.publish(&mut new, &newer).unwrap();
    let mut diverged = state;
    diverged.remove_below(Offset(10));
    let lost = world.publish(&mut old, &diverged);
    assert!(matches!(lost, Err(TierError::Fenced { .. })), "{lost:?}");
    assert_eq!(world.read().segments(), newer.segments());
}

#[test]
fn an_old_cluster_cannot_write_after_another_took_over() {
    let world = World::new();
    let (mut old, mut new) = (world.publisher(1, 90), world.publisher(2, 1));
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    world.publish(&mut old, &state).unwrap();
    world.publish(&mut new, &state).unwrap();
    state.apply(&TierCommand::Add(segment(1)));
    let lost = world.publish(&mut old, &state);
    assert!(matches!(lost, Err(TierError::Fenced { .. })), "{lost:?}");
    let check = world.sim.block_on(old.is_current(&state)).unwrap();
    assert!(matches!(check, Err(TierError::Fenced { .. })), "{check:?}");
    assert_eq!(world.sim.block_on(new.is_current(&state)).unwrap(), Ok(true));
}

#[test]
fn a_manifest_that_was_taken_over_is_the_newest_one_and_the_last_of_the_old_cluster() {
    let world = World::new();
    let (mut old, mut new) = (world.publisher(1, 90), world.publisher(2, 1));
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    world.publish(&mut old, &state).unwrap();
    let read = || {
        let read = read_manifest(&*world.bucket, PARTITION);
        world.sim.block_on(read).unwrap().unwrap()
    };
    let stale = read();
    // The old cluster publishes between the read and the write: what was read is not written over it.
    state.apply(&TierCommand::Add(segment(1)));
    world.publish(&mut old, &state).unwrap();
    let take = |new: &mut Publisher, manifest: Option<&Manifest>| {
        world.sim.block_on(new.take_over(manifest)).unwrap()
    };
    assert_eq!(take(&mut new, stale.as_ref()), Ok(false));
    assert_eq!(take(&mut new, read().as_ref()), Ok(true));
    assert_eq!(world.read().segments(), state.segments());
    state.apply(&TierCommand::Add(segment(2)));
    let lost = world.publish(&mut old, &state);
    assert!(matches!(lost, Err(TierError::Fenced { .. })), "{lost:?}");
}

#[test]
fn a_partition_without_a_manifest_is_taken_over_too() {
    let world = World::new();
    let (mut old, mut new) = (world.publisher(1, 90), world.publisher(2, 1));
    assert_eq!(world.sim.block_on(new.take_over(None)).unwrap(), Ok(true));
    assert_eq!(world.read(), TierState::default());
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    let lost = world.publish(&mut old, &state);
    assert!(matches!(lost, Err(TierError::Fenced { .. })), "{lost:?}");
    world.publish(&mut new, &state).unwrap();
    assert_eq!(world.read().segments(), state.segments());
    // One that appears meanwhile is read first.
    assert_eq!(
        world.sim.block_on(world.publisher(3, 1).take_over(None)).unwrap(),
        Ok(false)
    );
}

#[test]
fn no_bit_of_a_head_changes_unseen() {
    let world = World::new();
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    world.publish(&mut world.publisher(1, 1), &state).unwrap();
    let key = head_key(PARTITION);
    let want = crate::bucket::Want::All { max_bytes: 1 << 20 };
    let bytes = world
        .sim
        .block_on(world.bucket.get(&key, want))
        .unwrap()
        .unwrap()
        .data;
    assert!(Head::decode(&bytes, PARTITION).is_ok());
    let mut flipped = bytes.to_vec();
    for bit in 0..flipped.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Head::decode(&flipped.clone().into(), PARTITION).is_err());
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    let other = PartitionKey {
        partition: 3,
        ..PARTITION
    };
    assert!(Head::decode(&bytes, other).is_err());
}

#[test]
fn what_was_published_elsewhere_is_not_published_in_an_empty_bucket() {
    let world = World::new();
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(segment(0)));
    let published = world.publish(&mut world.publisher(1, 1), &state).unwrap();
    state.apply(&published.unwrap());
    state.apply(&TierCommand::Add(segment(1)));
    let empty = World::new();
    let refused = empty.publish(&mut empty.publisher(1, 1), &state).unwrap_err();
    assert!(refused.to_string().contains("check that tier.url"), "{refused}");
    let read = read_manifest(&*empty.bucket, PARTITION);
    assert!(empty.sim.block_on(read).unwrap().unwrap().is_none());
    assert!(world.publish(&mut world.publisher(1, 1), &state).is_ok());
}
