//! TR-ID and TR-LIFE: who may join, and how a transport ends.

use chronik_core::ids::NodeId;
use chronik_core::transport::{CallOutcome, Hello, Lane, SendError};
use futures_lite::future::block_on;

use crate::fixture::{Fixture, any_port, eventually, peer, soon};
use crate::raw::{Claim, Raw};
use crate::session_capnp::Lane as WireLane;

#[test]
fn a_peer_that_does_not_belong_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    let two = fixture.node(2);
    let good = Claim::good(9, 2, 1);
    for (claim, reason) in [
        (
            Claim {
                cluster: "other",
                ..good
            },
            "belongs to cluster \"other\"",
        ),
        (
            Claim { version: 7, ..good },
            "node 9 speaks version 7 and node 2 version 1",
        ),
        (Claim { to: 3, ..good }, "this is node 2, not node 3"),
        (Claim { node: 2, ..good }, "two nodes have the id 2"),
        (
            Claim {
                lane: WireLane::Bulk,
                ..good
            },
            "there is no such session",
        ),
    ] {
        let mut raw = Raw::dial(two.local);
        let refused = raw.hello(&claim);
        assert!(refused.contains(reason), "{refused:?} does not say {reason:?}");
        assert!(raw.is_ended());
    }
    let mut first = Raw::dial(two.local);
    assert_eq!(first.hello(&good), "");
    // While the session lives, neither a second process nor an older session takes its place.
    for (claim, reason) in [
        (
            Claim {
                incarnation: 6,
                session: 2,
                ..good
            },
            "another process with the id 9",
        ),
        (good, "a newer session has begun"),
    ] {
        let refused = Raw::dial(two.local).hello(&claim);
        assert!(refused.contains(reason), "{refused:?} does not say {reason:?}");
    }
    let mut newer = Raw::dial(two.local);
    assert_eq!(newer.hello(&Claim { session: 2, ..good }), "");
    assert!(first.is_ended(), "the older session ends");
    drop(newer);
    eventually("another process may take over", || {
        Raw::dial(two.local)
            .hello(&Claim {
                incarnation: 6,
                ..good
            })
            .is_empty()
    });
}

#[test]
fn nodes_of_another_cluster_version_or_id_exchange_no_message() {
    let fixture = Fixture::new();
    let ours = Hello {
        cluster_id: "test-cluster".into(),
        node: NodeId(2),
        version: 1,
    };
    for theirs in [
        Hello {
            cluster_id: "other".into(),
            ..ours.clone()
        },
        Hello {
            version: 2,
            ..ours.clone()
        },
        Hello {
            node: NodeId(5),
            ..ours
        },
    ] {
        let one = fixture.node(1);
        let mut options = fixture.options(2, any_port());
        options.hello = theirs;
        let other = fixture.bind_with(options);
        one.transport.set_peers(vec![peer(2, other.local)]);
        other.transport.set_peers(vec![peer(1, one.local)]);
        // It is tried again and again; each attempt is an answered hello, and the proxy's count shows them.
        let proxy = crate::proxy::Proxy::to(other.local);
        one.transport.set_peers(vec![peer(2, proxy.local)]);
        eventually("it was refused a few times", || proxy.accepted() >= 3);
        assert!(!one.state(2).connected);
        assert_eq!(one.send(2, Lane::Control, "x"), Err(SendError::Disconnected));
    }
}

#[test]
fn a_node_without_a_cluster_yet_talks_to_any() {
    let fixture = Fixture::new();
    let one = fixture.node(1);
    let mut options = fixture.options(2, any_port());
    options.hello.cluster_id = "".into();
    let mut two = fixture.bind_with(options);
    two.echo();
    one.meet(&[&two]);
    two.meet(&[&one]);
    one.wait_connected(2);
    two.wait_connected(1);
    assert_eq!(one.call(2, Lane::Control, "x"), CallOutcome::Answered("x".into()));
}

#[test]
fn the_same_address_can_be_bound_again_at_once() {
    let fixture = Fixture::new();
    let one = fixture.node(1);
    let mut two = fixture.node(2);
    let address = two.local;
    one.meet(&[&two]);
    for session in 1..=10 {
        one.wait_state(2, "the next session", |state| {
            state.connected && state.session >= session
        });
        two.echo();
        eventually("it answers", || {
            one.call(2, Lane::Control, "x") == CallOutcome::Answered("x".into())
        });
        two.close();
        two = fixture.bind_with(fixture.options(2, address));
    }
}

#[test]
fn an_address_in_use_is_a_clear_error() {
    let fixture = Fixture::new();
    let one = fixture.node(1);
    let error = block_on(fixture.factory.bind(fixture.options(2, one.local))).unwrap_err();
    assert!(
        error.contains("listen") && error.contains(&one.local.to_string()),
        "{error}"
    );
    for (name, options) in [
        (
            "max_message_bytes",
            chronik_core::transport::BindOptions {
                max_message_bytes: 0,
                ..fixture.options(2, any_port())
            },
        ),
        (
            "max_queued_bytes",
            chronik_core::transport::BindOptions {
                max_queued_bytes: 0,
                ..fixture.options(2, any_port())
            },
        ),
    ] {
        let error = block_on(fixture.factory.bind(options)).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn close_sends_what_is_queued() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let (arrived, arrivals) = std::sync::mpsc::channel();
    two.handle(move |inbound| arrived.send(inbound.message).unwrap());
    for number in 0..1000_u32 {
        one.send(2, Lane::Bulk, number.to_le_bytes().to_vec()).unwrap();
    }
    one.close();
    assert_eq!(one.send(2, Lane::Bulk, "x"), Err(SendError::Closed));
    assert_eq!(
        one.call(2, Lane::Bulk, "x"),
        CallOutcome::NotDelivered(SendError::Closed)
    );
    let all: Vec<_> = arrivals.try_iter().collect();
    assert_eq!(all.len(), 1000, "they were taken before close was over");
    // Twice is once.
    one.close();
}

#[test]
fn a_closed_transport_ends_its_stream_and_its_calls() {
    let fixture = Fixture::new();
    let (mut one, mut two) = fixture.pair();
    let call = one
        .transport
        .call(two.id, Lane::Control, "x".into(), crate::fixture::PATIENCE);
    let held = two.next();
    let mut inbound = one.inbound.take().unwrap();
    one.close();
    assert!(soon("the stream ends", inbound.next()).is_none());
    let outcome = soon("the call ends", call);
    assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
    assert!(!one.state(2).connected);
    held.reply.answer("too late".into());
}
