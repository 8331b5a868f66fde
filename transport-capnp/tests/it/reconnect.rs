//! TR-REC and TR-LIFE: sessions end and begin.

use chronik_core::transport::{CallOutcome, Lane, SendError};

use crate::fixture::{Fixture, eventually};

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
fn a_call_in_flight_when_the_peer_goes_is_unknown() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let call = one
        .transport
        .call(two.id, Lane::Control, "x".into(), crate::fixture::PATIENCE);
    let held = two.next();
    two.close();
    let outcome = crate::fixture::soon("the call ends", call);
    assert!(matches!(outcome, CallOutcome::Unknown(_)), "{outcome:?}");
    drop(held);
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
    let mut count = 0;
    eventually("all messages arrive", || {
        count += arrivals.try_iter().count();
        count == 1000
    });
}
