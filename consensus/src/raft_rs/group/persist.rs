//! What raft-rs wants to have written, in the order in which it must become durable, and what may be sent when.

use super::{Context, Group};
use crate::membership::decode_membership;
use crate::raft_rs::counters::count;
use crate::raft_rs::entry::from_raft;
use crate::raft_rs::inbox::Input;
use chronik_core::log_store::HardState;
use chronik_core::{Entry, EntryKind, LogError, LogIndex, Offset, ReplicaId, Term, Ticket};
use raft::Ready;
use raft::eraftpb::{self, Message, MessageType};

/// A round of writes that is not durable yet, and what must not be sent before it is.
#[derive(Debug)]
pub(super) struct Round {
    /// raft-rs's number of the last of its rounds that this one covers.
    pub(super) number: u64,
    /// Term or vote are among the writes.
    hard_state: bool,
    /// The checkpoint among the writes.
    pub(super) snapshot: Option<LogIndex>,
    /// The end of the log after the writes.
    last: LogIndex,
    messages: Vec<Message>,
}

impl Group {
    /// One round of raft-rs: writes, messages, commits. Between `ready` and `advance` nothing of raft-rs is changed.
    ///
    /// # Errors
    /// The log failed: the group must stop.
    pub(super) fn handle_ready(&mut self, context: &mut Context) -> Result<(), LogError> {
        let mut ready = self.raw.ready();
        let mut round = Round {
            number: ready.number(),
            hard_state: false,
            snapshot: None,
            last: self.raw.store().last(),
            messages: Vec::new(),
        };
        let ticket = self.write(context, &mut ready, &mut round)?;
        let at_once = ready.take_messages();
        let after = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let reads = ready.take_read_states();
        self.raw.advance_append_async(ready);

        match ticket {
            Some(ticket) => self.await_round(context, round, ticket),
            None => self.skip_round(round.number),
        }
        self.send_or_hold(context, at_once, after);
        let last = self.raw.store().last();
        self.proposals.appended_to(last);
        self.shown_commit = self.commit();
        assert!(self.shown_commit <= last, "the log holds what is committed");
        self.apply_committed(context, &committed)?;
        self.settle_commits(context);
        self.barriers.answered(reads);
        self.show();
        Ok(())
    }

    /// Everything that this round writes; the ticket of the last write speaks for all.
    fn write(
        &mut self,
        context: &Context,
        ready: &mut Ready,
        round: &mut Round,
    ) -> Result<Option<Ticket>, LogError> {
        let mut ticket = None;
        if let Some(state) = ready.hs() {
            let wanted = HardState {
                term: Term(state.term),
                vote: (state.vote != 0).then_some(ReplicaId(state.vote)),
            };
            self.writer.commit_hint(LogIndex(state.commit));
            if wanted != self.saved {
                ticket = Some(self.writer.save_hard_state(wanted)?);
                self.saved = wanted;
                round.hard_state = true;
            }
        }
        if !ready.snapshot().is_empty() {
            ticket = Some(self.install(context, ready.snapshot())?);
            round.snapshot = Some(LogIndex(ready.snapshot().get_metadata().index));
        }
        let entries = ready.take_entries();
        if !entries.is_empty() {
            ticket = Some(self.append(context, &entries)?);
        }
        round.last = self.raw.store().last();
        Ok(ticket)
    }

    fn append(&mut self, context: &Context, new: &[eraftpb::Entry]) -> Result<Ticket, LogError> {
        let first = new.first().map_or(LogIndex(0), |entry| LogIndex(entry.index));
        if first <= self.raw.store().last() {
            self.truncate(first)?;
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(new.len());
        let mut end = self.log_end;
        for entry in new {
            // What arrives from others was decoded by the rules of `entry`, and what is proposed was made by them.
            let entry = from_raft(entry, end).expect("raft-rs gives back the contexts that it was given");
            end = Offset(end.0.saturating_add(i64::from(entry.record_count)));
            entries.push(entry);
        }
        count(&context.counters.append_batches, 1);
        let ticket = self.writer.append(&entries)?;
        self.log_end = end;
        self.raw.mut_store().appended(&entries);
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            // Checked when it was proposed or decoded.
            let membership =
                decode_membership(&entry.payload).expect("a membership entry holds a membership");
            self.learn_nodes(&membership);
            self.shown.set_membership(&membership);
            self.pending.insert(entry.id.index, membership);
        }
        Ok(ticket)
    }

    /// The entries from `from` on conflict with the leader's: they go before the leader's are appended.
    pub(super) fn truncate(&mut self, from: LogIndex) -> Result<(), LogError> {
        assert!(from > self.shown_commit, "a committed entry never changes");
        log::info!(
            "event=truncated group={} replica={} from={from} last={}",
            self.to.group,
            self.replica.replica,
            self.raw.store().last()
        );
        // Its ticket is covered by that of the append after it.
        drop(self.writer.truncate_from(from)?);
        self.raw.mut_store().truncated(from);
        if !self.pending.split_off(&from).is_empty() {
            self.shown.set_membership(self.newest());
        }
        self.log_end = self.raw.store().reader().state().offset_end;
        Ok(())
    }

    fn await_round(&mut self, context: &Context, round: Round, ticket: Ticket) {
        let (inbox, to, number) = (context.inbox.clone(), self.to, round.number);
        self.rounds.push_back(round);
        ticket.on_resolve(move |result| {
            inbox.push(Input::Persisted {
                to,
                round: number,
                result: result.clone(),
            });
        });
    }

    /// A round without writes is as durable as the one before it.
    fn skip_round(&mut self, number: u64) {
        if self.rounds.is_empty() {
            self.raw.on_persist_ready(number);
        }
    }

    /// A leader's messages need not wait for its own entries, but nothing passes a term or vote that is not durable.
    /// A follower's word waits for all that was written before it.
    fn send_or_hold(&mut self, context: &mut Context, at_once: Vec<Message>, after: Vec<Message>) {
        let voting = self.rounds.iter().any(|round| round.hard_state);
        if voting {
            let messages = at_once.into_iter().chain(after);
            if let Some(round) = self.rounds.back_mut() {
                round.messages.extend(messages);
            }
            return;
        }
        for message in at_once {
            self.send(context, message);
        }
        for message in after {
            // That a leader was heard says nothing of what is on disk.
            let heard = matches!(
                message.get_msg_type(),
                MessageType::MsgHeartbeatResponse | MessageType::MsgReadIndex
            );
            match self.rounds.back_mut() {
                Some(round) if !heard => round.messages.push(message),
                _ => self.send(context, message),
            }
        }
    }

    /// Everything up to this round is durable.
    ///
    /// # Errors
    /// The write failed: nothing of it is ever promised, and the group must stop.
    pub(in crate::raft_rs) fn persisted(
        &mut self,
        context: &mut Context,
        number: u64,
        result: Result<(), LogError>,
    ) -> Result<(), LogError> {
        result?;
        while self.rounds.front().is_some_and(|round| round.number <= number) {
            let Some(round) = self.rounds.pop_front() else {
                break;
            };
            self.raw.on_persist_ready(round.number);
            if let Some(index) = round.snapshot {
                self.raw.advance_apply_to(index.0);
            }
            self.proposals.durable_to(round.last);
            for message in round.messages {
                self.send(context, message);
            }
        }
        Ok(())
    }
}
