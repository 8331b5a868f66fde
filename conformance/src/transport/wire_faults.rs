//! What networks do to bytes.

use super::lab::{LANES, LONG, Lab, Pair, Seen, brief, label_of, labelled};
use super::rig::Harm;
use super::{Check, must};
use crate::check::{Verdict, ensure};
use bytes::Bytes;
use chronik_core::transport::{CallOutcome, Lane};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-FLT-01",
        "frames_may_be_split_and_joined_at_every_byte",
        |lab| Box::pin(split(lab)),
    ),
    must(
        "TR-FLT-02",
        "damaged_or_cut_bytes_never_become_a_message",
        |lab| Box::pin(damaged(lab)),
    ),
    must("TR-FLT-03", "whatever_breaks_outcomes_tell_the_truth", |lab| {
        Box::pin(truthful(lab))
    }),
];

async fn split(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    for dribble in [true, false] {
        pair.link.there.dribble(dribble);
        pair.link.back.dribble(dribble);
        let first = seen.len();
        for label in 0..30 {
            let message = labelled(label, [8, 9, 100, 700][label as usize % 4]);
            lab.send(&pair.one, pair.two.id, Lane::Replication, &message)
                .await?;
        }
        pair.check_echo(30).await?;
        lab.until("messages do not arrive", LONG, || seen.len() >= first + 31)
            .await?;
        let all = seen.all().split_off(first);
        ensure!(
            all.iter().all(|(_, message)| is_whole(message)) && all.len() == 31,
            "{} messages arrived where 31 were sent, not all whole",
            all.len()
        );
    }
    Ok(())
}

/// Whether a message is one that [`labelled`] made.
fn is_whole(message: &Bytes) -> bool {
    label_of(message).is_some_and(|label| *message == labelled(label, message.len()))
}

async fn damaged(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    for round in 0..12 * lab.effort {
        let harm = if round % 3 == 0 { Harm::Cut } else { Harm::Flip };
        pair.link.harm(Some(harm));
        let message = labelled(round, 2000);
        let outcome = pair
            .one
            .call(
                pair.two.id,
                LANES[(round % 3) as usize],
                &message,
                Duration::from_secs(2),
            )
            .await;
        if let CallOutcome::Answered(answer) = &outcome {
            ensure!(
                *answer == message,
                "{harm:?}: a call ended as {}",
                brief(&outcome)
            );
        }
        lab.marks.hit("harmed messages");
        // The damage may lie in a part that nobody waited for; a fresh session has none of it.
        pair.link.harm(None);
        let before = pair.sessions();
        pair.link.reset();
        lab.next_session(&pair, before).await?;
        pair.check_echo(1000 + round).await?;
        no_wrong_message(&seen)?;
    }
    Ok(())
}

fn no_wrong_message(seen: &Seen) -> Verdict {
    let all = seen.all();
    let wrong = all.iter().find(|(_, message)| !is_whole(message));
    ensure!(
        wrong.is_none(),
        "a message arrived that nobody sent: {} bytes, label {:?}",
        wrong.map_or(0, |(_, message)| message.len()),
        wrong.and_then(|(_, message)| label_of(message))
    );
    Ok(())
}

async fn truthful(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    let seen = lab.echo(&mut pair.two);
    for label in 0..60 * lab.effort {
        let message = labelled(label, 500);
        let call = pair
            .one
            .call(pair.two.id, Lane::Replication, &message, Duration::from_secs(1));
        let (outcome, ()) = future::zip(call, disturb(lab, &pair, label)).await;
        let count = seen.count(&message);
        match &outcome {
            CallOutcome::Answered(answer) => ensure!(
                *answer == message && count == 1,
                "call {label}, which arrived {count} times, ended as {}",
                brief(&outcome)
            ),
            CallOutcome::NotDelivered(_) => lab.marks.hit("not delivered"),
            CallOutcome::Unknown(_) => lab.marks.hit("unknown"),
        }
        if matches!(outcome, CallOutcome::NotDelivered(_)) {
            lab.sleep(Duration::from_millis(20)).await;
            ensure!(
                seen.count(&message) == 0,
                "call {label} arrived, and was reported as {}",
                brief(&outcome)
            );
            lab.both_connected(&pair, true).await?;
        }
    }
    no_wrong_message(&seen)?;
    lab.marks.require(&["unknown"])
}

/// One of the things that networks do, a moment after a call began.
async fn disturb(lab: &Lab<'_>, pair: &Pair, number: u64) {
    let mut prng = crate::world::Seed(number).prng();
    lab.sleep(Duration::from_micros(prng.below(3000))).await;
    match number % 6 {
        0 | 1 => pair.link.reset(),
        2 => pair.link.there.harm(Some(Harm::Cut)),
        3 => {
            pair.link.hold_second(true);
            lab.sleep(Duration::from_millis(1500)).await;
            pair.link.hold_second(false);
        }
        4 => {
            pair.link.hold_first(true);
            lab.sleep(Duration::from_millis(30)).await;
            pair.link.hold_first(false);
        }
        _ => {}
    }
}
