//! An engine whose every move a test makes: outcomes that the standalone engine cannot have, changes of leadership,
//! and entries of several batches. Fault model: any outcome, at any time, in any order.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use chronik_core::consensus::{
    Capabilities, Consensus, ConsensusError, ConsensusGroup, GroupSpec, GroupStatus, Maintenance,
    MembershipChange, Progress, Role, Stamper,
};
use chronik_core::log_store::{LogWriter, SegmentPolicy};
use chronik_core::proposal::{Appended, ProposalSender, ProposeError};
use chronik_core::{
    BoxFuture, EntryKind, LogError, LogId, LogIndex, LogReader, Outcome, Proposal, ProposalHandle, Term,
    Ticket, Watch,
};

use super::*;

/// The group, and the levers that move it.
#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) progress: Watch<Progress>,
    reader: Arc<dyn LogReader>,
    stamper: Arc<dyn Stamper>,
    script: Mutex<Script>,
}

#[derive(Debug)]
pub(super) struct Script {
    pub(super) writer: Box<dyn LogWriter>,
    waiting: Vec<(Proposal, ProposalSender)>,
    pub(super) refusal: Option<ProposeError>,
    /// Calls for the end of the active segment, where the test lets them wait.
    pub(super) rolls: Option<Vec<SegmentPolicy>>,
    /// There is no space for checkpoints.
    pub(super) is_full: bool,
    /// What has no space is refused at once, and not by its ticket.
    pub(super) refuses_at_once: bool,
}

impl Scripted {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test panics while it holds the script")
    }

    /// Whether a proposal waits.
    pub(super) fn waits(&self) -> bool {
        !self.script().waiting.is_empty()
    }

    /// Takes the oldest proposal.
    fn take(&self) -> (Proposal, ProposalSender) {
        self.script().waiting.remove(0)
    }

    /// Appends an entry of this payload in the current term; it is durable, and committed only by `commit`.
    pub(super) fn append(&self, kind: EntryKind, mut payload: BytesMut, record_count: u32) -> Appended {
        let state = self.reader.state();
        let term = self.progress.get().term;
        let id = LogId {
            term,
            index: state.last.index.next(),
        };
        let base_offset = state.offset_end;
        if kind == EntryKind::Data {
            self.stamper.stamp(&mut payload, base_offset, term);
        }
        let payload: Bytes = payload.freeze();
        let entry = Entry {
            id,
            kind,
            base_offset,
            record_count,
            max_timestamp_ms: 1000,
            payload,
        };
        drop(self.script().writer.append(&[entry]).expect("the entry follows"));
        Appended { id, base_offset }
    }

    /// Commits everything that was appended.
    pub(super) fn commit(&self) {
        let last = self.reader.state().last.index;
        self.progress.update(|progress| {
            progress.commit = last;
            true
        });
    }

    /// Becomes leader of the next term, whose blank entry is appended and not committed.
    pub(super) fn lead(&self) {
        self.progress.update(|progress| {
            progress.term = Term(progress.term.0 + 1);
            progress.role = Role::Leader;
            progress.leader = Some(ME.replica);
            progress.own_term_start = Some(self.reader.state().last.index.next());
            true
        });
        self.append(EntryKind::Blank, BytesMut::new(), 0);
    }

    /// Follows another leader in the next term.
    pub(super) fn follow(&self) {
        self.progress.update(|progress| {
            progress.term = Term(progress.term.0 + 1);
            progress.role = Role::Follower;
            progress.leader = Some(ReplicaId(71));
            progress.own_term_start = None;
            true
        });
    }

    /// Ends the active segment as often as was asked for while the test let it wait.
    pub(super) fn roll_now(&self) {
        let script = &mut *self.script();
        for policy in script.rolls.take().into_iter().flatten() {
            script.writer.roll(policy, true).expect("space enough");
        }
    }

    /// Removes what is not committed, as a new leader's entries do.
    fn truncate(&self) {
        let from = self.progress.get().commit.next();
        drop(self.script().writer.truncate_from(from).expect("above the start"));
    }
}

impl ConsensusGroup for Scripted {
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError> {
        let mut script = self.script();
        if let Some(refusal) = script.refusal.clone() {
            return Err(refusal);
        }
        let (sender, handle) = ProposalHandle::pair();
        script.waiting.push((proposal, sender));
        Ok(handle)
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        Box::pin(std::future::ready(Ok(self.progress.get().commit)))
    }

