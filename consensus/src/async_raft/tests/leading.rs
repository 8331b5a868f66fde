//! Guards of what a leader counts.

use super::{Lab, Silence};
use crate::async_raft::guards::Guards;
use crate::async_raft::wire::{self, Append, AppendAnswer, Request, VoteAnswer};
use bytes::Bytes;
use chronik_core::transport::{CallOutcome, Lane, Peer, PeerState, SendError};
use chronik_core::{BoxFuture, LogId, LogIndex, NodeId, Term, Transport, Watch};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FOUNDING: LogId = LogId::new(1, 1);
/// No campaign gets there before the entries of this term arrive.
const OLD: Term = Term(1_000_000);
/// More than any of this takes on a machine that does other things.
const LIMIT: Duration = Duration::from_secs(60);

/// Peer 2 has the entries up to 3 and takes no more, as one whose disk is slow; peer 3 is not there.
#[derive(Debug, Default)]
struct Peers {
    /// 2 votes for whoever asks.
    votes: AtomicBool,
    /// What the messages of a newer term than `OLD` call committed.
    committed: Mutex<Vec<LogIndex>>,
}

impl Peers {
    fn take(&self, append: &Append) -> AppendAnswer {
        self.committed.lock().unwrap().push(append.commit);
        // As a follower of the crate answers: a heartbeat is not compared with its log.
        let heartbeat = append.entries.is_empty();
        AppendAnswer {
            term: append.term,
            success: heartbeat,
            confirmed: LogIndex(0),
            conflict: (!heartbeat).then_some(LogId {
                term: OLD,
                index: LogIndex(3),
            }),
        }
    }

    fn answer(&self, message: Bytes) -> Option<Bytes> {
        match wire::envelope(message)?.request {
            Request::Append(append) => Some(wire::encode_append_answer(&self.take(&append))),
            Request::Vote(vote) => Some(wire::encode_vote_answer(VoteAnswer {
                term: vote.term,
                granted: self.votes.load(Ordering::SeqCst),
            })),
            _ => None,
        }
    }
}

impl Transport for Peers {
    fn set_peers(&self, _: Vec<Peer>) {}

    fn call(&self, to: NodeId, _: Lane, message: Bytes, _: Duration) -> BoxFuture<'static, CallOutcome> {
        let answer = (to == NodeId(2)).then(|| self.answer(message)).flatten();
        let outcome = answer.map_or(
            CallOutcome::NotDelivered(SendError::Disconnected),
            CallOutcome::Answered,
        );
        Box::pin(std::future::ready(outcome))
    }

    fn send(&self, to: NodeId, lane: Lane, message: Bytes) -> Result<(), SendError> {
        Silence.send(to, lane, message)
    }

    fn room(&self, to: NodeId, lane: Lane) -> BoxFuture<'static, Result<(), SendError>> {
        Silence.room(to, lane)
    }

    fn peers(&self) -> Watch<BTreeMap<NodeId, PeerState>> {
        Silence.peers()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Silence.close()
    }
}

#[test]
fn s2_s13_what_only_a_new_leader_has_is_not_committed_by_the_answer_of_another() {
    for on in [true, false] {
        let peers = Arc::new(Peers::default());
        let guards = Guards {
            s1_s2_s3_own_commit: on,
            s3_l3_l7_own_messages: on,
            ..Guards::ON
        };
        let lab = Lab::among(
            guards,
            Duration::from_millis(60),
            Arc::clone(&peers) as Arc<dyn Transport>,
        );
        assert!(lab.append(2, OLD.0, FOUNDING, &[OLD.0; 9], 1).success);
        peers.votes.store(true, Ordering::SeqCst);
        let start = Instant::now();
        let called = loop {
            let seen = peers.committed.lock().unwrap().clone();
            let most = seen.iter().copied().max().unwrap_or_default();
            if most >= LogIndex(10) || on && seen.len() >= 20 {
                break most;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{} messages, {:?}",
                seen.len(),
                lab.replica
            );
            std::thread::park_timeout(Duration::from_millis(5));
        };
        // The leader's own entry is 11: what it calls committed is of an earlier term, and beyond 3 only it has it.
        let expected = if on { LogIndex(1) } else { LogIndex(10) };
        assert_eq!(called, expected, "with the guard {on}");
    }
}
