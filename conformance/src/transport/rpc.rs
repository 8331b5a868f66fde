//! Calls and their outcomes.

use super::lab::{LANES, LONG, Lab, all, brief, labelled};
use super::{Check, must};
use crate::check::{Verdict, ensure};
use chronik_core::transport::{CallOutcome, Lane, SendError};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-RPC-01",
        "answers_reach_the_calls_that_they_belong_to",
        |lab| Box::pin(answers_reach(lab)),
    ),
    must(
        "TR-RPC-02",
        "a_message_arrives_at_most_once_whatever_breaks",
        |lab| Box::pin(at_most_once(lab)),
    ),
    must(
        "TR-RPC-03",
        "what_was_delivered_is_never_reported_as_not_delivered",
        |lab| Box::pin(unknown_is_unknown(lab)),
    ),
    must("TR-RPC-04", "a_call_ends_by_its_deadline", |lab| {
        Box::pin(deadline(lab))
    }),
    must(
        "TR-RPC-05",
        "dropping_a_call_frees_it_and_its_answer_reaches_nobody",
        |lab| Box::pin(dropped_calls(lab)),
    ),
    must(
        "TR-RPC-06",
        "a_reply_that_is_dropped_leaves_one_call_unknown",
        |lab| Box::pin(dropped_reply(lab)),
    ),
];

async fn answers_reach(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let mut prng = lab.prng();
    let held = lab.hold(&mut pair.two);
    let mut label = 0;
    for _ in 0..5 * lab.effort {
        let mut calls = Vec::new();
        for _ in 0..24 {
            label += 1;
            let (lane, message) = (LANES[prng.index(3)], labelled(label, prng.index(2000)));
            let call = pair.one.call(pair.two.id, lane, &message, LONG);
            calls.push((message, call));
        }
        let (messages, calls): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        let answering = async {
            lab.until("24 calls do not arrive", LONG, || held.len() == 24)
                .await?;
            let mut waiting = held.take();
            while !waiting.is_empty() {
                let (message, reply) = waiting.swap_remove(prng.index(waiting.len()));
                reply.answer(message);
            }
            Verdict::Ok(())
        };
        let (outcomes, answered) = future::zip(all(calls), answering).await;
        answered?;
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            ensure!(
                outcome == CallOutcome::Answered(message.clone()),
                "a call was not answered with its own answer: {}",
                brief(&outcome)
            );
            lab.marks.hit("answers in another order");
        }
    }
    Ok(())
}

async fn at_most_once(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    for round in 0..8 * lab.effort {
        let before = pair.sessions();
        let calls: Vec<_> = (0..4)
            .map(|number| {
                let message = labelled(round * 4 + number, 50);
                pair.one.call(pair.two.id, Lane::Replication, &message, LONG)
            })
            .collect();
        let first = labelled(round * 4, 50);
        let breaking = async {
            lab.until("the calls do not arrive", LONG, || {
                held.messages().contains(&first)
            })
            .await?;
            pair.link.reset();
            lab.next_session(&pair, before).await
        };
        let (outcomes, broken) = future::zip(all(calls), breaking).await;
        broken?;
        let lost = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, CallOutcome::Unknown(_)));
        lab.marks.add("calls in flight at a loss", lost.count() as u64);
        // What would be sent again is there before a message that is sent later on the same lane.
        let probe = labelled(1_000_000 + round, 20);
        lab.send(&pair.one, pair.two.id, Lane::Replication, &probe)
            .await?;
        lab.until("a later message does not arrive", LONG, || {
            held.messages().contains(&probe)
        })
        .await?;
    }
    let mut seen = held.messages();
    let arrived = seen.len();
    seen.sort_unstable();
    seen.dedup();
    ensure!(
        seen.len() == arrived,
        "{} messages arrived twice",
        arrived - seen.len()
    );
    lab.marks.require(&["calls in flight at a loss"])
}

