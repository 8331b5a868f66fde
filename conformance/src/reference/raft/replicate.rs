//! Replication: appends, their answers, commits and checkpoints.

use super::lead::Follower;
use super::message::{Message, decode_membership};
use super::replica::{Replica, Step};
use super::{HEARTBEAT, RaftMutant};
use bytes::Bytes;
use chronik_core::consensus::{ConsensusError, Member};
use chronik_core::log_store::{Checkpoint, Purge};
use chronik_core::{Entry, LogId, LogIndex, Outcome, Term};

const MAX_APPEND_BYTES: u64 = 64 << 10;

impl Replica {
    /// Sends each other replica what it lacks; a beat goes to those too that lack nothing or have not answered.
    pub(super) async fn send_to_all(&mut self, beat: bool) -> Step {
        let now = self.env.clock.now();
        let last = self.last().index;
        for member in self.others() {
            let Some(leading) = &mut self.leading else {
                return Ok(());
            };
            let follower = leading.followers.entry(member.replica).or_insert(Follower {
                next: last,
                matched: LogIndex(0),
                heard: now,
                round: 0,
                waits: false,
                has_checkpoint: false,
            });
            if follower.waits && !beat {
                continue;
            }
            follower.waits = true;
            let next = follower.next;
            self.send_append(member, next).await?;
        }
        Ok(())
    }

    async fn send_append(&mut self, to: Member, next: LogIndex) -> Step {
        let state = self.reader.state();
        if next <= state.purged.index {
            return self.send_checkpoint(to).await;
        }
        let Some(prev) = self.id_at(LogIndex(next.0 - 1)) else {
            return Ok(());
        };
        let mut entries = Vec::new();
        let lags = self.has(RaftMutant::NoCatchUp) && next.0 + 8 < state.last.index.0;
        if next <= state.last.index && !lags {
            let range = next..state.last.index.next();
            entries = self.reader.entries(range, MAX_APPEND_BYTES)?.get().await?;
        }
        let message = Message::Append {
            term: self.term,
            prev,
            entries,
            commit: self.commit,
            round: self.leading.as_ref().map_or(0, |leading| leading.round),
        };
        self.send(to, message);
        Ok(())
    }

    async fn send_checkpoint(&mut self, to: Member) -> Step {
        let once = self.has(RaftMutant::SendsCheckpointOnce);
        let follower = self
            .leading
            .as_mut()
            .and_then(|leading| leading.followers.get_mut(&to.replica));
        if let Some(follower) = follower {
            if follower.has_checkpoint && once {
                return Ok(());
            }
            follower.has_checkpoint = true;
        }
        if self.has(RaftMutant::NoCheckpoints) {
            return Ok(());
        }
        if let Some(mut checkpoint) = self.reader.checkpoint(self.commit)? {
            if self.has(RaftMutant::InstallsEmptyState) {
                checkpoint.data = Bytes::new();
            }
            let term = self.term;
            self.send(to, Message::Install { term, checkpoint });
        }
        Ok(())
    }

    /// Takes entries from a leader.
    pub(super) async fn appended_by(
        &mut self,
        from: Member,
        (term, round): (Term, u64),
        prev: LogId,
        entries: Vec<Entry>,
        commit: LogIndex,
    ) -> Step {
        if term < self.term {
            self.refuse(from, self.last().index, round);
            return Ok(());
        }
        self.follow(from);
        let state = self.reader.state();
        let fits = match self.id_at(prev.index) {
            Some(own) => own == prev || self.has(RaftMutant::IgnoresPrev),
            None => prev.index < state.purged.index,
        };
        if !fits {
            let upto = self.hint(prev);
            self.refuse(from, upto, round);
            return Ok(());
        }
        let upto = entries.last().map_or(prev.index, |entry| entry.id.index);
        let entries = self.new_entries(entries).await?;
        if !entries.is_empty() {
            self.append(&entries, self.has(RaftMutant::AnswersBeforeSync))
                .await?;
        }
        // Up to here, and no further, the log is known to be the leader's.
        let verified = commit.min(upto);
        self.commit = if self.has(RaftMutant::CommitGoesBack) {
            verified
        } else {
            self.commit.max(verified)
        };
        self.writer.commit_hint(self.commit);
        let message = Message::Appended {
            term: self.term,
            ok: true,
            upto,
            round,
        };
        self.send(from, message);
        Ok(())
    }

    fn refuse(&self, from: Member, upto: LogIndex, round: u64) {
        let message = Message::Appended {
            term: self.term,
            ok: false,
            upto,
            round,
        };
        self.send(from, message);
    }

    /// The newest entry that the leader may have too.
    fn hint(&self, prev: LogId) -> LogIndex {
        let state = self.reader.state();
        let before = LogIndex(prev.index.0.saturating_sub(1));
        if self.has(RaftMutant::StepsByOne) {
            return before;
        }
        let mut index = before.min(state.last.index);
        // The entries of a term that is newer than the leader's at this place are all foreign.
        while index > self.commit && self.id_at(index).is_some_and(|own| own.term > prev.term) {
            index = LogIndex(index.0 - 1);
        }
        index
    }

    /// Accepts `from` as the leader of this term.
    fn follow(&mut self, from: Member) {
        if self.leader != Some(from.replica) || self.leading.is_some() {
            self.step_down(Some(from.replica));
        }
        if let Some((to, _, answer)) = self.transfer.take() {
            answer.give(if to == from.replica {
                Ok(())
            } else {
                Err(ConsensusError::Unknown("another replica leads".into()))
            });
        }
        self.heard = self.env.clock.now();
        self.rest();
    }

