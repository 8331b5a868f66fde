//! TR-REC: sessions end and begin.

use chronik_core::ids::NodeId;
use chronik_core::transport::{CallOutcome, Lane, Peer, SendError};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, LANES, PATIENCE, eventually, peer, soon};
use crate::proxy::{Fault, Proxy};

#[test]
fn a_restarted_peer_is_dialled_again_and_gets_nothing_of_the_old_session() {
    let fixture = Fixture::new();
    let (one, two) = fixture.pair();
    let address = two.local;
    // Nobody read these.
    for _ in 0..10 {
        one.send(2, Lane::Replication, "old").unwrap();
    }
    two.close();
    one.wait_state(2, "the loss is seen", |state| !state.connected);
    assert_eq!(
        one.send(2, Lane::Replication, "lost"),
        Err(SendError::Disconnected)
    );
    let mut two = fixture.bind_with(fixture.options(2, address));
    let state = one.wait_connected(2);
    assert_eq!(state.session, 2);
    one.send(2, Lane::Replication, "new").unwrap();
    assert_eq!(two.next().message, "new");
}

#[test]
fn after_a_cut_nothing_of_the_old_session_arrives_behind_the_new() {
    let fixture = Fixture::new();
    let (one, mut two) = (fixture.node(1), fixture.node(2));
    let proxy = Proxy::to(two.local);
    one.transport.set_peers(vec![peer(2, proxy.local)]);
    for session in 1..=20_u64 {
        let state = one.wait_state(2, "a session", |state| {
            state.connected && state.session >= session
        });
        for number in 0..20_u64 {
            let message = [state.session.to_le_bytes(), number.to_le_bytes()].concat();
            // The session may end meanwhile, but not for this.
            let _ = one.send(2, LANES[number as usize % 3], message);
        }
        proxy.cut();
        one.wait_state(2, "a new session", |now| now.session > session);
    }
    let _ = one.send(2, Lane::Control, "end");
    let mut newest = 0;
    let mut last = [None; 3];
    loop {
        let arrived = two.next();
        if arrived.message == "end" {
            break;
        }
        let session = u64::from_le_bytes(arrived.message[..8].try_into().unwrap());
        let number = u64::from_le_bytes(arrived.message[8..].try_into().unwrap());
        assert!(session >= newest, "session {session} after {newest}");
        let last = &mut last[number as usize % 3];
        assert!(
            session > newest || last.is_none_or(|last| last < (session, number)),
            "out of order"
        );
        *last = Some((session, number));
        newest = session;
    }
}

#[test]
fn a_call_in_flight_when_the_peer_goes_is_unknown() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let call = one.transport.call(two.id, Lane::Control, "x".into(), PATIENCE);
    let held = two.next();
    two.close();
    let outcome = soon("the call ends", call);
    assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
    drop(held);
}

#[test]
fn calls_at_a_cut_are_unknown_or_surely_not_delivered_and_never_both() {
    let fixture = Fixture::new();
    let (one, mut two) = (fixture.node(1), fixture.node(2));
    let proxy = Proxy::to(two.local);
    one.transport.set_peers(vec![peer(2, proxy.local)]);
    let delivered = Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::new()));
    let seen = Arc::clone(&delivered);
    two.handle(move |inbound| {
        *seen.lock().unwrap().entry(inbound.message.clone()).or_insert(0) += 1;
        inbound.reply.answer(inbound.message);
    });
    let mut outcomes = Vec::new();
    for round in 0..20 {
        one.wait_state(2, "a session", |state| state.connected && state.session > round);
        let calls: Vec<_> = (0..100)
            .map(|number| {
                let mut message = format!("{round} {number} ").into_bytes();
                message.resize(5000, b'.');
                let message = bytes::Bytes::from(message);
                (
                    message.clone(),
                    one.transport.call(two.id, LANES[number % 3], message, PATIENCE),
                )
            })
            .collect();
        proxy.cut();
        outcomes.extend(
            calls
                .into_iter()
                .map(|(message, call)| (message, soon("the call ends", call))),
        );
    }
    let delivered = delivered.lock().unwrap();
    for (message, outcome) in outcomes {
        let times = delivered.get(&message).copied().unwrap_or(0);
        assert!(times <= 1, "delivered {times} times");
        match outcome {
            CallOutcome::Answered(answer) => assert!(answer == message && times == 1),
            CallOutcome::NotDelivered(_) => assert_eq!(times, 0, "said not to be delivered"),
            CallOutcome::Unknown(_) => {}
        }
    }
}