async fn unknown_is_unknown(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    for round in 0..6 * lab.effort {
        let before = pair.sessions();
        let message = labelled(round, 100);
        let call = pair
            .one
            .call(pair.two.id, LANES[(round % 3) as usize], &message, LONG);
        let breaking = async {
            lab.until("the call does not arrive", LONG, || {
                held.messages().contains(&message)
            })
            .await?;
            pair.link.reset();
            lab.next_session(&pair, before).await
        };
        let (outcome, broken) = future::zip(call, breaking).await;
        broken?;
        ensure!(
            matches!(outcome, CallOutcome::Unknown(_)),
            "a call whose message was delivered and not answered ended as {}",
            brief(&outcome)
        );
        lab.marks.hit("delivered calls lost");
    }
    lab.cut_off(&pair).await?;
    let message = labelled(999, 100);
    let outcome = pair.one.call(pair.two.id, Lane::Control, &message, LONG).await;
    ensure!(
        matches!(outcome, CallOutcome::NotDelivered(SendError::Disconnected)),
        "a call without a session ended as {}",
        brief(&outcome)
    );
    pair.link.refuse(false);
    lab.both_connected(&pair, true).await?;
    lab.sleep(Duration::from_millis(200)).await;
    ensure!(
        !held.messages().contains(&message),
        "a message arrived that was reported as not delivered"
    );
    Ok(())
}

async fn deadline(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    let deadline = Duration::from_millis(300);
    for round in 0..2 {
        let start = lab.now();
        if round == 1 {
            pair.link.hold_first(true);
        }
        let message = labelled(round, 10);
        let outcome = pair
            .one
            .call(pair.two.id, Lane::Control, &message, deadline)
            .await;
        let took = lab.now() - start;
        ensure!(
            matches!(outcome, CallOutcome::Unknown(_)),
            "a call that nobody answers ended as {}",
            brief(&outcome)
        );
        ensure!(
            took >= deadline.mul_f32(0.9) && took <= deadline + lab.rig.slack(),
            "a deadline of {deadline:?} took {took:?}"
        );
    }
    ensure!(held.len() == 1, "the first call arrived, and the second was held");
    Ok(())
}

async fn dropped_calls(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    for round in 0..4 * lab.effort {
        let call = |label: u64| {
            let message = labelled(label, 30);
            pair.one.call(pair.two.id, Lane::Control, &message, LONG)
        };
        let mut dropped: Vec<_> = (0..10).map(|number| call(round * 100 + number)).collect();
        for call in &mut dropped {
            let early = future::poll_once(call).await;
            ensure!(early.is_none(), "a call ended that nobody answered: {early:?}");
        }
        lab.until("the calls do not arrive", LONG, || held.len() == 10)
            .await?;
        drop(dropped);
        let mut fresh: Vec<_> = (50..60).map(|number| call(round * 100 + number)).collect();
        for call in &mut fresh {
            let early = future::poll_once(call).await;
            ensure!(early.is_none(), "a call ended that nobody answered: {early:?}");
        }
        lab.until("the calls do not arrive", LONG, || held.len() == 20)
            .await?;
        for (message, reply) in held.take() {
            reply.answer(message);
        }
        for (number, outcome) in (50..).zip(all(fresh).await) {
            let own = labelled(round * 100 + number, 30);
            ensure!(
                outcome == CallOutcome::Answered(own),
                "after ten dropped calls, call {} ended as {}",
                round * 100 + number,
                brief(&outcome)
            );
        }
        lab.marks.add("late answers", 10);
    }
    Ok(())
}

async fn dropped_reply(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let held = lab.hold(&mut pair.two);
    let before = pair.sessions();
    for round in 0..6 * lab.effort {
        let (silent, spoken) = (labelled(round * 2, 10), labelled(round * 2 + 1, 10));
        let calls = vec![
            pair.one
                .call(pair.two.id, Lane::Control, &silent, Duration::from_secs(2)),
            pair.one.call(pair.two.id, Lane::Control, &spoken, LONG),
        ];
        let answering = async {
            lab.until("the calls do not arrive", LONG, || held.len() == 2)
                .await?;
            for (message, reply) in held.take() {
                if message == silent {
                    drop(reply);
                } else {
                    reply.answer(message);
                }
            }
            Verdict::Ok(())
        };
        let (outcomes, answered) = future::zip(all(calls), answering).await;
        answered?;
        let [of_silent, of_spoken] = outcomes.as_slice() else {
            return Ok(());
        };
        ensure!(
            matches!(of_silent, CallOutcome::Unknown(_)),
            "a call whose reply was dropped ended as {}",
            brief(of_silent)
        );
        ensure!(
            *of_spoken == CallOutcome::Answered(spoken),
            "its neighbour ended as {}",
            brief(of_spoken)
        );
    }
    lab.sleep(Duration::from_millis(300)).await;
    ensure!(pair.sessions() == before, "the session did not live on");
    Ok(())
}
