//! The crate alone, with none of our code around it: an honest store in memory, and peers that a test scripts.
//!
//! One thread runs all of a scenario, and every wait is for a condition, so that it takes the same course each time. These
//! are the defects whose guard is that a part of the crate is not used, or that no guard of ours can switch off for one
//! scenario without the rest of the engine standing in its way.

mod applying;
mod disk;
mod elections;
mod members;
mod snapshots;
mod streams;
mod world;

use async_raft::raft::{AppendEntriesRequest, Entry, EntryConfigChange, EntryNormal, EntryPayload};
use async_raft::raft::{MembershipConfig, VoteRequest};
use disk::{Disk, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};
use world::Crate;

/// More than any of this takes on a machine that does other things.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a scenario on one thread.
fn run(scenario: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(scenario);
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn config(members: impl IntoIterator<Item = u64>) -> MembershipConfig {
    MembershipConfig {
        members: members.into_iter().collect(),
        members_after_consensus: None,
    }
}

fn membership_entry(index: u64, membership: MembershipConfig) -> Entry<Value> {
    Entry {
        term: 1,
        index,
        payload: EntryPayload::ConfigChange(EntryConfigChange { membership }),
    }
}

fn data_entry(index: u64, term: u64) -> Entry<Value> {
    Entry {
        term,
        index,
        payload: EntryPayload::Normal(EntryNormal { data: Value(index) }),
    }
}

/// A store that was founded with voters 1 to `voters`, in term 1, and has entries up to `last`.
fn founded(voters: u64, last: u64) -> Arc<Disk> {
    let mut entries = vec![membership_entry(1, config(1..=voters))];
    entries.extend((2..=last).map(|index| data_entry(index, 1)));
    Disk::new(entries)
}

/// A leader's message: entries of its term behind `previous`, which is an index and a term.
fn message(
    leader: u64,
    term: u64,
    previous: (u64, u64),
    count: u64,
    commit: u64,
) -> AppendEntriesRequest<Value> {
    AppendEntriesRequest {
        term,
        leader_id: leader,
        prev_log_index: previous.0,
        prev_log_term: previous.1,
        entries: (1..=count)
            .map(|next| data_entry(previous.0 + next, term))
            .collect(),
        leader_commit: commit,
    }
}

/// Lets a restarted replica campaign after its election timeout instead of 30 seconds later (L1): a heartbeat of the term
/// that it is in.
async fn wake(raft: &Crate, disk: &Disk) {
    let term = disk.content().hard.current_term;
    raft.append_entries(message(2, term, (0, 0), 0, 0)).await.unwrap();
}

/// Whether a replica votes for a candidate whose log ends there. The crate refuses all votes for some milliseconds after a
/// heartbeat, without taking up the term: asks in rising terms until it does.
async fn votes_for(raft: &Crate, terms: std::ops::Range<u64>, last: (u64, u64)) -> bool {
    for term in terms {
        let answer = raft
            .vote(VoteRequest::new(term, 3, last.0, last.1))
            .await
            .unwrap();
        if answer.term == term {
            return answer.vote_granted;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the vote was not looked at");
}
