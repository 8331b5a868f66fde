//! Read barriers by raft-rs's ReadIndex: a quorum confirms that the leader still leads.

use super::{Context, Group, Pending};
use crate::raft_rs::inbox::Answer;
use chronik_core::LogIndex;
use chronik_core::consensus::ConsensusError;
use raft::{ReadState, StateRole};
use std::time::Duration;

/// Barriers that were asked for before a question was put.
#[derive(Debug)]
struct Asked {
    number: u64,
    waiting: Vec<Pending<LogIndex>>,
}

/// What waits for a read barrier.
#[derive(Debug)]
pub(super) struct Barriers {
    /// Tells questions of this opening of the group from those of others, at the leader.
    nonce: u64,
    next: u64,
    fresh: Vec<Pending<LogIndex>>,
    /// In the order of their numbers.
    asked: Vec<Asked>,
    /// The last question may have been lost.
    again: bool,
}

impl Barriers {
    pub(super) fn new(nonce: u64) -> Self {
        Self {
            nonce,
            next: 0,
            fresh: Vec::new(),
            asked: Vec::new(),
            again: false,
        }
    }

    fn context(&self, replica: u64, number: u64) -> Vec<u8> {
        [replica, self.nonce, number]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    /// Questions may have been lost with a leader or on their way: another is put.
    pub(super) fn ask_again(&mut self) {
        self.again = !self.asked.is_empty();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.asked.is_empty()
    }

    fn wait_for_question(&self) -> bool {
        self.fresh.is_empty() && !self.again
    }

    pub(super) fn expire(&mut self, now: Duration) {
        let asked = self.asked.iter_mut().map(|asked| &mut asked.waiting);
        for waiting in asked.chain(std::iter::once(&mut self.fresh)) {
            for late in waiting.extract_if(.., |pending| pending.deadline <= now) {
                let why = "no quorum confirmed the leader in time";
                late.answer.give(Err(ConsensusError::Unknown(why.into())));
            }
        }
        self.asked.retain(|asked| !asked.waiting.is_empty());
        self.ask_again();
    }

    /// Answers of raft-rs. An answer holds for all barriers that were asked for before its question was put.
    pub(super) fn answered(&mut self, reads: Vec<ReadState>) {
        for read in reads {
            let Some(number) = self.number_of(&read.request_ctx) else {
                continue;
            };
            for asked in self.asked.extract_if(.., |asked| asked.number <= number) {
                for pending in asked.waiting {
                    pending.answer.give(Ok(LogIndex(read.index)));
                }
            }
        }
    }

    fn number_of(&self, context: &[u8]) -> Option<u64> {
        let (_, rest) = context.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<8>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*nonce) == self.nonce).then(|| u64::from_le_bytes(*number))
    }
}

impl Group {
    pub(in crate::raft_rs) fn read_barrier(&mut self, context: &Context, answer: Answer<LogIndex>) {
        self.wake(context);
        let deadline = context.now + context.options.answer_timeout;
        self.barriers.fresh.push(Pending { answer, deadline });
    }

    /// One question for all barriers that wait, once there is somebody to ask.
    pub(super) fn ask_barriers(&mut self) {
        let raft = &self.raw.raft;
        let ready = match raft.state {
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != raft::INVALID_ID,
            _ => false,
        };
        if self.barriers.wait_for_question() || !ready || self.starved {
            return;
        }
        let number = self.barriers.next;
        self.barriers.next += 1;
        self.barriers.again = false;
        let waiting = std::mem::take(&mut self.barriers.fresh);
        if !waiting.is_empty() {
            self.barriers.asked.push(Asked { number, waiting });
        }
        let context = self.barriers.context(self.replica.replica.0, number);
        self.raw.read_index(context);
    }
}
