//! Order within a lane, across sessions, and between lanes.

use super::lab::{LANES, LONG, Lab, MAX_QUEUED_BYTES, brief, label_of, labelled};
use super::{Check, must, should};
use crate::check::{Failure, Verdict, ensure};
use bytes::Bytes;
use chronik_core::transport::{CallOutcome, Inbound, Lane};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-ORD-01",
        "messages_of_a_peer_and_lane_arrive_in_order",
        |lab| Box::pin(in_order(lab)),
    ),
    must(
        "TR-ORD-02",
        "after_a_reconnect_nothing_of_the_old_session_arrives",
        |lab| Box::pin(nothing_old(lab)),
    ),
    should(
        "TR-ORD-03",
        "control_messages_pass_while_bulk_data_waits",
        |lab| Box::pin(control_passes(lab)),
    ),
];

async fn in_order(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let mut prng = lab.prng();
    let seen = lab.echo(&mut pair.two);
    let back = lab.echo(&mut pair.one);
    let count = 300 * lab.effort;
    for label in 0..count {
        let message = labelled(label, prng.index(4000));
        let lane = LANES[prng.index(3)];
        lab.send(&pair.one, pair.two.id, lane, &message).await?;
        lab.send(&pair.two, pair.one.id, lane, &message).await?;
    }
    for seen in [seen, back] {
        lab.until("messages do not arrive", LONG, || seen.len() as u64 >= count)
            .await?;
        let all = seen.all();
        ensure!(
            all.len() as u64 == count,
            "{} of {count} messages arrived",
            all.len()
        );
        for lane in LANES {
            let labels: Vec<u64> = of_lane(&all, lane);
            ensure!(
                labels.is_sorted_by(|one, next| one < next),
                "lane {lane:?} is out of order: {labels:?}"
            );
            lab.marks.add("messages in order", labels.len() as u64);
        }
    }
    Ok(())
}

fn of_lane(all: &[(Lane, Bytes)], lane: Lane) -> Vec<u64> {
    let of_lane = all.iter().filter(|(on, _)| *on == lane);
    of_lane.filter_map(|(_, message)| label_of(message)).collect()
}

async fn nothing_old(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let mut inbound = pair
        .two
        .inbound
        .take()
        .ok_or_else(|| Failure::new("a node has an inbound stream"))?;
    for round in 0..6 * lab.effort {
        let before = pair.sessions();
        for number in 0..5 {
            lab.send(
                &pair.one,
                pair.two.id,
                LANES[number % 3],
                &labelled(round * 2, 100),
            )
            .await?;
        }
        // They arrive, and nobody reads them.
        lab.sleep(Duration::from_millis(50)).await;
        pair.link.reset();
        lab.next_session(&pair, before).await?;
        lab.marks.hit("messages unread at a reconnect");
        let new = labelled(round * 2 + 1, 100);
        for lane in LANES {
            lab.send(&pair.one, pair.two.id, lane, &new).await?;
        }
        for _ in LANES {
            let late = async {
                lab.sleep(LONG).await;
                None
            };
            let next: Option<Inbound> = future::or(inbound.next(), late).await;
            let message = next.map(|inbound| inbound.message);
            ensure!(
                message.as_ref() == Some(&new),
                "after a reconnect, {:?} arrived and not {:?} (even numbers are of the old session)",
                message.as_ref().and_then(label_of),
                label_of(&new)
            );
        }
    }
    Ok(())
}

async fn control_passes(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let mut inbound = pair
        .two
        .inbound
        .take()
        .ok_or_else(|| Failure::new("a node has an inbound stream"))?;
    let size = MAX_QUEUED_BYTES as usize / 32;
    let bulk = lab.fill(&pair.one, pair.two.id, Lane::Bulk, size).await?;
    let message = labelled(1_000_000, 10);
    let start = lab.now();
    let call = pair.one.call(pair.two.id, Lane::Control, &message, LONG);
    let mut read = 0;
    // A reader that takes its time for each bulk message.
    let reading = async {
        while let Some(inbound) = inbound.next().await {
            if inbound.lane == Lane::Bulk {
                read += 1;
                lab.sleep(Duration::from_millis(50)).await;
            } else {
                inbound.reply.answer(inbound.message);
            }
        }
        CallOutcome::Unknown("the stream ended".into())
    };
    let outcome = future::or(call, reading).await;
    let took = lab.now() - start;
    ensure!(
        outcome == CallOutcome::Answered(message),
        "a control call ended as {}",
        brief(&outcome)
    );
    ensure!(
        took <= Duration::from_millis(500) + lab.rig.slack(),
        "a control message waited {took:?} behind {read} of {} bulk messages",
        bulk.len()
    );
    Ok(())
}