    /// Removes what conflicts, and returns what the log lacks.
    async fn new_entries(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, super::replica::Stop> {
        let (purged, always) = (
            self.reader.state().purged.index,
            self.has(RaftMutant::DeletesThenAppends),
        );
        let mut fresh = Vec::new();
        let mut cut = false;
        for mut entry in entries {
            if entry.id.index <= purged {
                continue;
            }
            let held = self.id_at(entry.id.index).filter(|_| fresh.is_empty());
            if held == Some(entry.id) && !(always && entry.id.index > self.commit) {
                continue;
            }
            if held.is_some() && !cut {
                cut = true;
                let ticket = self.writer.truncate_from(entry.id.index)?;
                self.revert_memberships(entry.id.index);
                ticket.await?;
            }
            if self.has(RaftMutant::LosesPayload) {
                entry.payload = Bytes::new();
            }
            fresh.push(entry);
        }
        Ok(fresh)
    }

    /// Takes a follower's answer.
    pub(super) async fn answered(
        &mut self,
        from: Member,
        term: Term,
        ok: bool,
        upto: LogIndex,
        round: u64,
    ) -> Step {
        let now = self.env.clock.now();
        let last = self.last().index;
        let patient = self.has(RaftMutant::StepsByOne);
        let idle = self.has(RaftMutant::NoCatchUp);
        let Some(leading) = self.leading.as_mut().filter(|_| term == self.term) else {
            return Ok(());
        };
        let Some(follower) = leading.followers.get_mut(&from.replica) else {
            return Ok(());
        };
        follower.heard = now;
        follower.round = follower.round.max(round);
        follower.waits = false;
        if ok {
            follower.matched = follower.matched.max(upto);
            follower.next = follower.next.max(upto.next()).min(last.next());
        } else {
            follower.next = upto.next().max(follower.matched.next()).min(last.next());
        }
        let (next, more) = (follower.next, follower.next <= last);
        self.advance().await?;
        self.finish_barriers();
        self.hand_over();
        let still = self
            .leading
            .as_mut()
            .and_then(|leading| leading.followers.get_mut(&from.replica));
        if let Some(follower) = still.filter(|_| more && !idle && (ok || !patient)) {
            follower.waits = true;
            self.send_append(from, next).await?;
        }
        Ok(())
    }

    /// Commits what a quorum has.
    pub(super) async fn advance(&mut self) -> Step {
        let Some(leading) = &self.leading else {
            return Ok(());
        };
        let me = self.me.replica;
        let has = |replica, index: LogIndex| {
            if replica == me {
                leading.durable >= index
            } else {
                leading
                    .followers
                    .get(&replica)
                    .is_some_and(|follower| follower.matched >= index)
            }
        };
        let old_terms = self.has(RaftMutant::CommitsOldTerms);
        let stopped = self.has(RaftMutant::StopsAfterLoss) && leading.lost_peer;
        let mut index = leading.durable.max(self.last().index);
        while index > self.commit && (old_terms || index >= leading.start) {
            let alone = self.has(RaftMutant::CommitsAlone) && leading.durable >= index;
            if (alone || self.is_quorum(|replica| has(replica, index))) && !stopped {
                break;
            }
            index = LogIndex(index.0 - 1);
        }
        if index <= self.commit || (index < leading.start && !old_terms) {
            return Ok(());
        }
        self.commit = index;
        self.writer.commit_hint(index);
        self.publish();
        if let Some(leading) = &mut self.leading {
            let later = leading.pending.split_off(&index.next());
            for (appended, sender) in std::mem::replace(&mut leading.pending, later).into_values() {
                sender.finish(Outcome::Committed(appended));
            }
            // Followers learn of it soon.
            leading.beat_at = leading.beat_at.min(self.env.clock.now() + HEARTBEAT / 10);
        }
        Box::pin(self.finish_change()).await
    }

    /// Takes a checkpoint in place of entries that are gone.
    pub(super) async fn install(&mut self, from: Member, term: Term, checkpoint: Checkpoint) -> Step {
        if term < self.term {
            self.refuse(from, self.last().index, 0);
            return Ok(());
        }
        self.follow(from);
        let at = checkpoint.at;
        if at.index > self.commit || self.has(RaftMutant::InstallsOlder) {
            let state = self.reader.state();
            let has_it = self.id_at(at.index) == Some(at);
            if !has_it && at.index <= state.last.index && at.index > state.purged.index {
                let ticket = self.writer.truncate_from(at.index)?;
                self.revert_memberships(at.index);
                ticket.await?;
            }
            if let Some(membership) = decode_membership(&checkpoint.consensus) {
                self.memberships.retain(|index, _| *index > at.index && has_it);
                self.memberships.insert(at.index, membership);
            }
            let offset_start = checkpoint.next_offset;
            self.writer.save_checkpoint(checkpoint)?.await?;
            let through = at;
            self.writer
                .purge(Purge {
                    through,
                    offset_start,
                })?
                .await?;
            self.commit = if self.has(RaftMutant::InstallsOlder) {
                at.index
            } else {
                self.commit.max(at.index)
            };
        }
        let message = Message::Appended {
            term: self.term,
            ok: true,
            upto: at.index,
            round: 0,
        };
        self.send(from, message);
        Ok(())
    }
}
