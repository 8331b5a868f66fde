//! Opening a replica: what its log says, the founding entry, and the start of the crate.

use super::limits::Limits;
use super::network::CrateNetwork;
use super::replica::{Crate, Replica, Shared};
use super::state::{Draft, State};
use super::storage::CrateStorage;
use crate::membership::{decode_membership, encode_membership, why_invalid};
use async_raft::raft::AppendEntriesRequest;
use async_raft::{Config, Raft, SnapshotPolicy};
use chronik_core::consensus::{ConsensusError, GroupSpec, Member, Membership};
use chronik_core::env::{DiskLane, Env};
use chronik_core::log_store::{Checkpoint, HardState, LogReader, LogState, LogWriter};
use chronik_core::{Entry, EntryKind, LogError, LogId, LogIndex, Term};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many payload bytes of the log are looked at in one read while memberships are searched.
const SCAN_BYTES: u64 = 4 << 20;

/// What the log says.
struct Found {
    memberships: BTreeMap<LogIndex, Membership>,
    checkpoints: BTreeMap<LogIndex, LogId>,
}

/// Opens a replica and starts the crate on it.
pub(super) async fn open(
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    spec: GroupSpec,
) -> Result<(Arc<Replica>, async_channel::Sender<Draft>), ConsensusError> {
    let GroupSpec {
        group,
        replica: me,
        founding,
        log,
        stamper,
    } = spec;
    check_founding(&founding, me)?;
    let (mut writer, reader) = (log.writer, log.reader);
    found_group(writer.as_mut(), reader.as_ref(), &founding, me).await?;
    let found = search(&shared.env, &reader, &founding).await?;
    let at_end = reader.state();
    let hard = prepare_term(writer.as_mut(), &at_end, &found, me).await?;
    let state = new_state(me, hard, &at_end, found);
    let replica = Replica::new(shared, group, (writer, reader), stamper, limits, state);
    let (queue, drafts) = async_channel::unbounded();
    start(&replica).await?;
    let island = &replica.shared.island;
    island.spawn(Arc::clone(&replica).hand_in(drafts));
    island.spawn(Arc::clone(&replica).keep_time());
    island.spawn(Arc::clone(&replica).follow_disk());
    island.spawn(Arc::clone(&replica).keep_learners());
    Ok((replica, queue))
}

fn check_founding(founding: &Membership, me: Member) -> Result<(), ConsensusError> {
    if me.replica.0 == 0 {
        return Err(ConsensusError::Invalid("replica 0 cannot be a member".into()));
    }
    if !founding.outgoing_voters.is_empty() {
        return Err(ConsensusError::Invalid(
            "a group is not founded in the middle of a change".into(),
        ));
    }
    if founding.voters.len() == 1 && !founding.learners.is_empty() {
        return Err(super::change::unsupported("a learner beside a single voter"));
    }
    match why_invalid(founding) {
        Some(why) if !founding.voters.is_empty() => Err(ConsensusError::Invalid(why)),
        _ => Ok(()),
    }
}

/// Bootstrap without the crate's `initialize`, which races: every founding voter writes the same first entry, in term 1.
async fn found_group(
    writer: &mut dyn LogWriter,
    reader: &dyn LogReader,
    founding: &Membership,
    me: Member,
) -> Result<(), ConsensusError> {
    let log = reader.state();
    if log.last.index > LogIndex(0) || !founding.voters.contains(&me) {
        return Ok(());
    }
    let term = log.hard_state.term.max(Term(1));
    let vote = if term == log.hard_state.term {
        log.hard_state.vote
    } else {
        None
    };
    let voted = writer.save_hard_state(HardState { term, vote })?;
    let entry = Entry {
        id: LogId::new(1, 1),
        kind: EntryKind::Membership,
        base_offset: log.offset_end,
        record_count: 0,
        max_timestamp_ms: -1,
        payload: encode_membership(founding).into(),
    };
    let appended = writer.append(&[entry])?;
    voted.await?;
    appended.await?;
    Ok(())
}

