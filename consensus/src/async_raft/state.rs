//! What a replica knows, besides its log. One lock guards it; nobody waits while holding it.

use super::limits::Permit;
use chronik_core::consensus::{Member, Membership, Progress, Role};
use chronik_core::log_store::HardState;
use chronik_core::proposal::{Appended, ProposalSender, ProposeError};
use chronik_core::{Entry, LogId, LogIndex, Outcome, Proposal, ReplicaId, Term};
use event_listener::Event;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A proposal that has no place in the log yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) proposal: Proposal,
    /// The term in which this replica led when it was proposed: what it was checked against holds in that term alone.
    pub(super) term: Term,
    /// Of a membership that carries learners; not encoded again.
    pub(super) membership: Option<Membership>,
    pub(super) sender: ProposalSender,
    pub(super) permit: Option<Permit>,
}

/// A proposal in the log of the leader that it was.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) appended: Appended,
    pub(super) sender: ProposalSender,
    /// Given back when the outcome is known.
    pub(super) _permit: Option<Permit>,
    /// When it was appended.
    pub(super) since: Duration,
}

/// What a leader knows of another replica.
#[derive(Debug)]
pub(super) struct Peer {
    /// The last entry that it confirmed in this term.
    pub(super) confirmed: LogIndex,
    /// The next entry to send.
    pub(super) next: LogIndex,
    /// When the request was sent whose answer came last.
    pub(super) answered: Duration,
    /// The commit index that it was told last.
    pub(super) told_commit: LogIndex,
    /// An exchange with it is under way.
    pub(super) running: bool,
    /// Exchanges that ended, well or not.
    pub(super) rounds: u64,
    /// The last exchange failed.
    pub(super) failed: bool,
    /// A newer term that it answered with.
    pub(super) higher: Option<Term>,
    /// Something of the above changed.
    pub(super) moved: Arc<Event>,
}

impl Peer {
    pub(super) fn new(next: LogIndex, now: Duration) -> Self {
        Self {
            confirmed: LogIndex(0),
            next,
            answered: now,
            told_commit: LogIndex(0),
            running: false,
            rounds: 0,
            failed: false,
            higher: None,
            moved: Arc::new(Event::new()),
        }
    }
}

/// What a replica knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) me: Member,
    /// Term and vote as they are durable.
    pub(super) hard: HardState,
    /// The crate's append hook showed that this replica leads `hard.term`.
    pub(super) leads: bool,
    /// No quorum answers (L9), or the membership that removes this leader is committed.
    pub(super) fenced: bool,
    pub(super) leader: Option<ReplicaId>,
    pub(super) own_term_start: Option<LogIndex>,
    pub(super) commit: LogIndex,
    /// What every replica holds, as the leader says.
    pub(super) floor: LogIndex,
    /// On a follower: how far the log is surely the leader's, in the term in which that was found.
    pub(super) verified: (Term, LogIndex),
    /// Memberships by the entry that holds them; of those before the first, nothing is known.
    pub(super) memberships: BTreeMap<LogIndex, Membership>,
    pub(super) book: BTreeMap<ReplicaId, Member>,
    pub(super) peers: BTreeMap<ReplicaId, Peer>,
    pub(super) drafts: BTreeMap<u64, Draft>,
    pub(super) next_draft: u64,
    pub(super) pending: BTreeMap<(LogIndex, Term), Pending>,
    /// Own entries that are not known to be durable yet.
    pub(super) unsynced: VecDeque<LogId>,
    /// Entries of a message that the crate is being given.
    pub(super) incoming: BTreeMap<LogIndex, Entry>,
    /// Stored checkpoints that the log can be purged to.
    pub(super) checkpoints: BTreeMap<LogIndex, LogId>,
    /// The newest entry that the crate wanted applied.
    pub(super) crate_applied: LogIndex,
    /// Set once: the replica works no longer.
    pub(super) stopped: bool,
}

