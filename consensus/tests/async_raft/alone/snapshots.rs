//! The crate's snapshots, which nothing of ours uses.

use super::world::{Ask, Fate, KEEN, QUIET, Timers, What, World};
use super::{founded, run, until, votes_for, wake};
use async_raft::raft::{Entry, InstallSnapshotRequest};

fn chunk(term: u64, leader: u64, at: u64, data: &[u8], done: bool) -> InstallSnapshotRequest {
    InstallSnapshotRequest {
        term,
        leader_id: leader,
        last_included_index: at,
        last_included_term: 1,
        offset: 0,
        data: data.to_vec(),
        done,
    }
}

#[test]
fn s9_alone_an_older_snapshot_takes_the_log_back() {
    run(async {
        let world = World::new(|_| Fate::Silence);
        let disk = founded(3, 30);
        let raft = world.start(1, &disk, QUIET);
        assert!(!votes_for(&raft, 2..3, (10, 1)).await, "its own log is longer");
        raft.install_snapshot(chunk(3, 2, 10, b"state", true))
            .await
            .unwrap();
        assert_eq!(disk.last(), 30);
        assert!(
            votes_for(&raft, 4..10_000, (10, 1)).await,
            "it has entries up to 30, which may be committed"
        );
    });
}

#[test]
fn s10_alone_the_snapshots_of_two_leaders_are_mixed() {
    run(async {
        let world = World::new(|_| Fate::Silence);
        let disk = founded(3, 1);
        let raft = world.start(1, &disk, QUIET);
        raft.install_snapshot(chunk(2, 2, 10, b"aaaaaaaa", false))
            .await
            .unwrap();
        raft.install_snapshot(chunk(3, 3, 20, b"bbb", true))
            .await
            .unwrap();
        let stored = disk.content().snapshot.clone().unwrap();
        assert_eq!(stored.at, (20, 1));
        assert_eq!(
            stored.data, b"bbbaaaaa",
            "the snapshot that the second leader sent is bbb"
        );
    });
}

#[test]
fn l14_alone_requests_for_a_snapshot_loop_without_one_being_made() {
    run(async {
        // A snapshot at 12 and entries up to 19; one is made every 10, and sent while the log is no more than 5 ahead.
        let timers = Timers {
            snapshot_every: 10,
            ..KEEN
        };
        let disk = founded(3, 19);
        {
            let mut content = disk.content();
            content.applied_before = 19;
            content.snapshot = Some(super::disk::Snapshot {
                at: (12, 1),
                data: b"state".to_vec(),
            });
            let pointer = Entry::new_snapshot_pointer(12, 1, "s".into(), super::config(1..=3));
            content.entries.retain(|index, _| *index > 12);
            content.entries.insert(12, pointer);
        }
        let world = World::new(|ask: &Ask| match ask.what {
            What::Append { .. } if ask.to == 2 => Fate::Conflict(3, 1),
            _ => Fate::Yes,
        });
        let raft = world.start(1, &disk, timers);
        wake(&raft, &disk).await;
        until("requests for a snapshot", || {
            disk.content().snapshots_asked > 1000
        })
        .await;
        assert_eq!(disk.content().compactions, 0, "none is made");
    });
}
