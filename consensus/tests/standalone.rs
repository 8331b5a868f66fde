//! The standalone backend over the reference store, on a simulated disk: what it commits survives a power cut, terms
//! rise, and what it cannot do is refused.

#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::disk::{DropAll, Unit};
use chronik_conformance::world::{Seed, SimDisk, SimEnv};
use chronik_consensus::StandaloneEngine;
use chronik_consensus::standalone::StandaloneOptions;
use chronik_core::consensus::{
    Consensus, ConsensusError, ConsensusGroup, GroupSpec, Maintenance, Member, Membership, MembershipChange,
    Role, Stamper,
};
use chronik_core::log_store::{Purge, SegmentPolicy};
use chronik_core::proposal::ProposeError;
use chronik_core::{
    EntryKind, GroupId, LogError, LogIndex, LogReader, LogStore, NodeId, Offset, Outcome, Proposal,
    ReplicaId, Term,
};
use std::path::Path;
use std::sync::Arc;

const MEMBER: Member = Member {
    replica: ReplicaId(7),
    node: NodeId(1),
};

/// Writes base offset and term into the first 16 bytes.
#[derive(Debug)]
struct FrontStamp;

impl Stamper for FrontStamp {
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        payload[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        payload[8..16].copy_from_slice(&term.0.to_be_bytes());
    }
}

struct World {
    sim: SimEnv,
    store: MemStore,
}

struct Opened {
    group: Arc<dyn ConsensusGroup>,
    reader: Arc<dyn LogReader>,
}

impl World {
    fn new(seed: Seed, disk: &SimDisk) -> Self {
        let sim = SimEnv::new(seed);
        let store = MemStore::open(disk, Path::new("/data"), sim.env(), MemOptions::default()).unwrap();
        Self { sim, store }
    }

    fn open_with(&self, options: StandaloneOptions, founding: Membership) -> Result<Opened, ConsensusError> {
        let log = self
            .store
            .open_group(
                GroupId(1),
                SegmentPolicy {
                    segment_bytes: 1 << 20,
                },
            )
            .unwrap();
        let reader = Arc::clone(&log.reader);
        let engine = StandaloneEngine::new(options);
        let stamper = Arc::new(FrontStamp);
        let spec = GroupSpec {
            group: GroupId(1),
            replica: MEMBER,
            founding,
            log,
            stamper,
        };
        let group = self.sim.block_on(engine.open_group(spec)).unwrap()?;
        Ok(Opened { group, reader })
    }

    fn open(&self) -> Opened {
        self.open_with(StandaloneOptions::default(), alone()).unwrap()
    }
}

fn alone() -> Membership {
    Membership {
        voters: vec![MEMBER],
        ..Membership::default()
    }
}

fn records(count: u32) -> Proposal {
    Proposal {
        kind: EntryKind::Data,
        payload: BytesMut::zeroed(16 + count as usize),
        record_count: count,
        max_timestamp_ms: 5,
    }
}

#[test]
fn a_proposal_is_committed_when_it_is_durable_and_not_before() {
    let disk = SimDisk::new(Seed(1));
    let world = World::new(Seed(1), &disk);
    let opened = world.open();
    let before = opened.group.watch().get().commit;
    let handle = opened.group.propose(records(3)).unwrap();
    assert_eq!(handle.peek(), None, "nothing was synced yet");
    assert_eq!(opened.group.watch().get().commit, before);
    let Outcome::Committed(appended) = world.sim.block_on(handle.outcome()).unwrap() else {
        panic!("not committed");
    };
    assert_eq!(appended.base_offset, Offset(0));
    assert_eq!(opened.group.watch().get().commit, appended.id.index);
    assert_eq!(opened.reader.state().durable, appended.id.index);
}

#[test]
fn offsets_and_stamps_follow_the_order_of_the_calls() {
    let disk = SimDisk::new(Seed(2));
    let world = World::new(Seed(2), &disk);
    let opened = world.open();
    let handles: Vec<_> = [2, 1, 4]
        .map(|count| opened.group.propose(records(count)).unwrap())
        .into();
    let bases: Vec<_> = handles
        .iter()
        .map(|handle| {
            world
                .sim
                .block_on(handle.appended())
                .unwrap()
                .unwrap()
                .base_offset
                .0
        })
        .collect();
    assert_eq!(bases, [0, 2, 3]);
    let term = opened.group.watch().get().term;
    let read = opened
        .reader
        .read_offsets(Offset(0)..Offset(7), u64::MAX)
        .unwrap();
    let entries = world.sim.block_on(read.get()).unwrap().unwrap();
    for (entry, base) in entries.iter().zip([0i64, 2, 3]) {
        assert_eq!(entry.payload[..8], base.to_be_bytes());
        assert_eq!(entry.payload[8..16], term.0.to_be_bytes());
        assert_eq!(entry.id.term, term);
    }
    let command = Proposal {
        kind: EntryKind::Command,
        payload: BytesMut::from(&b"cut"[..]),
        record_count: 0,
        max_timestamp_ms: -1,
    };
    let handle = opened.group.propose(command).unwrap();
    let appended = world.sim.block_on(handle.appended()).unwrap().unwrap();
    assert_eq!(appended.base_offset, Offset(7), "a command takes no offset");
    assert_eq!(opened.reader.state().offset_end, Offset(7));
}

