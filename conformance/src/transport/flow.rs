//! Bounds and back pressure.

use super::lab::{LONG, Lab, MAX_QUEUED_BYTES, RECONNECT, all, brief, label_of, labelled, peer};
use super::{Check, must};
use crate::check::{Verdict, ensure};
use chronik_core::NodeId;
use chronik_core::transport::{CallOutcome, Lane};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-FLOW-01",
        "what_waits_is_bounded_and_senders_can_wait_for_room",
        |lab| Box::pin(bounded(lab)),
    ),
    must("TR-FLOW-02", "a_slow_peer_does_not_slow_the_others", |lab| {
        Box::pin(slow_peer(lab))
    }),
    must(
        "TR-FLOW-03",
        "a_reader_that_does_not_read_pushes_back_and_loses_nothing",
        |lab| Box::pin(pushes_back(lab)),
    ),
    must("TR-FLOW-04", "calls_that_end_early_free_what_they_held", |lab| {
        Box::pin(early_ends(lab))
    }),
];

const SIZE: usize = 32 << 10;

async fn bounded(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let accepted = lab.fill(&pair.one, pair.two.id, Lane::Bulk, SIZE).await?;
    lab.marks.add("messages until busy", accepted.len() as u64);
    let mut room = pair.one.transport.room(pair.two.id, Lane::Bulk);
    let early = future::poll_once(&mut room).await;
    ensure!(early.is_none(), "there is room in a full lane: {early:?}");
    let seen = lab.echo(&mut pair.two);
    let late = async {
        lab.sleep(LONG).await;
        Err(chronik_core::transport::SendError::Busy)
    };
    let answer = future::or(room, late).await;
    ensure!(answer.is_ok(), "no room, although the peer reads: {answer:?}");
    let message = labelled(1_000_000, SIZE);
    let sent = pair.one.transport.send(pair.two.id, Lane::Bulk, message.clone());
    ensure!(sent.is_ok(), "after there was room: {sent:?}");
    lab.until("the last message does not arrive", LONG, || {
        seen.count(&message) == 1
    })
    .await
}

async fn slow_peer(lab: &Lab<'_>) -> Verdict {
    let pair = lab.pair().await?;
    let mut three = lab.node(3).await?;
    let wire = lab.rig.wire(three.local);
    pair.one.transport.set_peers(vec![
        peer(pair.two.id, pair.link.there.address()),
        peer(NodeId(3), wire.address()),
    ]);
    lab.connected(&pair.one, NodeId(3), true).await?;
    lab.echo(&mut three);
    for lane in [Lane::Bulk, Lane::Replication] {
        lab.fill(&pair.one, pair.two.id, lane, SIZE).await?;
        let start = lab.now();
        for label in 0..20 {
            let message = labelled(label, SIZE);
            let outcome = pair.one.call(NodeId(3), lane, &message, LONG).await;
            ensure!(
                outcome == CallOutcome::Answered(message),
                "a call to a peer that reads ended as {}",
                brief(&outcome)
            );
        }
        let took = lab.now() - start;
        ensure!(
            took <= Duration::from_millis(500) + lab.rig.slack(),
            "20 calls to a peer that reads took {took:?} beside one that does not"
        );
    }
    Ok(())
}

async fn pushes_back(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let accepted = lab.fill(&pair.one, pair.two.id, Lane::Replication, SIZE).await?;
    let seen = lab.echo(&mut pair.two);
    // Others that wait their turn follow.
    let last = labelled(accepted.len() as u64, SIZE);
    lab.send(&pair.one, pair.two.id, Lane::Replication, &last).await?;
    lab.until("the last message does not arrive", LONG, || {
        seen.count(&last) == 1
    })
    .await?;
    let labels: Vec<u64> = seen
        .all()
        .iter()
        .filter_map(|(_, message)| label_of(message))
        .collect();
    let wanted: Vec<u64> = (0..=accepted.len() as u64).collect();
    ensure!(
        labels == wanted,
        "{} messages were accepted and {} arrived: {labels:?}",
        wanted.len(),
        labels.len()
    );
    Ok(())
}

async fn early_ends(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    let batch = MAX_QUEUED_BYTES / SIZE as u64 / 2;
    for round in 0..20 * lab.effort {
        let calls: Vec<_> = (0..batch)
            .map(|number| {
                let message = labelled(round * batch + number, SIZE);
                pair.one
                    .call(pair.two.id, Lane::Bulk, &message, Duration::from_millis(50))
            })
            .collect();
        for outcome in all(calls).await {
            ensure!(
                matches!(outcome, CallOutcome::Unknown(_)),
                "a call that nobody answers ended as {}, after {} calls",
                brief(&outcome),
                round * batch
            );
            lab.marks.hit("calls that ended early");
        }
        lab.until("the calls do not arrive", RECONNECT, || {
            held.len() as u64 >= batch
        })
        .await?;
        drop(held.take());
    }
    Ok(())
}
