//! Elections: trial votes, votes, and who wins.

use super::message::Message;
use super::replica::{Replica, Step};
use super::{ELECTION, RaftMutant};
use chronik_core::consensus::{Member, Role};
use chronik_core::{LogId, Term};

impl Replica {
    /// Asks for votes: first for trial ones, unless the leader wants the election.
    pub(super) async fn campaign(&mut self, wanted: bool) -> Step {
        self.rest();
        if !self.votes_now() {
            return Ok(());
        }
        if self.has(RaftMutant::ElectsOnce) && self.term.0 > 0 {
            return Ok(());
        }
        self.votes.clear();
        self.leader = None;
        self.role = Role::Candidate;
        self.trial = !wanted && !self.has(RaftMutant::NoTrial);
        if !self.trial {
            self.term = Term(self.term.0 + 1);
            self.vote = Some(self.me.replica);
            self.save_vote().await?;
        }
        self.ask_all(wanted);
        self.count_votes(wanted).await
    }

    fn ask_all(&mut self, wanted: bool) {
        self.votes.insert(self.me.replica);
        let term = if self.trial {
            Term(self.term.0 + 1)
        } else {
            self.term
        };
        for member in self.other_voters() {
            let message = Message::Ask {
                term,
                last: self.last(),
                trial: self.trial,
                wanted,
            };
            self.send(member, message);
        }
    }

    /// Answers a request for a vote.
    pub(super) async fn asked(
        &mut self,
        from: Member,
        term: Term,
        last: LogId,
        (trial, wanted): (bool, bool),
    ) -> Step {
        let now = self.env.clock.now();
        // Who hears a leader helps nobody to depose it.
        let has_leader = self.leading.is_some() || (self.leader.is_some() && now < self.heard + ELECTION);
        if has_leader && !wanted && !self.has(RaftMutant::HearsEverybody) && !self.has(RaftMutant::NoTrial) {
            return Ok(());
        }
        if (!trial || self.has(RaftMutant::HearsEverybody)) && term > self.term {
            self.adopt(term).await?;
        }
        let free =
            trial || self.vote.is_none_or(|vote| vote == from.replica) || self.has(RaftMutant::VotesTwice);
        let newer = if trial {
            term > self.term
        } else {
            term == self.term
        };
        let granted = newer && free && self.is_up_to_date(last);
        if granted && !trial {
            self.vote = Some(from.replica);
            self.save_vote().await?;
            self.rest();
        }
        let term = if granted { term } else { self.term };
        let message = Message::Vote { term, granted, trial };
        self.send(from, message);
        Ok(())
    }

    /// Whether a log that ends at `last` has all that this one has.
    fn is_up_to_date(&self, last: LogId) -> bool {
        let own = self.last();
        match self.mutant {
            Some(RaftMutant::VotesForAnybody) => true,
            Some(RaftMutant::WantsBothHigh) => last.term >= own.term && last.index >= own.index,
            Some(RaftMutant::ComparesLength) => last.index >= own.index,
            _ => last >= own,
        }
    }

    /// Takes an answer.
    pub(super) async fn voted(&mut self, from: Member, term: Term, granted: bool, trial: bool) -> Step {
        if !granted {
            if term > self.term {
                self.adopt(term).await?;
            }
            return Ok(());
        }
        let expected = if self.trial {
            Term(self.term.0 + 1)
        } else {
            self.term
        };
        if self.role != Role::Candidate || trial != self.trial || term != expected {
            return Ok(());
        }
        self.votes.insert(from.replica);
        self.count_votes(false).await
    }

    async fn count_votes(&mut self, wanted: bool) -> Step {
        if self.role != Role::Candidate || !self.is_quorum(|replica| self.votes.contains(&replica)) {
            return Ok(());
        }
        if !self.trial {
            return self.lead().await;
        }
        self.trial = false;
        self.votes.clear();
        self.term = Term(self.term.0 + 1);
        self.vote = Some(self.me.replica);
        self.save_vote().await?;
        self.ask_all(wanted);
        if self.is_quorum(|replica| self.votes.contains(&replica)) {
            return self.lead().await;
        }
        Ok(())
    }
}
