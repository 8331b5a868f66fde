//! TR-FLT and TR-SIZE-03: what networks and strangers do to the bytes.

use bytes::Bytes;
use chronik_core::transport::{CallOutcome, Lane};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fixture::{Fixture, LANES, Node, eventually, peer};
use crate::proxy::{Fault, Proxy};
use crate::raw::{Claim, Raw, bootstrap, deliver, frame};

/// The session of nodes 1 and 2 is untouched, and works.
fn unharmed(one: &Node) {
    assert_eq!(
        one.call(2, Lane::Control, "still"),
        CallOutcome::Answered("still".into())
    );
    assert_eq!(one.state(2).session, 1);
}

#[test]
fn frames_may_be_split_and_joined_everywhere() {
    for step in [1, 3, 8, 13, 1000] {
        let fixture = Fixture::new();
        let (one, mut two) = (fixture.node(1), fixture.node(2));
        let proxy = Proxy::to(two.local);
        proxy.set(Fault::Dribble(step));
        one.transport.set_peers(vec![peer(2, proxy.local)]);
        one.wait_connected(2);
        let messages: Vec<_> = (0..50)
            .map(|_| fixture.rng.bytes(fixture.rng.below(step * 20)))
            .collect();
        one.send_all(2, Lane::Replication, messages.clone());
        for message in messages {
            assert_eq!(two.next().message, message, "{step} bytes at a time");
        }
        two.echo();
        assert_eq!(one.call(2, Lane::Control, "x"), CallOutcome::Answered("x".into()));
    }
}

#[test]
fn a_turned_bit_never_becomes_a_wrong_message() {
    let fixture = Fixture::new();
    let (one, mut two) = (fixture.node(1), fixture.node(2));
    let proxy = Proxy::to(two.local);
    one.transport.set_peers(vec![peer(2, proxy.local)]);
    // Every message says what it must be: its length, and the same byte all through.
    let arrived = Arc::new(Mutex::new(0));
    let count = Arc::clone(&arrived);
    two.handle(move |inbound| {
        let message = &inbound.message;
        let expected = vec![message.len() as u8; message.len()];
        assert!(
            *message == expected && message.len() >= 200,
            "a wrong message: {message:?}"
        );
        *count.lock().unwrap() += 1;
        inbound.reply.answer(inbound.message);
    });
    // The hello and the first frames, then batches.
    for _ in 0..150 {
        proxy.set(Fault::Flip(fixture.rng.below(2500)));
        proxy.cut();
        let lane = LANES[fixture.rng.below(3)];
        for size in [200_u8, 222, 250] {
            let message = Bytes::from(vec![size; size as usize]);
            let call = one
                .transport
                .call(two.id, lane, message.clone(), Duration::from_millis(20));
            match crate::fixture::soon("the call ends", call) {
                CallOutcome::Answered(answer) => assert_eq!(answer, message),
                CallOutcome::NotDelivered(_) | CallOutcome::Unknown(_) => {}
            }
        }
    }
    proxy.set(Fault::None);
    proxy.cut();
    eventually("messages pass again", || {
        let message = Bytes::from(vec![201; 201]);
        one.call(2, Lane::Control, message.clone()) == CallOutcome::Answered(message)
    });
    assert!(*arrived.lock().unwrap() > 0);
}

#[test]
fn strangers_who_say_no_hello_are_sent_away() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.echo();
    let hello = Claim::good(9, 2, 1).bytes();
    let mut said: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // One segment of as many words as the field can say; more segments than there may be; one with none.
        [0, 0, 0, 0, 255, 255, 255, 255].to_vec(),
        [255, 255, 255, 255, 1, 0, 0, 0].to_vec(),
        [255, 1, 0, 0, 1, 0, 0, 0].to_vec(),
        [0; 8].to_vec(),
        // A root that points outside of its segment, and one that points to itself.
        [&[0, 0, 0, 0, 1, 0, 0, 0], &[0xfc, 255, 255, 0x7f, 9, 0, 9, 0][..]].concat(),
        [&[0, 0, 0, 0, 1, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0][..]].concat(),
    ];
    said.extend((0..20).map(|_| fixture.rng.bytes(10_000).to_vec()));
    for bytes in said {
        let mut stranger = Raw::dial(two.local);
        stranger.write(&bytes);
        let _ = stranger.stream.shutdown(std::net::Shutdown::Write);
        assert!(stranger.is_ended(), "{:?}", &bytes[..8]);
    }
    for cut in 0..hello.len() {
        let mut stranger = Raw::dial(two.local);
        stranger.write(&hello[..cut]);
        let _ = stranger.stream.shutdown(std::net::Shutdown::Write);
        assert!(stranger.is_ended(), "a hello of {cut} bytes");
    }
    for _ in 0..200 {
        let mut bytes = hello.clone();
        bytes[fixture.rng.below(hello.len())] ^= 1 << fixture.rng.below(8);
        let mut stranger = Raw::dial(two.local);
        stranger.write(&bytes);
        let _ = stranger.stream.shutdown(std::net::Shutdown::Write);
        assert!(stranger.is_ended());
    }
    unharmed(&one);
}

