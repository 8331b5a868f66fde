//! TR-ORD and TR-SIZE: order and content of messages.

use bytes::Bytes;
use chronik_core::transport::SendError;
use std::collections::BTreeMap;

use crate::fixture::{Fixture, LANES};

#[test]
fn messages_of_a_lane_arrive_in_order_under_load() {
    const COUNT: u64 = 20_000;
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            for lane in LANES {
                let mut message = number.to_le_bytes().to_vec();
                message.resize(8 + fixture.rng.below(200), 0);
                one.send_all(2, lane, [Bytes::from(message)]);
            }
        }
        one
    });
    let mut next = BTreeMap::new();
    for _ in 0..COUNT * 3 {
        let inbound = two.next();
        let number = u64::from_le_bytes(inbound.message[..8].try_into().unwrap());
        let expected = next.entry(inbound.lane).or_insert(0);
        assert_eq!(number, *expected, "on {:?}", inbound.lane);
        *expected += 1;
    }
    drop(sender.join().unwrap());
}

#[test]
fn messages_of_every_size_arrive_byte_for_byte() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let limit = 4 * 1024 * 1024;
    let mut sizes: Vec<usize> = vec![
        0, 1, 7, 8, 9, 4095, 4096, 65_535, 65_536, 262_143, 262_144, 262_145,
    ];
    sizes.extend((0..20).map(|_| fixture.rng.below(limit)));
    sizes.extend([limit - 1, limit]);
    let messages: Vec<Bytes> = sizes.into_iter().map(|size| fixture.rng.bytes(size)).collect();
    let sent = messages.clone();
    let sender = std::thread::spawn(move || {
        one.send_all(2, LANES[2], sent);
        one
    });
    for message in messages {
        let arrived = two.next().message;
        assert!(
            arrived == message,
            "{} bytes sent, {} arrived",
            message.len(),
            arrived.len()
        );
    }
    drop(sender.join().unwrap());
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_session_lives() {
    let fixture = Fixture::new();
    let (one, mut two) = fixture.pair();
    let limit_bytes = fixture.max_message_bytes;
    let large = Bytes::from(vec![0; usize::try_from(limit_bytes).unwrap() + 1]);
    for lane in LANES {
        assert_eq!(
            one.send(2, lane, large.clone()),
            Err(SendError::TooLarge { limit_bytes })
        );
        one.send(2, lane, "small").unwrap();
        assert_eq!(two.next().message, "small");
    }
    assert_eq!(one.state(2).session, 1);
}
