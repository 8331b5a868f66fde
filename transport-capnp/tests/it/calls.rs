//! TR-RPC: calls and their outcomes.

use bytes::Bytes;
use chronik_core::ids::NodeId;
use chronik_core::transport::{CallOutcome, Lane, SendError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, LANES, PATIENCE, soon};

#[test]
fn every_answer_reaches_its_call_whatever_the_order_of_answers() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let rng = Arc::clone(&fixture.rng);
    let mut held = Vec::new();
    let mut seen = 0;
    two.handle(move |inbound| {
        seen += 1;
        held.push(inbound);
        while held.len() > 50 || (seen == 600 && !held.is_empty()) {
            let inbound = held.swap_remove(rng.below(held.len()));
            inbound
                .reply
                .answer([b"answer to ", &inbound.message[..]].concat().into());
        }
    });
    let calls: Vec<_> = (0..600)
        .map(|number| {
            let question = Bytes::from(format!("question {number}"));
            let lane = LANES[number % 3];
            (
                question.clone(),
                one.transport.call(NodeId(2), lane, question, PATIENCE),
            )
        })
        .collect();
    for (question, call) in calls {
        let expected = [b"answer to ", &question[..]].concat();
        assert_eq!(
            soon("the call ends", call),
            CallOutcome::Answered(expected.into())
        );
    }
}

#[test]
fn a_call_is_delivered_once() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let delivered = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&delivered);
    two.handle(move |inbound| {
        count.fetch_add(1, Ordering::SeqCst);
        inbound.reply.answer(Bytes::new());
    });
    for _ in 0..100 {
        assert_eq!(
            one.call(2, Lane::Control, "x"),
            CallOutcome::Answered(Bytes::new())
        );
    }
    assert_eq!(delivered.load(Ordering::SeqCst), 100);
}

#[test]
fn a_call_to_nobody_is_surely_not_delivered() {
    let fixture = Fixture::new();
    let one = fixture.node(1);
    let outcome = one.call(9, Lane::Control, "x");
    assert_eq!(
        outcome,
        CallOutcome::NotDelivered(SendError::UnknownPeer(NodeId(9)))
    );
    let two = fixture.node(2);
    let address = two.local;
    two.close();
    one.transport.set_peers(vec![crate::fixture::peer(2, address)]);
    let outcome = one.call(2, Lane::Control, "x");
    assert_eq!(outcome, CallOutcome::NotDelivered(SendError::Disconnected));
    // And once it is there, it answers.
    let mut two = fixture.bind_with(fixture.options(2, address));
    two.echo();
    one.wait_connected(2);
    assert_eq!(one.call(2, Lane::Control, "x"), CallOutcome::Answered("x".into()));
}

#[test]
fn a_call_that_the_handler_keeps_ends_by_its_deadline_as_unknown() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    two.handle(move |inbound| keep.lock().unwrap().push(inbound));
    let start = Instant::now();
    let call = one
        .transport
        .call(NodeId(2), Lane::Control, "x".into(), Duration::from_millis(50));
    let outcome = soon("the call ends", call);
    assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
    assert!(start.elapsed() >= Duration::from_millis(50));
    // The late answer harms nobody.
    for inbound in kept.lock().unwrap().drain(..) {
        inbound.reply.answer("late".into());
    }
}

#[test]
fn a_dropped_reply_leaves_that_call_unknown_and_no_other() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.handle(|inbound| {
        if inbound.message != "drop" {
            inbound.reply.answer(inbound.message);
        }
    });
    let dropped = one.call(2, Lane::Replication, "drop");
    assert!(matches!(dropped, CallOutcome::Unknown(_)), "{dropped:?}");
    assert_eq!(
        one.call(2, Lane::Replication, "keep"),
        CallOutcome::Answered("keep".into())
    );
    assert_eq!(one.wait_connected(2).session, 1);
    let endless = one
        .transport
        .call(two.id, Lane::Replication, "keep".into(), Duration::MAX);
    assert_eq!(
        soon("the call ends", endless),
        CallOutcome::Answered("keep".into())
    );
}