#[test]
fn what_was_committed_survives_a_power_cut_and_the_term_rises() {
    let disk = SimDisk::new(Seed(3));
    let world = World::new(Seed(3), &disk);
    let opened = world.open();
    let first_term = opened.group.watch().get().term;
    let handle = opened.group.propose(records(5)).unwrap();
    assert!(matches!(
        world.sim.block_on(handle.outcome()).unwrap(),
        Outcome::Committed(_)
    ));
    let lost = opened.group.propose(records(1)).unwrap();
    let after = disk.crash(&mut DropAll, Unit::Sector);
    assert_eq!(lost.peek(), None);
    let world = World::new(Seed(4), &after);
    let opened = world.open();
    let progress = opened.group.watch().get();
    assert!(progress.term > first_term);
    assert_eq!(progress.role, Role::Leader);
    assert_eq!(
        opened.reader.state().offset_end,
        Offset(5),
        "the record that was never synced is gone"
    );
    assert_eq!(
        Some(progress.commit),
        progress.own_term_start,
        "the first entry of the term is committed"
    );
    assert_eq!(opened.reader.state().hard_state.vote, Some(MEMBER.replica));
}

#[test]
fn more_than_the_limit_in_flight_is_refused_and_has_no_effect() {
    let disk = SimDisk::new(Seed(5));
    let world = World::new(Seed(5), &disk);
    let opened = world
        .open_with(
            StandaloneOptions {
                max_inflight_bytes: 100,
            },
            alone(),
        )
        .unwrap();
    let large = opened
        .group
        .propose(records(500))
        .expect("one proposal is always admitted");
    assert_eq!(
        opened.group.propose(records(1)).unwrap_err(),
        ProposeError::Overloaded
    );
    world.sim.block_on(large.outcome()).unwrap();
    let next = opened.group.propose(records(1)).unwrap();
    let appended = world.sim.block_on(next.appended()).unwrap().unwrap();
    assert_eq!(
        appended.base_offset,
        Offset(500),
        "the refused proposal took no place"
    );
}

#[test]
fn commands_are_taken_where_records_are_refused() {
    let disk = SimDisk::new(Seed(6));
    let world = World::new(Seed(6), &disk);
    let group = world.open().group;
    disk.set_capacity(Some(disk.used_bytes() + (2 << 20)));
    let full = |proposal| match group.propose(proposal) {
        Ok(handle) => {
            world.sim.block_on(handle.outcome()).unwrap();
            false
        }
        Err(error) => {
            assert_eq!(error, ProposeError::Log(LogError::Full));
            true
        }
    };
    let taken = (1..500).take_while(|_| !full(records(9_000))).count();
    assert!(taken > 50, "{taken} entries fitted");
    for number in 0..20 {
        let command = Proposal {
            kind: EntryKind::Command,
            record_count: 0,
            ..records(0)
        };
        assert!(!full(command), "command {number} is refused");
    }
    assert!(full(records(9_000)), "there is room for records again");
}

#[test]
fn a_closed_group_gives_up_its_log_and_takes_nothing() {
    let disk = SimDisk::new(Seed(6));
    let world = World::new(Seed(6), &disk);
    let opened = world.open();
    world.sim.block_on(opened.group.close()).unwrap();
    assert_eq!(
        opened.group.propose(records(1)).unwrap_err(),
        ProposeError::Closed
    );
    assert_eq!(opened.group.watch().get().role, Role::Stopped);
    let purge = Purge {
        through: chronik_core::LogId::new(1, 1),
        offset_start: Offset(0),
    };
    assert_eq!(
        opened.group.maintain(Maintenance::Purge(purge)).unwrap_err(),
        ConsensusError::Closed
    );
    assert!(world.sim.block_on(opened.group.read_barrier()).unwrap().is_err());
    drop(opened);
    world.open();
}

#[test]
fn what_needs_more_than_one_replica_is_refused_by_name() {
    let disk = SimDisk::new(Seed(7));
    let world = World::new(Seed(7), &disk);
    let other = Member {
        replica: ReplicaId(8),
        node: NodeId(2),
    };
    let pair = Membership {
        voters: vec![MEMBER, other],
        ..Membership::default()
    };
    match world.open_with(StandaloneOptions::default(), pair) {
        Err(ConsensusError::Unsupported(text)) => assert!(text.contains("standalone"), "{text}"),
        other => panic!("{:?}", other.err()),
    }
    let opened = world.open();
    let change = MembershipChange::AddLearner(other);
    let refused = world
        .sim
        .block_on(opened.group.change_membership(change))
        .unwrap();
    assert!(matches!(refused, Err(ConsensusError::Unsupported(_))));
    let refused = world
        .sim
        .block_on(opened.group.transfer_leadership(other.replica))
        .unwrap();
    assert!(matches!(refused, Err(ConsensusError::Unsupported(_))));
    assert_eq!(
        world
            .sim
            .block_on(opened.group.transfer_leadership(MEMBER.replica))
            .unwrap(),
        Ok(())
    );
}

#[test]
fn a_read_barrier_is_at_or_above_everything_that_was_acknowledged() {
    let disk = SimDisk::new(Seed(8));
    let world = World::new(Seed(8), &disk);
    let opened = world.open();
    for _ in 0..3 {
        let handle = opened.group.propose(records(1)).unwrap();
        let Outcome::Committed(appended) = world.sim.block_on(handle.outcome()).unwrap() else {
            panic!("not committed");
        };
        let barrier: LogIndex = world.sim.block_on(opened.group.read_barrier()).unwrap().unwrap();
        assert!(barrier >= appended.id.index);
    }
}
