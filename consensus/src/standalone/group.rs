//! One unreplicated group.

use super::{StandaloneOptions, unsupported};
use crate::margin::needed_bytes;
use bytes::{Bytes, BytesMut};
use chronik_core::consensus::{
    ConsensusError, ConsensusGroup, GroupSpec, GroupStatus, Maintenance, Matched, Member, Membership,
    MembershipChange, Progress, Role, Stamper,
};
use chronik_core::log_store::{HardState, LogReader, LogWriter};
use chronik_core::proposal::{Appended, ProposalSender, ProposeError};
use chronik_core::{
    BoxFuture, Entry, EntryKind, GroupId, LogError, LogId, LogIndex, Offset, Outcome, Proposal,
    ProposalHandle, ReplicaId, Term, Ticket, Watch,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The end of the log, and the writer while the group is open.
#[derive(Debug)]
struct Tail {
    writer: Option<Box<dyn LogWriter>>,
    last: LogIndex,
    next_offset: Offset,
}

/// What changes when a ticket resolves: the part that outcomes arrive at.
#[derive(Debug)]
struct Commit {
    group: GroupId,
    progress: Watch<Progress>,
    inflight_bytes: AtomicU64,
}

impl Commit {
    fn settle(&self, appended: Appended, bytes: u64, sender: ProposalSender, result: &Result<(), LogError>) {
        self.inflight_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.progress.update(|progress| {
                    let moved = progress.commit < appended.id.index;
                    progress.commit = progress.commit.max(appended.id.index);
                    moved
                });
                sender.finish(Outcome::Committed(appended));
            }
            Err(error) => {
                if *error != LogError::Closed {
                    log::error!("event=group_stopped group={} error=\"{error}\"", self.group);
                }
                self.stop();
                sender.finish(Outcome::Unknown(error.to_string().into()));
            }
        }
    }

    fn stop(&self) {
        self.progress.update(|progress| {
            let running = progress.role != Role::Stopped;
            progress.role = Role::Stopped;
            progress.leader = None;
            running
        });
    }
}

#[derive(Debug)]
pub(super) struct StandaloneGroup {
    replica: Member,
    term: Term,
    reader: Arc<dyn LogReader>,
    stamper: Arc<dyn Stamper>,
    tail: Mutex<Tail>,
    commit: Arc<Commit>,
    options: StandaloneOptions,
}

impl StandaloneGroup {
    pub(super) async fn open(
        spec: GroupSpec,
        options: StandaloneOptions,
    ) -> Result<Arc<Self>, ConsensusError> {
        let GroupSpec {
            group,
            replica,
            log,
            stamper,
            ..
        } = spec;
        let (mut writer, reader) = (log.writer, log.reader);
        let state = reader.state();
        let term = Term(state.hard_state.term.0.max(state.last.term.0) + 1);
        let vote = Some(replica.replica);
        // The term is durable before an entry carries it: the tickets of a group resolve in order.
        let voted = writer.save_hard_state(HardState { term, vote })?;
        let blank = Entry {
            id: LogId {
                term,
                index: state.last.index.next(),
            },
            kind: EntryKind::Blank,
            base_offset: state.offset_end,
            record_count: 0,
            max_timestamp_ms: -1,
            payload: Bytes::new(),
        };
        let appended = writer.append(std::slice::from_ref(&blank))?;
        voted.await?;
        appended.await?;
        let progress = Progress {
            role: Role::Leader,
            term,
            leader: Some(replica.replica),
            commit: blank.id.index,
            own_term_start: Some(blank.id.index),
        };
        let progress = Watch::new(progress);
        Ok(Arc::new(Self {
            replica,
            term,
            reader,
            stamper,
            tail: Mutex::new(Tail {
                writer: Some(writer),
                last: blank.id.index,
                next_offset: state.offset_end,
            }),
            commit: Arc::new(Commit {
                group,
                progress,
                inflight_bytes: AtomicU64::new(0),
            }),
            options,
        }))
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the proposal its place and appends it, in one step under the lock: order of calls is order in the log.
    fn append(&self, proposal: Proposal) -> Result<(Appended, Ticket), ProposeError> {
        let Proposal {
            kind,
            mut payload,
            record_count,
            max_timestamp_ms,
        } = proposal;
        assert!(
            matches!(kind, EntryKind::Data | EntryKind::Command),
            "only data and commands are proposed, not {kind:?}"
        );
        let mut tail = self.tail();
        let (index, base_offset) = (tail.last.next(), tail.next_offset);
        let writer = tail.writer.as_mut().ok_or(ProposeError::Closed)?;
        let needed = needed_bytes(kind, payload.len() as u64);
        writer.reserve(kind, needed).map_err(ProposeError::Log)?;
        if kind == EntryKind::Data {
            self.stamp(&mut payload, base_offset);
        }
        let id = LogId {
            term: self.term,
            index,
        };
        let payload = payload.freeze();
        let entry = Entry {
            id,
            kind,
            base_offset,
            record_count,
            max_timestamp_ms,
            payload,
        };
        let ticket = writer
            .append(std::slice::from_ref(&entry))
            .map_err(ProposeError::Log)?;
        tail.last = index;
        tail.next_offset = entry.end_offset();
        Ok((Appended { id, base_offset }, ticket))
    }

    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset) {
        let before = payload.len();
        self.stamper.stamp(payload, base_offset, self.term);
        assert_eq!(payload.len(), before, "a stamp changes no length");
    }

