//! The crate's streams of entries to followers, and what it counts as replicated.

use super::disk::{Disk, Value};
use super::world::{Ask, Crate, Fate, KEEN, QUIET, Timers, What, World};
use super::{founded, run, until, wake};
use async_raft::raft::ClientWriteRequest;
use futures_lite::future::poll_once;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Instance 1 was elected by 2, has entries up to 10 and its own, 11; 2 has entries up to 3, and 3 is not there.
async fn far_ahead(world: &Arc<World>) -> ([Arc<Disk>; 2], Crate) {
    let disks = [founded(3, 10), founded(3, 3)];
    world.start(2, &disks[1], QUIET);
    let raft = world.start(1, &disks[0], KEEN);
    wake(&raft, &disks[0]).await;
    (disks, raft)
}

fn without_the_third() -> Arc<World> {
    World::new(|ask: &Ask| if ask.to == 3 { Fate::Silence } else { Fate::Deliver })
}

#[test]
fn s2_s13_alone_a_new_leader_commits_entries_of_earlier_terms_that_only_it_has() {
    run(async {
        let world = without_the_third();
        let (disks, _raft) = far_ahead(&world).await;
        until("10 to be called committed", || world.said_committed() == 10).await;
        assert_eq!(disks[0].content().entries[&10].term, 1);
        assert!(disks[0].content().hard.current_term > 1);
        assert_eq!(disks[1].last(), 3, "nobody else has it");
    });
}

#[test]
fn l7_alone_an_entry_is_dropped_from_a_stream_until_the_next_write() {
    run(async {
        let world = without_the_third();
        let (disks, raft) = far_ahead(&world).await;
        until("its own entry is refused", || {
            world.count(|ask| ask.carries(11)) > 0
        })
        .await;
        let before = world.heartbeats_to(2);
        until("heartbeats", || world.heartbeats_to(2) >= before + 10).await;
        assert_eq!(disks[1].last(), 3, "the follower answers, and is sent nothing");
        let mut write = pin!(raft.client_write(ClientWriteRequest::new(Value(12))));
        drop(poll_once(&mut write).await);
        until("all entries", || disks[1].last() == 12).await;
    });
}

#[test]
fn l8_alone_a_small_batch_loses_the_event_behind_it() {
    run(async {
        let world = World::new(|ask: &Ask| if ask.to == 3 { Fate::Silence } else { Fate::Yes });
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, Timers { batch: 1, ..KEEN });
        wake(&raft, &disk).await;
        until("a commit", || world.said_committed() == 2).await;
        // Three writes at once: the stream takes two, and loses the third.
        let mut writes = Vec::new();
        for value in 3..=5 {
            let mut write = Box::pin(raft.client_write(ClientWriteRequest::new(Value(value))));
            assert!(poll_once(&mut write).await.is_none());
            writes.push(write);
        }
        until("the first two to be committed", || world.said_committed() == 4).await;
        let before = world.heartbeats_to(2);
        until("heartbeats", || world.heartbeats_to(2) >= before + 10).await;
        assert_eq!(disk.last(), 5);
        assert_eq!(
            world.count(|ask| ask.to == 2 && ask.carries(5)),
            0,
            "the third is not sent"
        );
        let mut next = pin!(raft.client_write(ClientWriteRequest::new(Value(6))));
        drop(poll_once(&mut next).await);
        until("all to be committed", || world.said_committed() == 6).await;
    });
}

#[test]
fn l11_alone_a_batch_that_takes_longer_than_a_heartbeat_is_sent_again_for_ever() {
    run(async {
        let world = World::new(|ask: &Ask| match ask.what {
            What::Append { last: Some(_), .. } => Fate::Silence,
            _ => Fate::Yes,
        });
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, KEEN);
        wake(&raft, &disk).await;
        let sent = |to: u64| world.count(|ask| ask.to == to && ask.carries(2));
        until("the same entry ten times", || sent(2) >= 10 && sent(3) >= 10).await;
        assert!(world.given_up() >= 18, "none is waited for longer");
    });
}

#[test]
fn l2_alone_a_peer_that_cannot_be_reached_lets_no_other_task_run() {
    const ATTEMPTS: u64 = 10_000;
    run(async {
        let (others, failures) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ran, failed) = (Arc::clone(&others), Arc::clone(&failures));
        let between = Arc::new(AtomicU64::new(u64::MAX));
        let found = Arc::clone(&between);
        let first = AtomicU64::new(0);
        let world = World::new(move |ask: &Ask| {
            if ask.to != 3 || !ask.carries(2) {
                return Fate::Yes;
            }
            match failed.fetch_add(1, Ordering::SeqCst) {
                0 => first.store(ran.load(Ordering::SeqCst), Ordering::SeqCst),
                ATTEMPTS => {
                    let ran = ran.load(Ordering::SeqCst) - first.load(Ordering::SeqCst);
                    found.store(ran, Ordering::SeqCst);
                }
                // It would go on for ever.
                attempt if attempt > ATTEMPTS => return Fate::Yes,
                _ => {}
            }
            Fate::Failure
        });
        let counting = Arc::clone(&others);
        let other = tokio::spawn(async move {
            loop {
                counting.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, KEEN);
        wake(&raft, &disk).await;
        until("attempts to reach it", || {
            failures.load(Ordering::SeqCst) > ATTEMPTS
        })
        .await;
        assert!(others.load(Ordering::SeqCst) > 0);
        assert_eq!(
            between.load(Ordering::SeqCst),
            0,
            "of {ATTEMPTS} attempts none yields"
        );
        other.abort();
    });
}
