//! TR-FLOW and TR-ORD-03: bounds, pressure and lanes.

use bytes::Bytes;
use chronik_core::ids::NodeId;
use chronik_core::transport::{CallOutcome, Lane, SendError};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, LANES, Node, PATIENCE, eventually, soon};

/// Sends until the lane says for a while that it is full; returns how many messages it took.
fn fill(one: &Node, lane: Lane, message: &Bytes) -> usize {
    let mut sent = 0;
    let mut full = Instant::now();
    eventually("the lane stays full", || {
        loop {
            match one.send(2, lane, message.clone()) {
                Ok(()) => {
                    sent += 1;
                    full = Instant::now();
                }
                Err(SendError::Busy) => return full.elapsed() > Duration::from_millis(200),
                Err(error) => panic!("the message is not sent: {error:?}"),
            }
        }
    });
    sent
}

#[test]
fn a_receiver_that_does_not_read_pushes_back_and_what_waits_is_bounded() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    for (lane, size) in [
        (Lane::Control, 0),
        (Lane::Replication, 10_000),
        (Lane::Bulk, 300_000),
    ] {
        let message = Bytes::from(vec![1; size]);
        let sent = fill(&one, lane, &message);
        // What waits at the sender, what is on the way, and the last message of each.
        let bound = usize::try_from(fixture.max_queued_bytes).unwrap() + 4 * 1024 * 1024;
        assert!(
            sent * size.max(64) <= bound,
            "{sent} messages of {size} bytes on {lane:?}"
        );
        for _ in 0..sent {
            assert_eq!(two.next().message.len(), size);
        }
    }
    assert_eq!(
        one.state(2).session,
        1,
        "a full lane is no reason to end a session"
    );
}

#[test]
fn a_full_lane_says_busy_and_tells_when_there_is_room() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let sent = fill(&one, LANES[1], &Bytes::from(vec![0; 10_000]));
    let room = one.transport.room(two.id, LANES[1]);
    for _ in 0..sent {
        two.next();
    }
    soon("there is room", room).unwrap();
    one.send(2, LANES[1], "more").unwrap();
    assert_eq!(two.next().message, "more");
}

#[test]
fn waiting_for_room_ends_with_the_session_and_with_the_transport() {
    let fixture = Fixture::new();
    let (one, two) = fixture.pair();
    fill(&one, Lane::Bulk, &Bytes::from(vec![0; 10_000]));
    let room = one.transport.room(two.id, Lane::Bulk);
    two.close();
    assert_eq!(soon("the wait ends", room), Err(SendError::Disconnected));
    let room = one.transport.room(NodeId(7), Lane::Bulk);
    assert_eq!(
        soon("the wait ends", room),
        Err(SendError::UnknownPeer(NodeId(7)))
    );
    one.close();
    let room = one.transport.room(two.id, Lane::Bulk);
    assert_eq!(soon("the wait ends", room), Err(SendError::Closed));
}

#[test]
fn a_peer_that_does_not_read_does_not_slow_the_others() {
    let fixture = Fixture::new();
    let (one, two, mut three) = (fixture.node(1), fixture.node(2), fixture.node(3));
    three.echo();
    one.meet(&[&two, &three]);
    one.wait_connected(2);
    one.wait_connected(3);
    let message = Bytes::from(vec![0; 100_000]);
    for lane in LANES {
        fill(&one, lane, &message);
    }
    for lane in LANES {
        for _ in 0..50 {
            assert_eq!(
                one.call(3, lane, message.clone()),
                CallOutcome::Answered(message.clone())
            );
        }
    }
}

#[test]
fn control_messages_pass_while_bulk_data_moves() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let sent = fill(&one, Lane::Bulk, &Bytes::from(vec![0; 10_000]));
    one.send(2, Lane::Control, "now").unwrap();
    one.send(2, Lane::Replication, "soon").unwrap();
    let mut seen = Vec::new();
    eventually("the others have arrived", || {
        let arrived = two.next();
        seen.push(arrived.lane);
        seen.contains(&Lane::Control) && seen.contains(&Lane::Replication)
    });
    assert!(
        seen.len() < sent / 2,
        "after {} of {sent} bulk messages",
        seen.len()
    );
}

#[test]
fn calls_that_are_dropped_while_they_wait_free_the_lane() {
    let fixture = Fixture::new();
    let (one, two) = fixture.pair();
    let mut calls = Vec::new();
    eventually("the lane stays full", || {
        calls.push(
            one.transport
                .call(two.id, Lane::Bulk, vec![0; 10_000].into(), PATIENCE),
        );
        let refused =
            futures_lite::future::block_on(futures_lite::future::poll_once(calls.last_mut().unwrap()));
        let full = refused == Some(CallOutcome::NotDelivered(SendError::Busy));
        if full {
            calls.pop();
        }
        full && calls.len() > 100
    });
    let room = one.transport.room(two.id, Lane::Bulk);
    // Nobody reads at the other side: room comes from here.
    drop(calls);
    soon("there is room", room).unwrap();
}

#[test]
fn a_dropped_call_disturbs_no_other_and_its_late_answer_is_discarded() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let dropped = one
        .transport
        .call(two.id, Lane::Control, "first".into(), PATIENCE);
    let kept = one
        .transport
        .call(two.id, Lane::Control, "second".into(), PATIENCE);
    let (first, second) = (two.next(), two.next());
    drop(dropped);
    first.reply.answer("late".into());
    second.reply.answer("answer".into());
    assert_eq!(
        soon("the call ends", kept),
        CallOutcome::Answered("answer".into())
    );
    two.echo();
    for _ in 0..100 {
        assert_eq!(
            one.call(2, Lane::Control, "more"),
            CallOutcome::Answered("more".into())
        );
    }
}

#[test]
fn a_call_that_waits_in_a_full_lane_to_its_deadline_is_surely_not_delivered() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let sent = fill(&one, Lane::Bulk, &Bytes::from(vec![0; 100_000]));
    // The last message made it full; one that is taken from it makes room for a call, which then waits in the queue.
    for _ in 0..5 {
        two.next();
    }
    soon("there is room", one.transport.room(two.id, Lane::Bulk)).unwrap();
    let call = one
        .transport
        .call(two.id, Lane::Bulk, "waits".into(), Duration::from_millis(30));
    let outcome = soon("the call ends", call);
    assert_eq!(outcome, CallOutcome::NotDelivered(SendError::Busy));
    for _ in 5..sent {
        assert_ne!(two.next().message, "waits");
    }
    one.send(2, Lane::Bulk, "after").unwrap();
    assert_eq!(two.next().message, "after");
}

#[test]
fn answers_that_are_not_read_hold_back_further_calls() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.echo();
    // Far more than fits into any queue: each is answered, with nothing lost on the way.
    let message = Bytes::from(vec![3; 200_000]);
    for _ in 0..3 {
        let calls: Vec<_> = (0..50)
            .map(|_| {
                soon("there is room", one.transport.room(two.id, Lane::Bulk)).unwrap();
                one.transport.call(two.id, Lane::Bulk, message.clone(), PATIENCE)
            })
            .collect();
        for call in calls {
            assert_eq!(
                soon("the call ends", call),
                CallOutcome::Answered(message.clone())
            );
        }
    }
}
