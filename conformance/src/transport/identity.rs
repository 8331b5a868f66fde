//! Who may join, and how a transport ends.

use super::lab::{KEEPALIVE, LANES, LONG, Lab, brief, labelled, peer};
use super::rig::Certificate;
use super::{Check, must};
use crate::check::{Failure, Marks, Verdict, ensure};
use chronik_core::NodeId;
use chronik_core::transport::{BindOptions, CallOutcome, Lane, SendError};
use futures_lite::future;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    must(
        "TR-ID-01",
        "strangers_are_refused_before_any_message_passes",
        |lab| Box::pin(strangers(lab)),
    ),
    must(
        "TR-TLS-01",
        "a_peer_without_a_certificate_of_the_clusters_authority_is_refused",
        |lab| Box::pin(without_certificate(lab)),
    ),
    must(
        "TR-LIFE-01",
        "closing_sends_what_is_queued_says_goodbye_and_leaves_nothing",
        |lab| Box::pin(closing(lab)),
    ),
    must(
        "TR-LIFE-02",
        "the_same_address_can_be_bound_again_at_once",
        |lab| Box::pin(bound_again(lab)),
    ),
];

async fn strangers(lab: &Lab<'_>) -> Verdict {
    let of_another = |change: fn(&mut BindOptions)| {
        let mut options = Lab::options(2);
        change(&mut options);
        options
    };
    let strangers = [
        (
            "of another cluster",
            of_another(|options| options.hello.cluster_id = "other".into()),
        ),
        (
            "of another version",
            of_another(|options| options.hello.version = 2),
        ),
        (
            "with another id",
            of_another(|options| options.hello.node = NodeId(7)),
        ),
    ];
    for (what, options) in strangers {
        let (mut one, mut two) = (lab.node(1).await?, lab.node_with(options).await?);
        let (seen, seen_back) = (lab.echo(&mut two), lab.echo(&mut one));
        let there = lab.rig.wire(two.local);
        one.transport.set_peers(vec![peer(NodeId(2), there.address())]);
        // The stranger looks for node 1, which it finds.
        if two.id == NodeId(2) {
            let back = lab.rig.wire(one.local);
            two.transport.set_peers(vec![peer(NodeId(1), back.address())]);
        }
        let end = lab.now() + lab.rig.patience().min(Duration::from_secs(5));
        while lab.now() < end {
            for (from, to) in [(&one, NodeId(2)), (&two, NodeId(1))] {
                let connected = from.state(to).connected;
                ensure!(!connected, "node {} has a session with a node {what}", from.id);
                let sent = from.transport.send(to, Lane::Control, labelled(1, 8));
                ensure!(sent.is_err(), "a message for a node {what} was accepted");
            }
            lab.sleep(Duration::from_millis(20)).await;
        }
        ensure!(there.attempts() > 0, "a node {what} was never dialled");
        ensure!(
            seen.len() + seen_back.len() == 0,
            "messages passed to or from a node {what}"
        );
    }
    let mut pair = lab.pair().await?;
    lab.echo(&mut pair.two);
    pair.check_echo(1).await
}

/// How often each side tries before it counts as refused.
const TRIES: u64 = 4;

async fn without_certificate(lab: &Lab<'_>) -> Verdict {
    let strangers = [
        ("with a certificate of another authority", Certificate::OfAnother),
        (
            "that trusts the cluster and has a certificate of another authority",
            Certificate::OfAnotherTrustingTheCluster,
        ),
        ("without a certificate", Certificate::Missing),
    ];
    for (what, certificate) in strangers {
        let (Some(mut one), Some(mut two)) = (
            lab.secured(1, Certificate::OfTheCluster).await?,
            lab.secured(2, certificate).await?,
        ) else {
            lab.marks.hit(Marks::NOT_DECLARED);
            return Ok(());
        };
        let (seen, seen_back) = (lab.echo(&mut two), lab.echo(&mut one));
        let (there, back) = (lab.rig.wire(two.local), lab.rig.wire(one.local));
        one.transport.set_peers(vec![peer(two.id, there.address())]);
        two.transport.set_peers(vec![peer(one.id, back.address())]);
        let end = lab.now() + LONG;
        while there.attempts().min(back.attempts()) < TRIES {
            ensure!(lab.now() < end, "a node {what} is not dialled again");
            for (from, to) in [(&one, two.id), (&two, one.id)] {
                let connected = from.state(to).connected;
                ensure!(!connected, "node {} has a session with a node {what}", from.id);
                let sent = from.transport.send(to, Lane::Control, labelled(1, 8));
                ensure!(sent.is_err(), "a message for a node {what} was accepted");
            }
            lab.sleep(Duration::from_millis(20)).await;
        }
        ensure!(
            seen.len() + seen_back.len() == 0,
            "messages passed to or from a node {what}"
        );
        lab.marks.hit("peers refused");
        one.transport.close().await;
        two.transport.close().await;
    }
    members_with_certificates(lab).await?;
    lab.marks.require(&["peers refused", "members connected"])
}