#[test]
fn strangers_who_say_nothing_do_not_keep_peers_out() {
    let fixture = Fixture {
        keepalive: Duration::from_secs(1),
        ..Fixture::new()
    };
    let two = fixture.node(2);
    let silent: Vec<Raw> = (0..150).map(|_| Raw::dial(two.local)).collect();
    let one = fixture.node(1);
    one.meet(&[&two]);
    one.wait_connected(2);
    for mut stranger in silent {
        assert!(stranger.is_ended());
    }
}

/// Frames that no proper peer sends after its hello.
fn abuses(fixture: &Fixture) -> Vec<(&'static str, Vec<u8>)> {
    let large = vec![7; usize::try_from(fixture.max_message_bytes).unwrap() + 8];
    let many = vec![&b""[..]; 80_000];
    let table = |count: u32, words: u32| [count.to_le_bytes(), words.to_le_bytes()].concat();
    // A pointer far outside of its segment, in a kind of message that is sent back as not implemented.
    let mut wild = frame(|message| {
        message.init_obsolete_save();
    });
    let last = wild.len() - 8;
    wild[last..].copy_from_slice(&[0xfc, 255, 255, 0x7f, 9, 0, 9, 0]);
    vec![
        ("a frame of 32 GiB", table(0, u32::MAX)),
        (
            "a frame a little over the limit",
            table(0, (large.len() / 8 + 10_000) as u32),
        ),
        ("too many segments", table(600, 1)),
        ("noise", fixture.rng.bytes(5000).to_vec()),
        ("an empty frame", vec![0; 8]),
        (
            "a message over the limit",
            [bootstrap(0), deliver(1, 1, &[&large])].concat(),
        ),
        (
            "a batch out of order",
            [bootstrap(0), deliver(1, 2, &[b"x"])].concat(),
        ),
        (
            "more messages than a window",
            [bootstrap(0), deliver(1, 1, &many)].concat(),
        ),
        ("the same question twice", [bootstrap(0), bootstrap(0)].concat()),
        ("questions without end", (0..1000).flat_map(bootstrap).collect()),
        (
            "an answer to nothing",
            frame(|message| message.init_return().set_answer_id(77)),
        ),
        ("a pointer to nowhere", wild),
    ]
}

#[test]
fn a_peer_that_breaks_the_rules_loses_its_connection_and_harms_nobody() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.handle(|inbound| {
        assert_eq!(inbound.from.0, 1, "nothing of these peers is a message");
        inbound.reply.answer(inbound.message);
    });
    for (session, (what, bytes)) in (1..).zip(abuses(&fixture)) {
        let mut raw = Raw::dial(two.local);
        assert_eq!(raw.hello(&Claim::good(9, 2, session)), "", "before {what}");
        raw.write(&bytes);
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        assert!(raw.is_ended(), "{what}");
        unharmed(&one);
    }
}

#[test]
fn deeply_nested_frames_end_the_connection() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.echo();
    let mut raw = Raw::dial(two.local);
    assert_eq!(raw.hello(&Claim::good(9, 2, 1)), "");
    // A kind of message that is sent back as not implemented, with lists of one list of one list of ...
    let mut bytes = frame(|message| {
        message.init_obsolete_save();
    });
    let words = 10_000_u32;
    let segment = (bytes.len() - 8) as u32 / 8;
    bytes[4..8].copy_from_slice(&(segment + words).to_le_bytes());
    // The one pointer of the union's struct is its last word; each list begins right behind its pointer.
    let last = bytes.len() - 8;
    let list = [1_u8, 0, 0, 0, 0x0e, 0, 0, 0];
    bytes[last..].copy_from_slice(&list);
    for _ in 0..words {
        bytes.extend(list);
    }
    raw.write(&bytes);
    let _ = raw.stream.shutdown(std::net::Shutdown::Write);
    assert!(raw.is_ended());
    unharmed(&one);
}

#[test]
fn frames_with_turned_bits_end_at_most_their_connection() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    two.handle(|inbound| {
        assert!(
            inbound.from.0 == 1 || inbound.message == "0123456789",
            "a wrong message"
        );
        inbound.reply.answer(inbound.message);
    });
    let sound = [
        bootstrap(0),
        deliver(1, 1, &[b"0123456789"]),
        deliver(2, 2, &[b"0123456789"]),
    ]
    .concat();
    for session in 1..=300 {
        let mut bytes = sound.clone();
        for _ in 0..=fixture.rng.below(3) {
            bytes[fixture.rng.below(sound.len())] ^= 1 << fixture.rng.below(8);
        }
        let mut raw = Raw::dial(two.local);
        assert_eq!(raw.hello(&Claim::good(9, 2, session)), "");
        raw.write(&bytes);
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        assert!(raw.is_ended());
    }
    unharmed(&one);
}

#[test]
fn a_peer_that_sends_beyond_its_window_is_stopped() {
    let fixture = Fixture::new();
    let (one, two) = fixture.pair();
    let mut raw = Raw::dial(two.local);
    assert_eq!(raw.hello(&Claim::good(9, 2, 1)), "");
    raw.write(&bootstrap(0));
    let body = vec![1; 100_000];
    // Nobody reads: the node takes a window and no more.
    let taken = (1..10_000)
        .take_while(|number| raw.write(&deliver(*number, u64::from(*number), &[&body])))
        .count();
    assert!(taken < 1000, "{taken} batches of 100 kB");
    assert!(raw.is_ended());
    assert_eq!(one.state(2).session, 1);
}
