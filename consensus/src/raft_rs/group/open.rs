//! Opening a group: what the log says, read before the engine takes the replica.

use super::change::Changes;
use super::election::{Election, NEVER_TICKS};
use super::proposals::Proposals;
use super::read::Barriers;
use super::sleep::Sleep;
use super::{Context, Group};
use crate::membership::{decode_membership, why_invalid};
use crate::raft_rs::counters::count;
use crate::raft_rs::inbox::{Answer, Instance};
use crate::raft_rs::shown::Shown;
use crate::raft_rs::storage::{GroupStorage, Initial};
use chronik_core::consensus::{ConsensusError, GroupSpec, Member, Membership, Progress, Role, Stamper};
use chronik_core::env::{DiskLane, Env};
use chronik_core::log_store::{Checkpoint, HardState, LogReader, LogState, LogWriter};
use chronik_core::{EntryKind, LogError, LogId, LogIndex};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many payload bytes of the log are looked at in one read while memberships are searched.
const SCAN_BYTES: u64 = 4 << 20;

/// What the log says of the memberships of its group.
#[derive(Debug)]
struct Known {
    commit: LogIndex,
    /// The newest membership at or before `commit`.
    applied: Membership,
    /// Those up to `commit`, oldest first.
    history: Vec<(LogIndex, Membership)>,
    /// Those after it.
    pending: BTreeMap<LogIndex, Membership>,
    /// The log or a checkpoint holds a membership.
    founded: bool,
}

/// A group on its way into the engine.
pub(in crate::raft_rs) struct Opening {
    pub(in crate::raft_rs) to: Instance,
    replica: Member,
    writer: Box<dyn LogWriter>,
    stamper: Arc<dyn Stamper>,
    pub(in crate::raft_rs) shown: Arc<Shown>,
    storage: GroupStorage,
    known: Known,
    saved: HardState,
    checkpoints: BTreeMap<LogIndex, LogId>,
    /// The group is new, and this replica is the one that should lead it first.
    first: bool,
    pub(in crate::raft_rs) answer: Answer<()>,
}

/// Reads what a group's log says.
pub(in crate::raft_rs) async fn prepare(
    env: &Env,
    spec: GroupSpec,
    to: Instance,
    max_append_bytes: u64,
    answer: Answer<()>,
) -> Result<Opening, ConsensusError> {
    let GroupSpec {
        group,
        replica,
        founding,
        log,
        stamper,
    } = spec;
    if replica.replica.0 == 0 {
        return Err(ConsensusError::Invalid("replica 0 cannot be a member".into()));
    }
    if !founding.outgoing_voters.is_empty() {
        return Err(ConsensusError::Invalid(
            "a group is not founded in the middle of a change".into(),
        ));
    }
    let state = log.reader.state();
    let newest = read_checkpoint(env, &log.reader, LogIndex(u64::MAX)).await?;
    let at_purge = read_checkpoint(env, &log.reader, state.purged.index).await?;
    let found = scan(&log.reader, &state, newest.as_ref()).await?;
    let is_new = state.last.index == LogIndex(0) && newest.is_none();
    let known = weigh(&state, newest.as_ref(), found, &founding, replica)?;
    let first = is_new && known.applied.voters.first() == Some(&replica);
    let checkpoints = [at_purge, newest];
    let checkpoints = checkpoints.iter().flatten();
    let checkpoints = checkpoints
        .map(|checkpoint| (checkpoint.at.index, checkpoint.at))
        .collect();
    let initial = Initial {
        hard_state: state.hard_state,
        commit: known.commit,
        membership: known.applied.clone(),
        changes: known.pending.keys().copied().collect(),
    };
    let storage = GroupStorage::new(log.reader, initial, max_append_bytes)?;
    let progress = Progress {
        role: Role::Follower,
        term: state.hard_state.term.max(state.last.term),
        leader: None,
        commit: known.commit,
        own_term_start: None,
    };
    let shown = Arc::new(Shown::new(group, replica, progress));
    shown.set_membership(known.pending.values().next_back().unwrap_or(&known.applied));
    Ok(Opening {
        to,
        replica,
        writer: log.writer,
        stamper,
        shown,
        storage,
        known,
        saved: state.hard_state,
        checkpoints,
        first,
        answer,
    })
}

/// Checkpoints may lie on disk: read them where blocking is allowed.
async fn read_checkpoint(
    env: &Env,
    reader: &Arc<dyn LogReader>,
    index: LogIndex,
) -> Result<Option<Checkpoint>, ConsensusError> {
    let (sender, receiver) = async_channel::bounded(1);
    let reader = Arc::clone(reader);
    let job = move || drop(sender.try_send(reader.checkpoint(index)));
    env.disk.submit(DiskLane::Read, Box::new(job));
    let read = receiver.recv().await.unwrap_or(Err(LogError::Closed))?;
    Ok(read)
}

/// The membership that a checkpoint holds. Earlier versions stored some in which nobody votes.
fn membership_of(checkpoint: &Checkpoint) -> Option<Membership> {
    decode_membership(&checkpoint.consensus).filter(|membership| !membership.voters.is_empty())
}