async fn members_with_certificates(lab: &Lab<'_>) -> Verdict {
    let member = |id| lab.secured(id, Certificate::OfTheCluster);
    let (Some(one), Some(mut two)) = (member(1).await?, member(2).await?) else {
        return Ok(());
    };
    lab.echo(&mut two);
    let wire = lab.rig.wire(two.local);
    one.transport.set_peers(vec![peer(two.id, wire.address())]);
    lab.connected(&one, two.id, true).await?;
    let message = labelled(7, 5000);
    let outcome = one.call(two.id, Lane::Bulk, &message, LONG).await;
    ensure!(
        outcome == CallOutcome::Answered(message),
        "a call between members ended as {}",
        brief(&outcome)
    );
    lab.marks.hit("members connected");
    Ok(())
}

async fn closing(lab: &Lab<'_>) -> Verdict {
    // Goodbye arrives long before silence would be noticed.
    let keepalive = KEEPALIVE * 60;
    let patient = |id| {
        let options = Lab::options(id);
        BindOptions { keepalive, ..options }
    };
    let (mut one, mut two) = (lab.node_with(patient(1)).await?, lab.node_with(patient(2)).await?);
    let wire = lab.rig.wire(two.local);
    one.transport.set_peers(vec![peer(two.id, wire.address())]);
    let back = lab.rig.wire(one.local);
    two.transport.set_peers(vec![peer(one.id, back.address())]);
    lab.connected(&one, two.id, true).await?;
    lab.connected(&two, one.id, true).await?;
    let seen = lab.echo(&mut two);
    for label in 0..40 {
        lab.send(&one, two.id, LANES[label as usize % 3], &labelled(label, 500))
            .await?;
    }
    let closing = one.transport.close();
    let late = async {
        lab.sleep(LONG).await;
        lab.marks.hit("late");
    };
    future::or(closing, late).await;
    ensure!(lab.marks.count("late") == 0, "close does not end");
    lab.until("what was queued does not arrive", LONG, || seen.len() >= 40)
        .await?;
    ensure!(
        seen.len() == 40,
        "{} messages arrived where 40 were sent",
        seen.len()
    );
    lab.until("the peer does not learn of the end", KEEPALIVE * 10, || {
        !two.state(NodeId(1)).connected
    })
    .await?;
    let mut inbound = one
        .inbound
        .take()
        .ok_or_else(|| Failure::new("a node has an inbound stream"))?;
    let after = inbound.next().await;
    ensure!(after.is_none(), "a message arrived after the end");
    let outcome = one.call(two.id, Lane::Control, &labelled(1, 8), LONG).await;
    ensure!(
        outcome == CallOutcome::NotDelivered(SendError::Closed),
        "a call after the end: {}",
        brief(&outcome)
    );
    lab.sleep(Duration::from_millis(50)).await;
    let left = one.process.tasks().unwrap_or_default();
    ensure!(left.is_empty(), "tasks outlive the transport: {left:?}");
    Ok(())
}

async fn bound_again(lab: &Lab<'_>) -> Verdict {
    let mut pair = lab.pair().await?;
    lab.echo(&mut pair.two);
    for round in 0..5 {
        let mut options = Lab::options(1);
        options.listen = pair.one.local;
        pair.one.transport.close().await;
        pair.one.inbound = None;
        let again = lab.node_with(options).await;
        pair.one = again.map_err(|failure| failure.at(format_args!("after {round} restarts")))?;
        pair.one
            .transport
            .set_peers(vec![peer(pair.two.id, pair.link.there.address())]);
        lab.connected(&pair.one, pair.two.id, true).await?;
        pair.check_echo(round).await?;
    }
    Ok(())
}