/// A single voter leads at once, in a term of its own (CS-ELE-02); the crate would stay in the old one.
async fn prepare_term(
    writer: &mut dyn LogWriter,
    log: &LogState,
    found: &Found,
    me: Member,
) -> Result<HardState, ConsensusError> {
    let stored = log.hard_state;
    let newest = found.memberships.values().next_back();
    let alone = newest.is_some_and(|newest| newest.voters == [me] && newest.outgoing_voters.is_empty());
    if alone {
        let term = Term(stored.term.0.max(log.last.term.0) + 1);
        let vote = Some(me.replica);
        let hard = HardState { term, vote };
        writer.save_hard_state(hard)?.await?;
        return Ok(hard);
    }
    if stored.term >= log.last.term {
        return Ok(stored);
    }
    let hard = HardState {
        term: log.last.term,
        vote: None,
    };
    writer.save_hard_state(hard)?.await?;
    Ok(hard)
}

/// Checkpoints may lie on disk: they are read where blocking is allowed.
async fn read_checkpoint(
    env: &Env,
    reader: &Arc<dyn LogReader>,
    index: LogIndex,
) -> Result<Option<Checkpoint>, LogError> {
    let (sender, receiver) = async_channel::bounded(1);
    let reader = Arc::clone(reader);
    let job = move || drop(sender.try_send(reader.checkpoint(index)));
    env.disk.submit(DiskLane::Read, Box::new(job));
    receiver.recv().await.unwrap_or(Err(LogError::Closed))
}

/// Finds the memberships: that of a checkpoint, and those in the log after it (CS-SNP-03).
async fn search(
    env: &Env,
    reader: &Arc<dyn LogReader>,
    founding: &Membership,
) -> Result<Found, ConsensusError> {
    let log = reader.state();
    let mut found = Found {
        memberships: BTreeMap::new(),
        checkpoints: BTreeMap::new(),
    };
    let at_purge = read_checkpoint(env, reader, log.purged.index).await?;
    let newest = read_checkpoint(env, reader, log.last.index).await?;
    // The newest that has one alone: what lies between two of them is not read.
    for checkpoint in [newest, at_purge].into_iter().flatten() {
        found.checkpoints.insert(checkpoint.at.index, checkpoint.at);
        let membership = decode_membership(&checkpoint.consensus).filter(|has| !has.voters.is_empty());
        if let (Some(membership), true) = (membership, found.memberships.is_empty()) {
            found.memberships.insert(checkpoint.at.index, membership);
        }
    }
    let covered = found.memberships.keys().next_back().copied().unwrap_or_default();
    let mut from = covered.max(log.purged.index).next();
    while from <= log.last.index {
        let entries = reader
            .entries(from..log.last.index.next(), SCAN_BYTES)?
            .get()
            .await?;
        let Some(last) = entries.last() else {
            break;
        };
        from = last.id.index.next();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            let membership = decode_membership(&entry.payload).ok_or_else(|| {
                let what = format!("entry {} holds no membership that this version knows", entry.id);
                ConsensusError::Invalid(what)
            })?;
            found.memberships.insert(entry.id.index, membership);
        }
    }
    if found.memberships.is_empty() {
        if log.last.index > LogIndex(0) {
            let what = format!(
                "neither the log, which starts at {}, nor a checkpoint holds a membership",
                log.purged
            );
            return Err(ConsensusError::Invalid(what));
        }
        // A replica that waits to be taken up. What the founders are called helps it to answer them.
        let waiting = Membership::default();
        found.memberships.insert(LogIndex(0), waiting);
        log::debug!("event=waits_for_membership founding={founding:?}");
    }
    Ok(found)
}

