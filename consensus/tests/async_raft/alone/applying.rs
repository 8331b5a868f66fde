//! What the crate applies to a state machine.

use super::world::{Fate, QUIET, World};
use super::{founded, message, run, until};
use std::time::Duration;

/// A follower in a group of three; repeats the last heartbeat until it applied the entry.
async fn applies(raft: &super::Crate, disk: &super::Disk, heartbeat: (u64, u64), commit: u64) {
    let start = std::time::Instant::now();
    while !disk.content().applied.contains(&commit) {
        assert!(start.elapsed() < super::LIMIT, "entry {commit} is not applied");
        let (leader, term) = heartbeat;
        let beat = message(leader, term, (commit, term), 0, commit);
        raft.append_entries(beat).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn s4_alone_a_follower_skips_committed_entries_when_its_leader_changes() {
    run(async {
        let world = World::new(|_| Fate::Silence);
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, QUIET);
        // Entries 2 and 3 are here before they are committed; then another leads, and commits them with its own entry 4.
        raft.append_entries(message(2, 2, (1, 1), 2, 1)).await.unwrap();
        raft.append_entries(message(3, 3, (3, 2), 1, 4)).await.unwrap();
        applies(&raft, &disk, (3, 3), 4).await;
        // Nor are they applied later.
        raft.append_entries(message(3, 3, (4, 3), 1, 5)).await.unwrap();
        applies(&raft, &disk, (3, 3), 5).await;
        assert_eq!(disk.last(), 5);
        assert_eq!(disk.content().applied, [4, 5], "2 and 3 are committed too");
    });
}

#[test]
fn s11_alone_what_arrives_first_after_a_start_is_applied_twice() {
    run(async {
        let world = World::new(|_| Fate::Silence);
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, QUIET);
        raft.append_entries(message(2, 2, (1, 1), 2, 3)).await.unwrap();
        applies(&raft, &disk, (2, 2), 3).await;
        raft.append_entries(message(2, 2, (3, 2), 1, 4)).await.unwrap();
        applies(&raft, &disk, (2, 2), 4).await;
        assert_eq!(disk.content().applied, [2, 3, 2, 3, 4]);
    });
}

#[test]
fn l15_alone_dropping_the_last_handle_panics() {
    run(async {
        let world = World::new(|_| Fate::No);
        let disk = founded(3, 1);
        let raft = world.start_aside(1, &disk, super::world::KEEN);
        super::wake(&raft, &disk).await;
        drop(raft);
        let panicked = || disk.panicked.load(std::sync::atomic::Ordering::SeqCst);
        until("the crate's task to panic", panicked).await;
    });
}