impl State {
    /// The newest membership in the log.
    pub(super) fn newest(&self) -> &Membership {
        self.memberships
            .values()
            .next_back()
            .expect("open puts the first membership in, nothing takes the last out")
    }

    /// Where the newest membership stands.
    pub(super) fn newest_at(&self) -> LogIndex {
        self.memberships.keys().next_back().copied().unwrap_or_default()
    }

    /// The membership as of a committed entry; `None` before the first that is known, and where it is not known yet.
    pub(super) fn membership_at(&self, index: LogIndex) -> Option<&Membership> {
        let upto = self.memberships.range(..=index).next_back();
        upto.map(|(_, membership)| membership)
            .filter(|membership| !membership.voters.is_empty())
    }

    pub(super) fn learn_members(&mut self, membership: &Membership) {
        let all = membership
            .voters
            .iter()
            .chain(&membership.outgoing_voters)
            .chain(&membership.learners);
        self.book.extend(all.map(|member| (member.replica, *member)));
    }

    pub(super) fn is_voter(&self) -> bool {
        let newest = self.newest();
        newest.voters.contains(&self.me) || newest.outgoing_voters.contains(&self.me)
    }

    /// The replica leads, and may say so.
    pub(super) fn is_leader(&self) -> bool {
        self.leads && !self.fenced && !self.stopped
    }

    /// Leader of this term; the crate's streams of other terms are over.
    pub(super) fn leads_term(&self, term: Term) -> bool {
        self.leads && !self.stopped && self.hard.term == term
    }

    /// The leader to ask instead of this replica.
    pub(super) fn other_leader(&self) -> Option<ReplicaId> {
        self.leader.filter(|leader| *leader != self.me.replica)
    }

    fn role(&self) -> Role {
        if self.stopped {
            Role::Stopped
        } else if self.is_leader() {
            Role::Leader
        } else if !self.is_voter() {
            Role::Learner
        } else if !self.leads && self.leader.is_none() && self.hard.vote == Some(self.me.replica) {
            Role::Candidate
        } else {
            Role::Follower
        }
    }

    /// What those who watch are shown.
    pub(super) fn progress(&self) -> Progress {
        let leading = self.is_leader();
        Progress {
            role: self.role(),
            term: self.hard.term,
            leader: if leading {
                Some(self.me.replica)
            } else {
                self.other_leader().filter(|_| !self.stopped)
            },
            commit: self.commit,
            own_term_start: self.own_term_start.filter(|_| leading),
        }
    }

    /// The replica leads `term` from `start` on.
    pub(super) fn become_leader(&mut self, start: LogIndex, now: Duration) {
        self.leads = true;
        self.fenced = false;
        self.leader = Some(self.me.replica);
        self.own_term_start = Some(start);
        self.peers.clear();
        self.unsynced.clear();
        self.meet_peers(now);
    }

    /// Every other member has a place among the peers, from its first entry on.
    pub(super) fn meet_peers(&mut self, now: Duration) {
        let next = self.own_term_start.unwrap_or(LogIndex(1));
        let newest = self.newest();
        let all = newest
            .voters
            .iter()
            .chain(&newest.outgoing_voters)
            .chain(&newest.learners);
        let ids: Vec<ReplicaId> = all.map(|member| member.replica).collect();
        for id in ids {
            if id != self.me.replica {
                self.peers.entry(id).or_insert_with(|| Peer::new(next, now));
            }
        }
    }

    /// The term or the leader changed: what was known of followers is void.
    pub(super) fn lead_no_more(&mut self) {
        if !self.leads {
            return;
        }
        self.leads = false;
        self.fenced = false;
        self.own_term_start = None;
        self.leader = None;
        for peer in self.peers.values() {
            peer.moved.notify(usize::MAX);
        }
    }

    /// The draft that never reached the log has no effect.
    pub(super) fn refuse_draft(&mut self, draft: u64) {
        if let Some(draft) = self.drafts.remove(&draft) {
            let leader = self.other_leader();
            draft
                .sender
                .finish(Outcome::NotCommitted(ProposeError::NotLeader { leader }));
        }
    }
}