#[test]
fn a_peer_that_is_silent_is_found_within_the_keepalive() {
    for fault in [Fault::Hold, Fault::HoldBack] {
        let fixture = Fixture {
            keepalive: Duration::from_millis(400),
            ..Fixture::new()
        };
        let (one, mut two) = (fixture.node(1), fixture.node(2));
        two.echo();
        let proxy = Proxy::to(two.local);
        one.transport.set_peers(vec![peer(2, proxy.local)]);
        one.wait_connected(2);
        assert_eq!(one.call(2, Lane::Control, "x"), CallOutcome::Answered("x".into()));
        proxy.set(fault);
        let start = Instant::now();
        let call = one.transport.call(two.id, Lane::Control, "y".into(), PATIENCE);
        one.wait_state(2, "the silence is found", |state| !state.connected);
        let found = start.elapsed();
        let outcome = soon("the call ends", call);
        assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
        // Generous, because the machine may be busy; the call would have waited for half a minute.
        assert!(found < Duration::from_secs(10), "found after {found:?}");
        proxy.set(Fault::None);
        proxy.cut();
        one.wait_connected(2);
        assert_eq!(one.call(2, Lane::Control, "z"), CallOutcome::Answered("z".into()));
    }
}

#[test]
fn a_quiet_session_lives() {
    let fixture = Fixture {
        keepalive: Duration::from_millis(200),
        ..Fixture::new()
    };
    let (one, two) = fixture.pair();
    let start = Instant::now();
    eventually("ten keepalives pass", || start.elapsed() > Duration::from_secs(2));
    // On a machine that stood still for long a session may have been lost, and only then.
    assert!(one.state(2).session <= 2 && two.state(1).session <= 2);
    one.wait_connected(2);
}

#[test]
fn a_peer_that_refuses_is_dialled_with_growing_pauses() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let one = fixture.node(1);
    let start = Instant::now();
    one.transport.set_peers(vec![peer(2, address)]);
    eventually("it is dialled again and again", || {
        attempts.load(Ordering::SeqCst) >= 8
    });
    // Pauses that double from 20 ms, halved by the jitter at most.
    assert!(
        start.elapsed() > Duration::from_millis(600),
        "{:?}",
        start.elapsed()
    );
    one.close();
}

#[test]
fn a_peer_is_found_by_its_name_at_every_attempt() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.node(1), fixture.node(2));
    let port = two.local.port();
    one.transport.set_peers(vec![Peer {
        node: NodeId(2),
        address: format!("localhost:{port}"),
    }]);
    one.wait_connected(2);
    two.close();
    one.wait_state(2, "the loss is seen", |state| !state.connected);
    let _two = fixture.bind_with(fixture.options(2, two.local));
    one.wait_connected(2);
}

#[test]
fn two_nodes_that_dial_each_other_at_once_end_with_one_session_and_lose_nothing() {
    for _ in 0..10 {
        let fixture = Fixture::new();
        let nodes = [fixture.node(1), fixture.node(2)];
        let addresses = [nodes[0].local, nodes[1].local];
        let start = Arc::new(Barrier::new(2));
        let threads = nodes.map(|mut node| {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                let other = 3 - node.id.0;
                start.wait();
                node.transport
                    .set_peers(vec![peer(other, addresses[other as usize - 1])]);
                node.wait_connected(other);
                for number in 0..100_u32 {
                    node.send(other, Lane::Replication, number.to_le_bytes().to_vec())
                        .unwrap();
                }
                for number in 0..100_u32 {
                    assert_eq!(node.next().message, number.to_le_bytes()[..]);
                }
                assert_eq!(node.state(other).session, 1);
                node
            })
        });
        let nodes = threads.map(|thread| thread.join().unwrap());
        nodes.iter().for_each(crate::fixture::Node::close);
    }
}

#[test]
fn the_address_book_is_replaced() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let mut three = fixture.node(3);
    let call = one.transport.call(two.id, Lane::Control, "x".into(), PATIENCE);
    let held = two.next();
    one.meet(&[&three]);
    let outcome = soon("the call ends", call);
    assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
    drop(held);
    assert_eq!(
        one.send(2, Lane::Control, "x"),
        Err(SendError::UnknownPeer(two.id))
    );
    one.wait_connected(3);
    one.send(3, Lane::Control, "x").unwrap();
    assert_eq!(three.next().message, "x");
    assert_eq!(one.transport.peers().get().len(), 1);
    one.meet(&[&two, &three]);
    let state = one.wait_connected(2);
    assert_eq!(state.session, 2, "a peer that comes back goes on counting");
    one.send(2, Lane::Control, "again").unwrap();
    assert_eq!(two.next().message, "again");
    // Another address is another session; of two for one node the last counts, and none is for the node itself.
    let proxy = Proxy::to(two.local);
    let call = one.transport.call(two.id, Lane::Control, "x".into(), PATIENCE);
    one.transport
        .set_peers(vec![peer(2, two.local), peer(2, proxy.local), peer(1, one.local)]);
    let outcome = soon("the call ends", call);
    assert!(!matches!(outcome, CallOutcome::Answered(_)), "{outcome:?}");
    one.wait_state(2, "a session over the other address", |state| {
        state.connected && state.session == 3
    });
    assert_eq!(proxy.accepted(), 3, "a connection for each lane");
}