    fn watch(&self) -> Watch<Progress> {
        self.progress.clone()
    }

    fn status(&self) -> GroupStatus {
        GroupStatus {
            group: GROUP,
            replica: ME,
            progress: self.progress.get(),
            membership: Membership::default(),
            matched: std::collections::BTreeMap::new(),
        }
    }

    fn change_membership(&self, _: MembershipChange) -> BoxFuture<'static, Result<LogId, ConsensusError>> {
        Box::pin(std::future::ready(Err(ConsensusError::Busy)))
    }

    fn transfer_leadership(&self, _: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>> {
        Box::pin(std::future::ready(Err(ConsensusError::Busy)))
    }

    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        let script = &mut *self.script();
        let writer = &mut script.writer;
        Ok(match (maintenance, &mut script.rolls) {
            (Maintenance::Purge(purge), _) => writer.purge(purge)?,
            (Maintenance::Checkpoint(_), _) if script.is_full && script.refuses_at_once => {
                return Err(ConsensusError::Log(LogError::Full));
            }
            (Maintenance::Checkpoint(_), _) if script.is_full => Ticket::resolved(Err(LogError::Full)),
            (Maintenance::Checkpoint(checkpoint), _) => writer.save_checkpoint(checkpoint)?,
            (Maintenance::Roll { policy, now: true }, Some(rolls)) => {
                rolls.push(policy);
                Ticket::pair().1
            }
            (Maintenance::Roll { policy, now }, _) => {
                writer.roll(policy, now).map(|()| Ticket::resolved(Ok(())))?
            }
        })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.progress.update(|progress| {
            progress.role = Role::Stopped;
            true
        });
        Box::pin(std::future::ready(()))
    }
}

/// Opens one scripted group, and keeps it for the test.
#[derive(Debug, Default)]
struct ScriptedEngine {
    group: Mutex<Option<Arc<Scripted>>>,
}

