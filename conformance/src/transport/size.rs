//! Sizes, allowed and not.

use super::lab::{LONG, Lab, MAX_MESSAGE_BYTES, brief, labelled, peer};
use super::{Check, must};
use crate::check::{Verdict, ensure};
use bytes::Bytes;
use chronik_core::NodeId;
use chronik_core::transport::{CallOutcome, Lane, SendError};

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-SIZE-01",
        "messages_of_every_size_arrive_byte_for_byte",
        |lab| Box::pin(every_size(lab)),
    ),
    must(
        "TR-SIZE-02",
        "a_larger_message_is_refused_and_the_session_lives",
        |lab| Box::pin(too_large(lab)),
    ),
    must(
        "TR-SIZE-03",
        "hostile_lengths_are_refused_and_others_go_on",
        |lab| Box::pin(hostile(lab)),
    ),
];

/// A message of exactly `size` bytes.
fn exactly(size: u64) -> Bytes {
    labelled(size, size as usize).slice(..size as usize)
}

async fn every_size(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    let sizes = [
        0,
        1,
        7,
        8,
        9,
        255,
        256,
        4095,
        4096,
        4097,
        65535,
        65536,
        65537,
        MAX_MESSAGE_BYTES / 2,
        MAX_MESSAGE_BYTES - 1,
        MAX_MESSAGE_BYTES,
    ];
    for size in sizes {
        let message = exactly(size);
        let outcome = pair.one.call(pair.two.id, Lane::Bulk, &message, LONG).await;
        ensure!(
            outcome == CallOutcome::Answered(message.clone()),
            "a call of {size} bytes ended as {}",
            brief(&outcome)
        );
        lab.send(&pair.one, pair.two.id, Lane::Replication, &message)
            .await?;
        lab.until("a one-way message does not arrive whole", LONG, || {
            seen.count(&message) == 2
        })
        .await?;
    }
    Ok(())
}

async fn too_large(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    let before = pair.sessions();
    let limit_bytes = MAX_MESSAGE_BYTES;
    let refusal = SendError::TooLarge { limit_bytes };
    for over in [1, 100, MAX_MESSAGE_BYTES] {
        let message = exactly(limit_bytes + over);
        let sent = pair.one.transport.send(pair.two.id, Lane::Bulk, message.clone());
        ensure!(
            sent == Err(refusal.clone()),
            "{over} bytes above the limit: {sent:?}"
        );
        let outcome = pair.one.call(pair.two.id, Lane::Bulk, &message, LONG).await;
        ensure!(
            outcome == CallOutcome::NotDelivered(refusal.clone()),
            "a call of {over} bytes above the limit: {}",
            brief(&outcome)
        );
        pair.check_echo(over).await?;
    }
    ensure!(pair.sessions() == before, "the session did not live on");
    ensure!(
        seen.len() == 3,
        "{} messages arrived where 3 were sent",
        seen.len()
    );
    Ok(())
}

async fn hostile(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    let mut random = vec![0; 4096];
    lab.prng().fill(&mut random);
    let inputs: [&[u8]; 8] = [
        &[0xff; 64],
        &[0; 64],
        &[0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4],
        // A message of many segments, one of few segments and enormous length, a length in network order.
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f],
        &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &random,
    ];
    for (number, input) in inputs.iter().enumerate() {
        lab.rig.send_garbage(pair.two.local, input);
        lab.marks.hit("hostile connections");
        pair.check_echo(number as u64).await?;
    }
    ensure!(
        seen.len() == inputs.len(),
        "{} messages arrived where {} were sent",
        seen.len(),
        inputs.len()
    );
    let three = lab.node(3).await?;
    let wire = lab.rig.wire(pair.two.local);
    three.transport.set_peers(vec![peer(NodeId(2), wire.address())]);
    lab.connected(&three, NodeId(2), true).await
}
