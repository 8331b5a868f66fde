//! Changes of membership, and learners.

use super::disk::{Disk, Value};
use super::world::{Ask, Crate, Fate, KEEN, QUIET, World};
use super::{founded, run, until, wake};
use async_raft::raft::ClientWriteRequest;
use std::sync::Arc;

/// Three instances of which the first leads and committed an entry of its own, 2.
async fn three(world: &Arc<World>) -> (Vec<Arc<Disk>>, Vec<Crate>) {
    let disks: Vec<_> = (1..=3).map(|_| founded(3, 1)).collect();
    let mut rafts = vec![world.start(2, &disks[1], QUIET), world.start(3, &disks[2], QUIET)];
    let first = world.start(1, &disks[0], KEEN);
    wake(&first, &disks[0]).await;
    rafts.insert(0, first);
    until("a commit", || world.said_committed() == 2).await;
    (disks, rafts)
}

#[test]
fn l5_alone_a_leader_never_becomes_the_only_voter() {
    run(async {
        let world = World::new(|_| Fate::Deliver);
        let (disks, rafts) = three(&world).await;
        let leader = rafts[0].clone();
        let change = tokio::spawn(async move { leader.change_membership([1].into()).await });
        until("all to hold the change", || {
            disks.iter().all(|disk| disk.membership_at(3))
        })
        .await;
        let leader = rafts[0].clone();
        let write = tokio::spawn(async move { leader.client_write(ClientWriteRequest::new(Value(4))).await });
        until("all to hold the write", || {
            disks.iter().all(|disk| disk.last() == 4)
        })
        .await;
        // Both others went on to answer.
        let before = [2, 3].map(|to| world.heartbeats_to(to));
        until("heartbeats", || {
            world.heartbeats_to(2) >= before[0] + 10 && world.heartbeats_to(3) >= before[1] + 10
        })
        .await;
        assert_eq!(world.said_committed(), 2, "what all hold is not committed");
        assert!(!change.is_finished() && !write.is_finished());
    });
}

#[test]
fn l12_alone_a_learner_that_never_answered_counts_as_caught_up() {
    run(async {
        let world = World::new(|ask: &Ask| if ask.to == 4 { Fate::Silence } else { Fate::Yes });
        let disk = founded(3, 50);
        let raft = world.start(1, &disk, KEEN);
        wake(&raft, &disk).await;
        until("a commit", || world.said_committed() == 51).await;
        let added = tokio::time::timeout(super::LIMIT, raft.add_non_voter(4)).await;
        assert!(matches!(added, Ok(Ok(()))), "{added:?}");
    });
}

#[test]
fn l13_alone_a_new_leader_knows_no_learner() {
    run(async {
        let world = World::new(|ask: &Ask| match (ask.from, ask.to) {
            (_, 4) => Fate::Yes,
            // The first is gone by then.
            (2, 1) => Fate::Silence,
            _ => Fate::Deliver,
        });
        let (disks, rafts) = three(&world).await;
        rafts[0].add_non_voter(4).await.unwrap();
        until("the learner is sent to", || world.heartbeats_to(4) > 0).await;
        rafts[0].shutdown().await.unwrap();
        rafts[1].shutdown().await.unwrap();
        let second = world.start(2, &disks[1], KEEN);
        wake(&second, &disks[1]).await;
        let from_it = |to: u64| world.count(|ask| ask.from == 2 && ask.is_heartbeat_to(to));
        until("the second to lead", || from_it(3) >= 20).await;
        assert_eq!(from_it(4), 0, "the learner hears nothing any more");
    });
}