impl Consensus for ScriptedEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            replication: true,
            membership_change: false,
            leadership_transfer: false,
            learners: false,
            failover_bound: std::time::Duration::ZERO,
        }
    }

    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>> {
        let progress = Progress {
            role: Role::Follower,
            term: Term(1),
            leader: None,
            commit: spec.log.reader.state().commit_hint,
            own_term_start: None,
        };
        let group = Arc::new(Scripted {
            progress: Watch::new(progress),
            reader: spec.log.reader,
            stamper: spec.stamper,
            script: Mutex::new(Script {
                writer: spec.log.writer,
                waiting: Vec::new(),
                refusal: None,
                rolls: None,
                is_full: false,
                refuses_at_once: false,
            }),
        });
        *self.group.lock().expect("as above") = Some(Arc::clone(&group));
        Box::pin(std::future::ready(Ok(group as Arc<dyn ConsensusGroup>)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A partition that leads, with its engine's levers.
pub(super) fn leading() -> (Rig, Arc<Scripted>) {
    leading_with(PartitionConfig::DEFAULTS)
}

pub(super) fn leading_with(config: PartitionConfig) -> (Rig, Arc<Scripted>) {
    leading_beside(SimEnv::new(Seed(1)), config, None)
}

/// As [`leading`], in a world that has more.
pub(super) fn leading_beside(
    sim: SimEnv,
    config: PartitionConfig,
    tier: Option<TierSpec>,
) -> (Rig, Arc<Scripted>) {
    let disk = SimDisk::new(Seed(1));
    let store =
        MemStore::open(&disk, Path::new("/data"), sim.env(), MemOptions::default()).expect("the store opens");
    let engine = ScriptedEngine::default();
    let spec = PartitionSpec {
        name: "t-0".into(),
        group: GROUP,
        replica: ME,
        founding: Membership::default(),
        config,
        tier,
    };
    let opened = sim.block_on(Partition::open(spec, &store, &engine, sim.env()));
    let partition = opened
        .expect("the open makes progress")
        .expect("the partition opens");
    let group = engine
        .group
        .lock()
        .expect("as above")
        .take()
        .expect("it was opened");
    let rig = Rig { sim, disk, partition };
    assert!(matches!(
        rig.produce(batch(&["x"])),
        Err(PartitionError::NotLeader { leader: None })
    ));
    group.lead();
    rig.sim.run_until_idle();
    assert!(
        matches!(rig.produce(batch(&["x"])), Err(PartitionError::NotLeader { .. })),
        "its own term is not applied"
    );
    assert!(matches!(
        rig.fetch(from(0)),
        Err(PartitionError::NotLeader { .. })
    ));
    group.commit();
    rig.sim.run_until_idle();
    assert!(rig.partition.view().serving);
    (rig, group)
}

impl Rig {
    pub(super) fn send(&self, sequence: i32) -> Result<InProgress, PartitionError> {
        self.partition
            .produce(idempotent(1, 0, sequence, 1), Acks::All, true)
    }

    pub(super) fn ends(&self, progress: InProgress) -> Result<i64, PartitionError> {
        self.sim
            .block_on(progress.outcome())
            .expect("ends")
            .map(|outcome| outcome.base_offset)
    }
}

/// Appends and commits the oldest proposal.
pub(super) fn commit_next(group: &Scripted) {
    let (proposal, sender) = group.take();
    let appended = group.append(proposal.kind, proposal.payload, proposal.record_count);
    group.commit();
    sender.finish(Outcome::Committed(appended));
}

#[test]
fn a_batch_that_was_not_committed_can_be_sent_again() {
    let (rig, group) = leading();
    let first = rig.send(0).expect("accepted");
    let (_, sender) = group.take();
    sender.finish(Outcome::NotCommitted(ProposeError::Overloaded));
    assert_eq!(rig.ends(first), Err(PartitionError::Overloaded));
    assert_eq!(
        PartitionError::Overloaded.code().0,
        7,
        "a code that clients retry with the same sequence"
    );
    let again = rig.send(0).expect("accepted, not a duplicate");
    commit_next(&group);
    assert_eq!(rig.ends(again), Ok(0));
}

#[test]
fn a_refused_proposal_leaves_no_trace() {
    let (rig, group) = leading();
    for (refusal, code) in [
        (ProposeError::Overloaded, 7),
        (
            ProposeError::NotLeader {
                leader: Some(ReplicaId(71)),
            },
            6,
        ),
        (ProposeError::Log(LogError::Full), 56),
        (
            ProposeError::Log(LogError::TooLarge {
                limit_bytes: 1,
                got_bytes: 2,
            }),
            18,
        ),
        (ProposeError::Closed, 6),
    ] {
        group.script().refusal = Some(refusal);
        assert_eq!(rig.send(0).expect_err("refused").code().0, code);
    }
    group.script().refusal = None;
    let sent = rig.send(0).expect("0 is still next");
    commit_next(&group);
    assert_eq!(rig.ends(sent), Ok(0));
}

#[test]
fn a_refusal_counts_only_if_the_leader_still_leads() {
    let (rig, group) = leading();
    let first = rig.send(0).expect("accepted");
    commit_next(&group);
    assert_eq!(rig.ends(first), Ok(0));
    let gap = rig.send(2).expect("judged");
    assert_eq!(rig.ends(gap), Err(PartitionError::OutOfOrderSequence));
    let gap = rig.send(2).expect("judged");
    group.follow();
    let leader = Some(ReplicaId(71));
    assert_eq!(
        rig.ends(gap),
        Err(PartitionError::NotLeader { leader }),
        "that one may have batch 1"
    );
}

#[test]
fn an_offset_beyond_the_log_is_refused_only_by_one_that_still_leads() {
    let (rig, group) = leading();
    assert_eq!(rig.fetch(from(7)), Err(PartitionError::OffsetOutOfRange));
    group.follow();
    let leader = Some(ReplicaId(71));
    assert_eq!(
        rig.peek(Box::pin(rig.partition.fetch(from(7)))),
        Some(Err(PartitionError::NotLeader { leader })),
        "that one may have offset 7"
    );
}

#[test]
fn an_unknown_outcome_is_shared_by_duplicates_and_never_resets_sequences() {
    let (rig, group) = leading();
    let first = rig.send(0).expect("accepted");
    let (proposal, sender) = group.take();
    let appended = group.append(proposal.kind, proposal.payload, proposal.record_count);
    sender.appended(appended);
    sender.finish(Outcome::Unknown("the quorum is gone".into()));
    let unknown = PartitionError::OutcomeUnknown { still_leading: true };
    assert_eq!(rig.ends(first), Err(unknown.clone()));
    let again = rig.send(0).expect("shared");
    assert_eq!(rig.ends(again), Err(unknown));
    assert_eq!(
        group.script().waiting.len(),
        0,
        "it was not proposed a second time"
    );
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(
        rig.ends(rig.send(0).expect("a duplicate")),
        Ok(0),
        "it was committed after all"
    );
    assert_eq!(rig.partition.log_end(), 1);
}

#[test]
fn a_new_term_forgets_what_was_in_flight_and_what_was_truncated_can_be_sent_again() {
    let (rig, group) = leading();
    let lost = rig.send(0).expect("accepted");
    let also_lost = rig.send(1).expect("accepted");
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let (proposal, sender) = group.take();
            sender.appended(group.append(proposal.kind, proposal.payload, proposal.record_count));
            sender
        })
        .collect();
    group.follow();
    rig.sim.run_until_idle();
    assert!(!rig.partition.view().serving);
    assert_eq!(rig.partition.view().leader, Some(ReplicaId(71)));
    assert!(matches!(
        rig.send(2),
        Err(PartitionError::NotLeader {
            leader: Some(ReplicaId(71))
        })
    ));
    drop(senders);
    let unknown = PartitionError::OutcomeUnknown { still_leading: false };
    assert_eq!(
        (rig.ends(lost), rig.ends(also_lost)),
        (Err(unknown.clone()), Err(unknown))
    );
    group.truncate();
    group.lead();
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(rig.partition.view().leader_epoch, 4);
    let again = rig.send(0).expect("the producer starts where the log stands");
    commit_next(&group);
    assert_eq!(rig.ends(again), Ok(0));
    assert_eq!(first_epoch(&rig.fetch(from(0)).expect("in range")), 4);
}

#[test]
fn a_follower_applies_and_becomes_a_leader_that_knows_the_producers() {
    let (rig, group) = leading();
    group.follow();
    for sequence in 0..3 {
        group.append(EntryKind::Data, idempotent(1, 0, sequence, 1), 1);
    }
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(rig.partition.view().high_watermark.0, 3);
    group.lead();
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(rig.ends(rig.send(1).expect("a duplicate")), Ok(1));
    let gap = rig.send(4).expect("judged");
    assert_eq!(rig.ends(gap), Err(PartitionError::OutOfOrderSequence));
    let next = rig.send(3).expect("accepted");
    commit_next(&group);
    assert_eq!(rig.ends(next), Ok(3));
}

#[test]
fn an_entry_of_several_batches_is_read_batch_by_batch() {
    let (rig, group) = leading();
    let batches = [batch(&["a", "b"]), idempotent(1, 0, 0, 3), idempotent(2, 0, 0, 1)];
    let sizes: Vec<u64> = batches.iter().map(|batch| batch.len() as u64).collect();
    group.append(EntryKind::Data, BytesMut::from(batches.concat().as_slice()), 6);
    group.append(EntryKind::Data, batch(&["z"]), 1);
    group.commit();
    rig.sim.run_until_idle();
    assert_eq!(base_offsets(&rig.fetch(from(0)).expect("in range")), [0, 2, 5, 6]);
    for (offset, first) in [(1, 0), (2, 2), (4, 2), (5, 5), (6, 6)] {
        assert_eq!(
            base_offsets(&rig.fetch(from(offset)).expect("in range")).first(),
            Some(&first)
        );
    }
    let sized = |offset, max_bytes, min_one_batch| {
        base_offsets(
            &rig.fetch(FetchQuery {
                max_bytes,
                min_one_batch,
                ..from(offset)
            })
            .expect("in range"),
        )
    };
    assert_eq!(sized(0, sizes[0] + sizes[1], true), [0, 2]);
    assert_eq!(sized(0, sizes[0] + sizes[1] - 1, true), [0]);
    assert_eq!(sized(3, sizes[1] + sizes[2], true), [2, 5]);
    assert_eq!(sized(3, sizes[1] - 1, true), [2]);
    assert!(sized(3, sizes[1] - 1, false).is_empty());
    let again = rig
        .partition
        .produce(idempotent(2, 0, 0, 1), Acks::All, true)
        .expect("a duplicate");
    assert_eq!(rig.ends(again), Ok(5), "each batch of an entry is its producer's");
}

#[test]
fn an_entry_that_cannot_be_applied_stops_the_partition() {
    for (kind, payload, records) in [
        (EntryKind::Command, &[99][..], 0),
        (EntryKind::Data, &batch(&["a", "b"])[..], 3),
    ] {
        let (rig, group) = leading();
        group.append(kind, BytesMut::from(payload), records);
        group.commit();
        rig.sim.run_until_idle();
        assert_eq!(rig.partition.view().ended, Some(Ended::Failed));
        assert!(rig.produce(batch(&["x"])).is_err() && rig.fetch(from(0)).is_err());
    }
}