    fn check_running(&self) -> Result<Progress, ConsensusError> {
        let progress = self.commit.progress.get();
        if progress.role == Role::Stopped {
            Err(ConsensusError::Closed)
        } else {
            Ok(progress)
        }
    }
}

impl ConsensusGroup for StandaloneGroup {
    fn propose(&self, proposal: Proposal) -> Result<ProposalHandle, ProposeError> {
        if self.check_running().is_err() {
            return Err(ProposeError::Closed);
        }
        let bytes = proposal.payload.len() as u64;
        let waiting = self.commit.inflight_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One proposal is always admitted, however large: the log has the last word on its size.
        let admitted = if waiting > 0 && waiting + bytes > self.options.max_inflight_bytes {
            Err(ProposeError::Overloaded)
        } else {
            self.append(proposal)
        };
        let (appended, ticket) = admitted.inspect_err(|_| {
            self.commit.inflight_bytes.fetch_sub(bytes, Ordering::Relaxed);
        })?;
        let (sender, handle) = ProposalHandle::pair();
        sender.appended(appended);
        let commit = Arc::clone(&self.commit);
        ticket.on_resolve(move |result| commit.settle(appended, bytes, sender, result));
        Ok(handle)
    }

    fn read_barrier(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        // Whatever was acknowledged is at or below the commit index of this, the only replica.
        let answer = self.check_running().map(|progress| progress.commit);
        Box::pin(std::future::ready(answer))
    }

    fn watch(&self) -> Watch<Progress> {
        self.commit.progress.clone()
    }

    fn status(&self) -> GroupStatus {
        let index = self.reader.state().durable;
        GroupStatus {
            group: self.commit.group,
            replica: self.replica,
            progress: self.commit.progress.get(),
            membership: Membership {
                voters: vec![self.replica],
                ..Membership::default()
            },
            matched: BTreeMap::from([(
                self.replica.replica,
                Matched {
                    index,
                    silent_for: Duration::ZERO,
                },
            )]),
        }
    }

    fn change_membership(&self, _: MembershipChange) -> BoxFuture<'static, Result<LogId, ConsensusError>> {
        Box::pin(std::future::ready(Err(unsupported("a membership change"))))
    }

    fn transfer_leadership(&self, to: ReplicaId) -> BoxFuture<'static, Result<(), ConsensusError>> {
        let answer = if to == self.replica.replica {
            Ok(())
        } else {
            Err(unsupported("a leadership transfer"))
        };
        Box::pin(std::future::ready(answer))
    }

    fn maintain(&self, maintenance: Maintenance) -> Result<Ticket, ConsensusError> {
        let mut tail = self.tail();
        let writer = tail.writer.as_mut().ok_or(ConsensusError::Closed)?;
        Ok(match maintenance {
            Maintenance::Purge(purge) => writer.purge(purge)?,
            Maintenance::Checkpoint(checkpoint) => writer.save_checkpoint(checkpoint)?,
            Maintenance::Roll { policy, now } => {
                writer.roll(policy, now)?;
                Ticket::resolved(Ok(()))
            }
        })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let writer = self.tail().writer.take();
        drop(writer);
        self.commit.stop();
        Box::pin(std::future::ready(()))
    }
}
