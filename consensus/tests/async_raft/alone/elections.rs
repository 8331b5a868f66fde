//! Votes, terms and reads.

use super::disk::Disk;
use super::world::{Ask, Fate, KEEN, QUIET, Timers, What, World};
use super::{config, founded, membership_entry, run, until, wake};
use async_raft::State;
use async_raft::raft::MembershipConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn joint(before: &[u64], after: &[u64]) -> MembershipConfig {
    MembershipConfig {
        members_after_consensus: Some(after.iter().copied().collect()),
        ..config(before.iter().copied())
    }
}

#[test]
fn s8_alone_a_candidate_counts_itself_in_a_voter_set_that_it_is_not_in() {
    run(async {
        // Of the old voters, 3 alone votes for it.
        let world = World::new(|ask: &Ask| if ask.to == 3 { Fate::Yes } else { Fate::No });
        let disk = Disk::new(vec![membership_entry(1, joint(&[2, 3, 4], &[1, 2, 3]))]);
        let raft = world.start(1, &disk, KEEN);
        wake(&raft, &disk).await;
        until("it to lead", || raft.metrics().borrow().state == State::Leader).await;
    });
}

#[test]
fn s8_alone_a_restarted_replica_leads_a_term_in_which_it_voted_for_another() {
    run(async {
        let world = World::new(|ask: &Ask| match ask.what {
            What::Vote => Fate::No,
            What::Append { .. } => Fate::Silence,
        });
        let disk = Disk::new(vec![membership_entry(1, joint(&[1], &[1, 2, 3]))]);
        disk.content().hard.current_term = 5;
        disk.content().hard.voted_for = Some(2);
        let _raft = world.start(1, &disk, QUIET);
        until("an entry of its own", || disk.last() == 2).await;
        let content = disk.content();
        assert_eq!(content.entries[&2].term, 5);
        assert_eq!(content.hard.voted_for, Some(2));
        assert_eq!(world.count(|ask| ask.what == What::Vote), 0, "it asks nobody");
    });
}

#[test]
fn s12_alone_a_read_raises_the_term_without_storing_it() {
    run(async {
        let newer = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&newer);
        let world = World::new(move |_| {
            if seen.load(Ordering::SeqCst) {
                Fate::Newer(99)
            } else {
                Fate::Yes
            }
        });
        // No heartbeat comes in between: its answer would store the term.
        let timers = Timers {
            heartbeat: 3_600_000,
            ..KEEN
        };
        let disk = founded(5, 1);
        let raft = world.start(1, &disk, timers);
        wake(&raft, &disk).await;
        // A stream opens with two messages without an entry; then comes the leader's first entry.
        let quiet =
            |to| world.heartbeats_to(to) == 2 && world.count(|ask| ask.to == to && ask.carries(2)) == 1;
        until("the streams to be quiet", || (2..=5).all(quiet)).await;
        newer.store(true, Ordering::SeqCst);
        // It is deposed, and answers the read for all that.
        raft.client_read().await.unwrap();
        until("the newer term", || raft.metrics().borrow().current_term >= 99).await;
        assert!(
            !disk.content().terms.contains(&99),
            "a restart takes the term back"
        );
    });
}

#[test]
fn l16_alone_nothing_limits_votes() {
    run(async {
        let world = World::new(|_| Fate::Silence);
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, KEEN);
        wake(&raft, &disk).await;
        until("votes of ten elections", || {
            world.count(|ask| ask.what == What::Vote) >= 20
        })
        .await;
        assert_eq!(world.given_up(), 0, "all of them wait for ever");
    });
}
