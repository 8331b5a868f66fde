//! The loss of sessions, and the next ones.

use super::lab::{KEEPALIVE, LONG, Lab, Link, Pair, all, brief, labelled, peer};
use super::{Check, must};
use crate::check::{Verdict, ensure};
use chronik_core::transport::{CallOutcome, Lane};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-REC-01",
        "a_lost_session_is_dialled_again_without_a_storm",
        |lab| Box::pin(dialled_again(lab)),
    ),
    must(
        "TR-REC-02",
        "what_was_in_flight_at_the_loss_is_unknown_at_once",
        |lab| Box::pin(in_flight(lab)),
    ),
    must(
        "TR-REC-03",
        "a_silent_peer_is_found_within_the_keepalive",
        |lab| Box::pin(silent_peer(lab)),
    ),
    must("TR-REC-04", "a_name_is_looked_up_again_at_every_attempt", |lab| {
        Box::pin(looked_up_again(lab))
    }),
    must(
        "TR-REC-05",
        "two_that_dial_each_other_at_once_end_with_one_session",
        |lab| Box::pin(simultaneous(lab)),
    ),
];

/// More attempts than these in a second are a storm.
const ATTEMPTS_A_SECOND: u64 = 50;

async fn dialled_again(lab: &Lab<'_>) -> Verdict {
    let pair = lab.pair().await?;
    lab.cut_off(&pair).await?;
    let count = || pair.link.there.attempts() + pair.link.back.attempts();
    let before = count();
    lab.sleep(lab.rig.patience()).await;
    let attempts = count() - before;
    lab.marks.add("attempts", attempts);
    let storm = 2 * ATTEMPTS_A_SECOND * lab.rig.patience().as_secs().max(1);
    ensure!(
        (1..=storm).contains(&attempts),
        "{attempts} attempts in {:?}",
        lab.rig.patience()
    );
    pair.link.refuse(false);
    lab.both_connected(&pair, true).await
}

async fn in_flight(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    for round in 0..4 * lab.effort {
        let before = pair.sessions();
        let start = lab.now();
        let calls: Vec<_> = (0..4)
            .map(|number| {
                let message = labelled(round * 4 + number, 100);
                pair.one
                    .call(pair.two.id, Lane::Control, &message, Duration::from_secs(300))
            })
            .collect();
        let first = labelled(round * 4, 100);
        let breaking = async {
            lab.until("the call does not arrive", LONG, || {
                held.messages().contains(&first)
            })
            .await?;
            pair.link.reset();
            Verdict::Ok(())
        };
        let (outcomes, broken) = future::zip(all(calls), breaking).await;
        broken?;
        let took = lab.now() - start;
        for outcome in outcomes {
            let lost = matches!(outcome, CallOutcome::Unknown(_) | CallOutcome::NotDelivered(_));
            ensure!(lost, "a call in flight at a loss ended as {}", brief(&outcome));
            lab.marks.hit("calls in flight at a loss");
        }
        ensure!(
            took <= KEEPALIVE * 3 + lab.rig.slack(),
            "calls of a lost session ended after {took:?}"
        );
        lab.next_session(&pair, before).await?;
    }
    Ok(())
}

async fn silent_peer(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    lab.echo(&mut pair.two);
    for one_way in [false, true] {
        pair.link.hold_first(true);
        pair.link.hold_second(!one_way);
        let start = lab.now();
        lab.both_connected(&pair, false).await?;
        let took = lab.now() - start;
        ensure!(
            took <= KEEPALIVE * 3 + lab.rig.slack(),
            "a silent peer was found after {took:?}, with a keepalive of {KEEPALIVE:?}"
        );
        pair.link.hold_first(false);
        pair.link.hold_second(false);
        lab.both_connected(&pair, true).await?;
        pair.check_echo(u64::from(one_way)).await?;
    }
    Ok(())
}

async fn looked_up_again(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    for round in 0..3 {
        pair.two.transport.close().await;
        lab.connected(&pair.one, pair.two.id, false).await?;
        let mut options = Lab::options(2);
        // The old address is taken by nobody, and the new one is another.
        options.listen.set_port(0);
        let two = lab.node_with(options).await?;
        two.transport
            .set_peers(vec![peer(pair.one.id, pair.link.back.address())]);
        pair.link.back.refuse(true);
        pair.link.there.point_to(two.local);
        pair.two = two;
        lab.echo(&mut pair.two);
        lab.connected(&pair.one, pair.two.id, true).await?;
        pair.link.back.refuse(false);
        pair.check_echo(round).await?;
    }
    Ok(())
}

async fn simultaneous(lab: &Lab<'_>) -> Verdict {
    for round in 0..8 * lab.effort {
        let (mut one, mut two) = (lab.node(1).await?, lab.node(2).await?);
        lab.echo(&mut one);
        lab.echo(&mut two);
        let link = Link {
            there: lab.rig.wire(two.local),
            back: lab.rig.wire(one.local),
        };
        one.transport.set_peers(vec![peer(two.id, link.there.address())]);
        two.transport.set_peers(vec![peer(one.id, link.back.address())]);
        let pair = Pair { one, two, link };
        lab.both_connected(&pair, true).await?;
        let calls = (0..10)
            .flat_map(|number| {
                let message = labelled(round * 10 + number, 50);
                [
                    pair.one.call(pair.two.id, Lane::Control, &message, LONG),
                    pair.two.call(pair.one.id, Lane::Control, &message, LONG),
                ]
            })
            .collect();
        for outcome in all(calls).await {
            ensure!(
                matches!(outcome, CallOutcome::Answered(_)),
                "after both were connected, a call ended as {}",
                brief(&outcome)
            );
        }
        let before = pair.sessions();
        lab.sleep(KEEPALIVE).await;
        ensure!(
            pair.sessions() == before,
            "sessions came and went: {before:?}, then {:?}",
            pair.sessions()
        );
        lab.marks.hit("simultaneous starts");
        pair.one.transport.close().await;
        pair.two.transport.close().await;
    }
    Ok(())
}