fn new_state(me: Member, hard: HardState, log: &LogState, found: Found) -> State {
    // What a checkpoint covers was committed, also where the hint was not stored with it.
    let covered = found.checkpoints.keys().next_back().copied().unwrap_or_default();
    let commit = log.commit_hint.max(covered).min(log.last.index);
    let commit = commit.max(log.purged.index);
    let mut state = State {
        me,
        hard,
        leads: false,
        fenced: false,
        leader: None,
        own_term_start: None,
        commit,
        floor: LogIndex(0),
        verified: (Term(0), LogIndex(0)),
        memberships: found.memberships,
        book: BTreeMap::from([(me.replica, me)]),
        peers: BTreeMap::new(),
        drafts: BTreeMap::new(),
        next_draft: 0,
        pending: BTreeMap::new(),
        unsynced: VecDeque::new(),
        incoming: BTreeMap::new(),
        checkpoints: found.checkpoints,
        crate_applied: commit,
        stopped: false,
    };
    for membership in state.memberships.values().cloned().collect::<Vec<_>>() {
        state.learn_members(&membership);
    }
    state
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the crate on a replica.
pub(super) async fn start(replica: &Arc<Replica>) -> Result<(), ConsensusError> {
    let options = replica.options();
    // L8: below 128 the crate loses events while it drains its queue.
    let batch = if replica.guards().l8_large_batches {
        300
    } else {
        50
    };
    let config = Config::build(format!("group-{}", replica.group))
        .election_timeout_min(millis(options.election_min))
        .election_timeout_max(millis(options.election_max))
        .heartbeat_interval(millis(options.heartbeat))
        .max_payload_entries(batch)
        .snapshot_policy(SnapshotPolicy::LogsSinceLast(u64::MAX))
        .validate()
        .map_err(|error| ConsensusError::Invalid(error.to_string()))?;
    let network = Arc::new(CrateNetwork(Arc::clone(replica)));
    let storage = Arc::new(CrateStorage(Arc::clone(replica)));
    let id = replica.me.replica.0;
    let raft: Crate = replica
        .shared
        .island
        .enter(|| Raft::new(id, Arc::new(config), network, storage));
    replica.set_raft(Some(raft.clone()));
    if replica.guards().l1_restart {
        wake(replica, &raft).await?;
    }
    Ok(())
}

/// L1: the crate waits 30 seconds before a restarted voter may campaign. A message of its own current term sets its
/// timer as after any other; one of the next term would depose a leader that lives.
async fn wake(replica: &Arc<Replica>, raft: &Crate) -> Result<(), ConsensusError> {
    let (term, commit, votes) = {
        let state = replica.state();
        let votes = state.is_voter() && state.newest().voters.len() > 1;
        (state.hard.term, state.commit, votes)
    };
    if !votes {
        return Ok(());
    }
    let message = AppendEntriesRequest {
        term: term.0,
        leader_id: replica.me.replica.0,
        prev_log_index: 0,
        prev_log_term: 0,
        entries: Vec::new(),
        leader_commit: commit.0,
    };
    let woken = raft.append_entries(message).await;
    woken
        .map(drop)
        .map_err(|error| ConsensusError::Invalid(format!("the crate did not start: {error}")))
}

impl Replica {
    /// Stops the crate and gives the log up.
    pub(super) async fn close(self: Arc<Self>) {
        self.stop_crate().await;
        {
            let mut state = self.state();
            if !state.stopped {
                self.stop(&mut state);
            }
        }
        self.drop_writer();
    }

    /// L15: the crate panics when it is dropped without its shutdown.
    pub(super) async fn stop_crate(&self) {
        if let Some(raft) = self.set_raft(None) {
            let (sender, receiver) = async_channel::bounded::<()>(1);
            self.shared.island.spawn(async move {
                if let Err(error) = raft.shutdown().await {
                    log::warn!("event=crate_shutdown error=\"{error}\"");
                }
                drop(sender);
            });
            // The channel closes when the crate has ended, or the runtime.
            let _ = receiver.recv().await;
        }
    }

    /// L13: every new leader takes the learners up again.
    async fn keep_learners(self: Arc<Self>) {
        let mut seen = (None, LogIndex(0));
        let (_, mut version) = self.progress.versioned();
        loop {
            let (stopped, now) = {
                let state = self.state();
                let leading = state.own_term_start.filter(|_| state.leads);
                (state.stopped, (leading, state.newest_at()))
            };
            if stopped {
                return;
            }
            if now != seen && self.guards().l13_learners_in_log {
                seen = now;
                self.take_up_learners();
            }
            version = self.progress.changed(version).await.1;
        }
    }
}