/// The memberships in the log after the newest checkpoint that holds one.
async fn scan(
    reader: &Arc<dyn LogReader>,
    state: &LogState,
    newest: Option<&Checkpoint>,
) -> Result<Vec<(LogIndex, Membership)>, ConsensusError> {
    let mut found = Vec::new();
    let covered = newest
        .filter(|checkpoint| membership_of(checkpoint).is_some())
        .map_or(state.purged.index, |checkpoint| checkpoint.at.index);
    let mut from = covered.max(state.purged.index).next();
    while from <= state.last.index {
        let entries = reader
            .entries(from..state.last.index.next(), SCAN_BYTES)?
            .get()
            .await?;
        let Some(last) = entries.last() else {
            break;
        };
        from = last.id.index.next();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            let Some(membership) = decode_membership(&entry.payload) else {
                let what = format!("entry {} holds no membership that this version knows", entry.id);
                return Err(ConsensusError::Invalid(what));
            };
            found.push((entry.id.index, membership));
        }
    }
    Ok(found)
}

/// Which memberships are committed for sure, and by which one raft-rs starts to count.
///
/// A leader proposes a membership only after it applied the one before: of those in a log, all but the last are
/// committed. That much must not be forgotten, or a replica could be elected by voters that were replaced. That the
/// last one is committed may be forgotten: its quorums overlap with those of the one before.
fn weigh(
    state: &LogState,
    newest: Option<&Checkpoint>,
    found: Vec<(LogIndex, Membership)>,
    founding: &Membership,
    replica: Member,
) -> Result<Known, ConsensusError> {
    let mut commit = state.commit_hint.max(state.purged.index);
    let mut history = Vec::new();
    if let Some(checkpoint) = newest {
        commit = commit.max(checkpoint.at.index);
        if let Some(membership) = membership_of(checkpoint) {
            history.push((checkpoint.at.index, membership));
        }
    }
    if let [.., (before_last, _), _] = found.as_slice() {
        commit = commit.max(*before_last);
    }
    commit = commit.min(state.last.index);
    let founded = !history.is_empty() || !found.is_empty();
    let base = match (history.first(), found.first()) {
        (Some((_, membership)), _) => membership.clone(),
        // The first membership of a log is the one that founded the group.
        (None, Some((_, membership))) => membership.clone(),
        (None, None) => founding_for(founding, replica)?,
    };
    let mut pending = BTreeMap::new();
    let mut applied = base.clone();
    for (index, membership) in found {
        if index <= commit {
            applied = membership.clone();
            history.push((index, membership));
        } else {
            pending.insert(index, membership);
        }
    }
    if history.is_empty() {
        history.push((LogIndex(0), base));
    }
    Ok(Known {
        commit,
        applied,
        history,
        pending,
        founded,
    })
}

/// A founding membership without this replica says that it is a fresh one, which waits for a leader.
fn founding_for(founding: &Membership, replica: Member) -> Result<Membership, ConsensusError> {
    let mut members = founding.voters.iter().chain(&founding.learners);
    if !members.any(|member| *member == replica) {
        return Ok(Membership::default());
    }
    match why_invalid(founding) {
        Some(what) => Err(ConsensusError::Invalid(what)),
        None => Ok(founding.clone()),
    }
}

impl Group {
    /// Takes an opening into the engine.
    pub(in crate::raft_rs) fn new(context: &Context, opening: Opening) -> (Self, Answer<()>) {
        let options = &context.options;
        let config = Config {
            id: opening.replica.replica.0,
            election_tick: options.election_ticks as usize,
            heartbeat_tick: options.heartbeat_ticks as usize,
            applied: opening.known.commit.0,
            max_size_per_msg: options.max_append_bytes,
            max_inflight_msgs: options.max_inflight_appends,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: NEVER_TICKS,
            max_election_tick: NEVER_TICKS + 1,
            read_only_option: ReadOnlyOption::Safe,
            max_committed_size_per_ready: 64 << 10,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let log_end = opening.storage.reader().state().offset_end;
        let raw = RawNode::new(&config, opening.storage, &logger)
            .expect("options and membership are checked before a group is taken");
        let seen = (raw.raft.term, StateRole::Follower, 0);
        let mut group = Self {
            to: opening.to,
            replica: opening.replica,
            raw,
            writer: opening.writer,
            stamper: opening.stamper,
            shown: opening.shown,
            seen,
            own_term_start: None,
            shown_commit: opening.known.commit,
            saved: opening.saved,
            applied: opening.known.applied,
            pending: opening.known.pending,
            history: opening.known.history,
            book: BTreeMap::new(),
            log_end,
            next_offset: log_end,
            checkpoints: opening.checkpoints,
            rounds: VecDeque::new(),
            proposals: Proposals::default(),
            barriers: Barriers::new(context.env.rng.next_u64()),
            changes: Changes::default(),
            election: Election::default(),
            sleep: Sleep::default(),
            answered: BTreeMap::new(),
            snapshots_sent: BTreeMap::new(),
            reading_checkpoint: false,
            checkpoint_for: Vec::new(),
            starved: false,
        };
        group.writer.expect_readers(false);
        group.changes.founded = opening.known.founded;
        let memberships: Vec<Membership> = group.pending.values().cloned().collect();
        for membership in memberships.iter().chain(&[group.applied.clone()]) {
            group.learn_nodes(membership);
        }
        group.election.draw(context);
        count(&context.counters.groups_open, 1);
        group.start(context, opening.first);
        (group, opening.answer)
    }

    /// A replica that is alone leads at once; the first of a new group soon.
    fn start(&mut self, context: &Context, first: bool) {
        let voters = &self.applied.voters;
        let alone = voters.len() == 1 && voters.first() == Some(&self.replica);
        if alone && self.applied.outgoing_voters.is_empty() {
            self.campaign_soon(context, std::time::Duration::ZERO);
        } else if first {
            self.campaign_soon(context, context.options.tick);
        }
        self.show();
    }
}
