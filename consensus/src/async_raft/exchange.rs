//! S3, L3, L7: what a leader sends to a replica, built from the log behind what that replica confirmed.
//!
//! One exchange runs per peer. It ends when the peer holds the whole log or does not answer; the crate's next call, at
//! the latest its next heartbeat, starts another.

use super::counters::count;
use super::replica::Replica;
use super::wire::{self, Append, AppendAnswer, Request};
use chronik_core::transport::Lane;
use chronik_core::{LogError, LogId, LogIndex, ReplicaId, Term};
use std::sync::Arc;
use std::time::Duration;

/// How an exchange goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is more to send.
    Again,
    /// The peer was sent the log up to here, and has it or waits for its disk.
    Enough(LogIndex),
    /// The peer did not answer.
    Failed,
    /// This replica does not lead the term any more.
    Over,
}

/// A message on its way.
#[derive(Debug)]
struct Sent {
    previous: LogId,
    last: LogIndex,
    commit: LogIndex,
    at: Duration,
}

impl Replica {
    /// Starts an exchange; the caller has marked the peer as running.
    pub(super) fn start_exchange(self: &Arc<Self>, to: ReplicaId, term: Term) {
        self.shared.island.spawn(Arc::clone(self).exchange(to, term));
    }

    async fn exchange(self: Arc<Self>, to: ReplicaId, term: Term) {
        loop {
            let step = self.send_one(to, term).await;
            let mut state = self.state();
            if !state.leads_term(term) {
                return;
            }
            let last = self.last().index;
            let Some(peer) = state.peers.get_mut(&to) else {
                return;
            };
            peer.failed = step == Step::Failed;
            // What was appended since the last message was built goes out now: nobody else will ask for it.
            let more = match step {
                Step::Again => true,
                Step::Enough(sent) => sent < last,
                Step::Failed | Step::Over => false,
            };
            if !more {
                peer.running = false;
                peer.rounds += 1;
            }
            peer.moved.notify(usize::MAX);
            if !more {
                self.tell_commit(&mut state);
                return;
            }
        }
    }

    async fn send_one(self: &Arc<Self>, to: ReplicaId, term: Term) -> Step {
        let (append, sent) = match self.build(to, term).await {
            Ok(Some(built)) => built,
            Ok(None) => return Step::Over,
            Err(LogError::Compacted { .. }) => return self.send_checkpoint(to, term).await,
            Err(LogError::Truncated) => return Step::Failed,
            Err(error) => {
                self.fail(&error);
                return Step::Over;
            }
        };
        let lane = if append.entries.is_empty() {
            Lane::Control
        } else {
            Lane::Replication
        };
        let deadline = self.options().election_min;
        let answer = self.call(to, lane, Request::Append(append), deadline).await;
        match answer.and_then(wire::append_answer) {
            Some(answer) => self.take_answer(to, term, &sent, &answer),
            None => Step::Failed,
        }
    }

    /// The next message for a peer; `None` once this replica does not lead the term.
    async fn build(&self, to: ReplicaId, term: Term) -> Result<Option<(Append, Sent)>, LogError> {
        let (next, commit, fenced) = {
            let state = self.state();
            match state.peers.get(&to).filter(|_| state.leads_term(term)) {
                Some(peer) => (peer.next, state.commit, state.fenced),
                None => return Ok(None),
            }
        };
        let log = self.reader.state();
        let previous = LogIndex(next.0.saturating_sub(1));
        let previous = match previous {
            LogIndex(0) => LogId::default(),
            index if index > log.last.index => return Err(LogError::Truncated),
            index => LogId {
                term: self.reader.term_at(index)?,
                index,
            },
        };
        let mut entries = Vec::new();
        if next <= log.last.index {
            let range = next..log.last.index.next();
            entries = self
                .reader
                .entries(range, self.options().max_append_bytes)?
                .get()
                .await?;
        }
        let last = entries.last().map_or(previous.index, |entry| entry.id.index);
        let floor = self.floor();
        let sent = Sent {
            previous,
            last,
            commit,
            at: self.now(),
        };
        let append = Append {
            term,
            previous,
            commit,
            floor,
            fenced,
            entries,
        };
        Ok(self.state().leads_term(term).then_some((append, sent)))
    }

    /// What every member holds, as this leader knows.
    pub(super) fn floor(&self) -> LogIndex {
        let state = self.state();
        let newest = state.newest();
        let all = newest
            .voters
            .iter()
            .chain(&newest.outgoing_voters)
            .chain(&newest.learners);
        let confirmed = all
            .filter(|member| member.replica != self.me.replica)
            .map(|member| {
                state
                    .peers
                    .get(&member.replica)
                    .map_or(LogIndex(0), |peer| peer.confirmed)
            });
        confirmed.min().unwrap_or(state.commit).min(state.commit)
    }

    fn take_answer(self: &Arc<Self>, to: ReplicaId, term: Term, sent: &Sent, answer: &AppendAnswer) -> Step {
        let last = self.last().index;
        let step = {
            let mut state = self.state();
            if !state.leads_term(term) {
                return Step::Over;
            }
            let Some(peer) = state.peers.get_mut(&to) else {
                return Step::Over;
            };
            if answer.term > term {
                peer.higher = Some(answer.term);
                return Step::Failed;
            }
            if answer.term < term {
                return Step::Failed;
            }
            peer.answered = peer.answered.max(sent.at);
            if answer.success {
                let confirmed = answer.confirmed.min(sent.last);
                let moved = confirmed > peer.confirmed;
                peer.confirmed = peer.confirmed.max(confirmed);
                peer.next = peer.next.max(peer.confirmed.next());
                peer.told_commit = sent.commit;
                if moved && sent.last < last {
                    Step::Again
                } else {
                    Step::Enough(sent.last)
                }
            } else {
                // Below what was sent and never below what was confirmed, so that this ends.
                let below = LogIndex(sent.previous.index.0.saturating_sub(1));
                let at = answer
                    .conflict
                    .map_or(below, |hint| self.agree_at(hint, below, peer.confirmed));
                if sent.previous.index <= peer.confirmed {
                    return Step::Failed;
                }
                let next = at.max(peer.confirmed).next();
                peer.next = next;
                Step::Again
            }
        };
        self.advance();
        step
    }

    /// The last entry of this log at or below a hint that is of no newer term.
    fn agree_at(&self, hint: LogId, below: LogIndex, confirmed: LogIndex) -> LogIndex {
        let mut index = hint.index.min(below);
        while index > confirmed && self.term_at(index).is_some_and(|term| term > hint.term) {
            index = self.before_term_of(index, confirmed);
        }
        index
    }

    /// S9, S10, L14: a replica that needs purged entries gets our checkpoint, whole and by its own id.
    async fn send_checkpoint(self: &Arc<Self>, to: ReplicaId, term: Term) -> Step {
        let purged = self.reader.state().purged;
        let Some(checkpoint) = self
            .read_checkpoint(purged.index)
            .await
            .filter(|found| found.at == purged)
        else {
            log::error!("event=checkpoint_missing group={} at={purged}", self.group);
            return Step::Failed;
        };
        let at = self.now();
        count(&self.counters().checkpoints_sent, 1);
        let deadline = self.options().answer_timeout;
        let answer = self
            .call(to, Lane::Bulk, Request::Install { term, checkpoint }, deadline)
            .await;
        let Some(answer) = answer.and_then(wire::append_answer) else {
            return Step::Failed;
        };
        let sent = Sent {
            previous: purged,
            last: purged.index,
            commit: LogIndex(0),
            at,
        };
        self.take_answer(to, term, &sent, &answer)
    }
}
