//! The leader's append: where a proposal gets its place in the log and its stamp.

use super::counters::count;
use super::descriptor::{CrateEntry, membership_of};
use super::replica::Replica;
use super::state::{Draft, Pending, State};
use crate::membership::{decode_membership, encode_membership};
use anyhow::{Result, anyhow, bail};
use async_raft::raft::EntryPayload;
use bytes::Bytes;
use chronik_core::consensus::Membership;
use chronik_core::log_store::LogWriter;
use chronik_core::proposal::{Appended, ProposeError};
use chronik_core::{Entry, EntryKind, LogError, LogId, LogIndex, Offset, Outcome, Ticket};
use std::sync::Arc;

/// An entry without records.
fn bare(id: LogId, kind: EntryKind, base_offset: Offset, payload: Bytes) -> Entry {
    Entry {
        id,
        kind,
        base_offset,
        record_count: 0,
        max_timestamp_ms: -1,
        payload,
    }
}

impl Replica {
    /// The crate appends an entry as a leader. Returns before it is durable, unless this replica votes alone.
    pub(super) async fn append_as_leader(self: &Arc<Self>, entry: &CrateEntry) -> Result<()> {
        let (ticket, alone) = self.place(entry)?;
        count(&self.counters().crate_leader_appends, 1);
        if alone || !self.guards().s1_s2_s3_own_commit {
            // The crate holds an entry for committed when this returns, or counts it as held here.
            ticket.await?;
            self.advance();
        } else {
            self.watch_ticket(ticket);
        }
        Ok(())
    }

    fn place(self: &Arc<Self>, entry: &CrateEntry) -> Result<(Ticket, bool)> {
        let id = LogId::new(entry.term, entry.index);
        self.write(|writer| Ok(self.place_with(writer, id, &entry.payload)))?
    }

    fn place_with(
        self: &Arc<Self>,
        writer: &mut dyn LogWriter,
        id: LogId,
        payload: &EntryPayload<super::descriptor::Descriptor>,
    ) -> Result<(Ticket, bool)> {
        let log = self.reader.state();
        if id.index != log.last.index.next() {
            bail!("the crate appends {id} to a log that ends at {}", log.last);
        }
        let mut state = self.state();
        if !state.leads_term(id.term) {
            self.take_the_lead(&mut state, id)?;
        }
        writer.commit_hint(state.commit);
        let end = log.offset_end;
        let ticket = match payload {
            EntryPayload::Blank => writer.append(&[bare(id, EntryKind::Blank, end, Bytes::new())])?,
            EntryPayload::ConfigChange(change) => {
                let membership = membership_of(&change.membership, state.newest(), &state.book)
                    .ok_or_else(|| anyhow!("the crate names a replica that nobody introduced"))?;
                let payload = encode_membership(&membership).into();
                let ticket = writer.append(&[bare(id, EntryKind::Membership, end, payload)])?;
                self.set_membership(&mut state, id.index, membership);
                ticket
            }
            EntryPayload::Normal(normal) => match state.drafts.remove(&normal.data.draft) {
                Some(draft) => self.place_draft(writer, &mut state, draft, id, end)?,
                None => bail!("the crate appends a proposal that nobody made"),
            },
            EntryPayload::SnapshotPointer(_) => bail!("the crate's snapshots are not used"),
        };
        state.unsynced.push_back(id);
        let alone = state.newest().voters.len() == 1 && state.newest().outgoing_voters.is_empty();
        self.show(&state);
        Ok((ticket, alone))
    }

    /// The first append in a term shows that the crate won its votes.
    fn take_the_lead(&self, state: &mut State, id: LogId) -> Result<()> {
        if state.hard.term != id.term || state.hard.vote != Some(self.me.replica) {
            bail!("the crate leads term {} after voting {:?}", id.term, state.hard);
        }
        state.become_leader(id.index, self.now());
        count(&self.counters().crate_elections_won, 1);
        log::info!(
            "event=leading group={} replica={} term={}",
            self.group,
            self.me.replica,
            id.term
        );
        Ok(())
    }

    /// Gives a proposal its place. One that the log refuses, or that was made in another term, leaves a blank entry, because the crate has counted it.
    fn place_draft(
        &self,
        writer: &mut dyn LogWriter,
        state: &mut State,
        draft: Draft,
        id: LogId,
        base_offset: Offset,
    ) -> Result<Ticket> {
        let Draft {
            proposal,
            term,
            membership,
            sender,
            permit,
        } = draft;
        if term != id.term {
            // The crate kept it over a change of leaders: it does not follow what others wrote meanwhile.
            let ticket = writer.append(&[bare(id, EntryKind::Blank, base_offset, Bytes::new())])?;
            let error = ProposeError::NotLeader { leader: None };
            sender.finish(Outcome::NotCommitted(error));
            return Ok(ticket);
        }
        let mut payload = proposal.payload;
        if proposal.kind == EntryKind::Data {
            let before = payload.len();
            self.stamper.stamp(&mut payload, base_offset, id.term);
            assert_eq!(payload.len(), before, "a stamp changes no length");
        }
        let entry = Entry {
            id,
            kind: proposal.kind,
            base_offset,
            record_count: proposal.record_count,
            max_timestamp_ms: proposal.max_timestamp_ms,
            payload: payload.freeze(),
        };
        match writer.append(std::slice::from_ref(&entry)) {
            Ok(ticket) => {
                let appended = Appended { id, base_offset };
                sender.appended(appended);
                let pending = Pending {
                    appended,
                    sender,
                    _permit: permit,
                    since: self.now(),
                };
                state.pending.insert((id.index, id.term), pending);
                if let Some(membership) = membership {
                    self.set_membership(state, id.index, membership);
                }
                Ok(ticket)
            }
            Err(error @ (LogError::Full | LogError::TooLarge { .. } | LogError::OffsetMismatch { .. })) => {
                let ticket = writer.append(&[bare(id, EntryKind::Blank, base_offset, Bytes::new())])?;
                sender.finish(Outcome::NotCommitted(ProposeError::Log(error)));
                Ok(ticket)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A membership takes effect when it is in the log (CS-MEM-02).
    pub(super) fn set_membership(&self, state: &mut State, at: LogIndex, membership: Membership) {
        log::info!(
            "event=membership group={} replica={} index={at} {membership:?}",
            self.group,
            self.me.replica
        );
        state.learn_members(&membership);
        state.memberships.insert(at, membership);
        if state.leads {
            state.meet_peers(self.now());
        }
    }

    /// A membership entry of another leader arrived.
    pub(super) fn note_membership(&self, state: &mut State, at: LogIndex, payload: &Bytes) -> Result<()> {
        let membership = decode_membership(payload)
            .ok_or_else(|| anyhow!("entry {at} holds no membership that this version knows"))?;
        self.set_membership(state, at, membership);
        Ok(())
    }

    /// S4, S11: the crate's apply calls skip and repeat entries. They are counted; nothing is applied by them.
    pub(super) fn crate_applies(self: &Arc<Self>, indexes: impl Iterator<Item = LogIndex>) {
        let mut state = self.state();
        for index in indexes {
            count(&self.counters().crate_applied, 1);
            state.crate_applied = state.crate_applied.max(index);
        }
        if !self.guards().s4_s11_own_apply_signal {
            let upto = state.crate_applied.min(self.last().index);
            self.commit_to(&mut state, upto);
        }
    }
}
