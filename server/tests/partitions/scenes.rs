//! What random runs do not meet often enough, played on purpose.

use crate::oracle::Acked;
use crate::plan::{Fault, Plan, REPLICAS};
use crate::producer::{WINDOW, batch_of, send_again, send_together, send_within};
use crate::run::{Cluster, Report, run, run_as};
use crate::tier_scenes;
use bytes::Bytes;
use chronik_conformance::world::{Prng, Seed};
use chronik_core::NodeId;
use chronik_server::partition::PartitionError;
use std::sync::Arc;
use std::time::Duration;

/// Without these the scenes say nothing.
pub(crate) const MUST_HAPPEN: [&str; 6] = [
    "deposed leaders asked",
    "newcomers that know the tier by a checkpoint",
    "publications by a cluster that was replaced",
    "segments that no manifest names",
    "repeats of what others had",
    "repeats of what was lost",
];
/// How many leaders are stopped in one scene, and how many producers write meanwhile.
const STOPPED: u64 = 4;
const PRODUCERS: usize = 3;
/// How long a client waits that gives a leader the time to find out that it was deposed.
const PATIENT: Duration = Duration::from_secs(10);

/// Every scene: its name, and what it showed.
pub(crate) fn scenes() -> Vec<(&'static str, Report)> {
    let deposed = |seed| {
        let plan = Plan::quiet(Seed(seed));
        let report = run_as(&plan, a_deposed_leader_refuses_nothing_for_good);
        ("a leader that was deposed, and does not know it", report)
    };
    let mut scenes = vec![("a bucket that is too slow", run(&Plan::slow_bucket(Seed(1))))];
    scenes.extend((1..=8).map(deposed));
    let left_behind = |seed| {
        let plan = Plan::quiet(Seed(seed));
        let report = run_as(&plan, what_a_stopped_leader_left_is_stored_once);
        ("batches that a stopped leader left behind", report)
    };
    scenes.extend((1..=12).map(left_behind));
    scenes.extend(tier_scenes::scenes());
    scenes
}

/// A batch whose predecessors a later leader acknowledged is not out of order, whatever the old leader knows of them: a client
/// that is told so gives the batch up.
fn a_deposed_leader_refuses_nothing_for_good(cluster: &mut Cluster) -> Result<u64, String> {
    cluster.start_all()?;
    cluster.expect("a leader serves", |cluster| cluster.leader().is_some())?;
    let (old, _) = cluster.leader().ok_or("nobody leads")?;
    let now_ms = cluster.world.oracle.now_ms();
    let batch = |sequence| batch_of(1, sequence, now_ms);
    let send = |cluster: &mut Cluster, node, sequence| {
        let access = cluster.world.access.clone();
        let sent = cluster
            .world
            .sim
            .block_on(async { send_within(&access, node, &batch(sequence), PATIENT).await });
        sent.map_err(|stuck| stuck.to_string())
    };
    let first = send(cluster, old, 0)?;
    cluster.world.net.isolate(&[NodeId(old)], &cluster.all());
    cluster.disturb(Fault::Pause(old));
    let is_other = |cluster: &Cluster| cluster.leader().is_some_and(|(node, _)| node != old);
    cluster.expect("another leader serves", is_other)?;
    let (new, _) = cluster.leader().ok_or("nobody leads")?;
    let second = send(cluster, new, 1)?;
    if !matches!((&first, &second), (Some(Ok(0)), Some(Ok(1)))) {
        return Err(format!("leaders without faults answer {first:?} and {second:?}"));
    }
    cluster.disturb(Fault::Resume(old));
    let partition = cluster.world.access.partitions().remove(&old);
    let serves = partition.is_some_and(|partition| partition.view().serving);
    if serves {
        cluster.world.oracle.marks.hit("deposed leaders asked");
    }
    let third = send(cluster, old, 2)?;
    if matches!(third, Some(Err(PartitionError::OutOfOrderSequence))) {
        let what = format!("node {old} refuses the batch after one that node {new} acknowledged");
        cluster.world.oracle.violate("retries-are-not-refused", what);
    }
    cluster.world.net.heal_all();
    let level =
        |cluster: &Cluster| cluster.world.access.partitions().len() as u64 == REPLICAS && cluster.is_level();
    cluster.expect("all replicas have applied the same", level)?;
    let (leader, _) = cluster.leader().ok_or("nobody leads")?;
    cluster.until(Duration::from_millis(10), |_| false);
    match send(cluster, leader, 2)? {
        Some(Ok(2)) => Ok(0),
        other => Err(format!(
            "the batch is sent to the leader, which answers {other:?}"
        )),
    }
}

/// A leader is stopped with batches of several producers under way: the others have some of them, and it alone has some. Sent
/// again to the next leader, each is in the log once, whatever the old one does when it goes on.
fn what_a_stopped_leader_left_is_stored_once(cluster: &mut Cluster) -> Result<u64, String> {
    let mut prng = cluster.world.plan.seed.child("left behind").prng();
    let mut next = [0; PRODUCERS];
    cluster.start_all()?;
    for _ in 0..STOPPED {
        cluster.expect("a leader serves", |cluster| cluster.leader().is_some())?;
        let (old, _) = cluster.leader().ok_or("nobody leads")?;
        let left = leave(cluster, old, &mut next, &mut prng);
        cluster.disturb(Fault::Pause(old));
        let is_other = |cluster: &Cluster| cluster.leader().is_some_and(|(node, _)| node != old);
        cluster.expect("another leader serves", is_other)?;
        for batches in &left {
            repeat(cluster, batches)?;
        }
        cluster.disturb(Fault::Resume(old));
        cluster.world.net.heal_all();
        cluster.expect("all replicas have applied the same", Cluster::is_level)?;
    }
    cluster.judge()?;
    Ok(0)
}

/// Sends up to a window of batches of each producer to a leader, one after the other, and waits for no answer. From some moment
/// on the others may not hear of them.
fn leave(cluster: &mut Cluster, leader: u64, next: &mut [i32], prng: &mut Prng) -> Vec<Vec<Bytes>> {
    let now_ms = cluster.world.oracle.now_ms();
    let mut left: Vec<Vec<Bytes>> = vec![Vec::new(); next.len()];
    let unheard = prng.below(2 * WINDOW);
    for number in 0..WINDOW {
        if number == unheard {
            let all = cluster.all();
            cluster.world.net.isolate(&[NodeId(leader)], &all);
        }
        for (id, (next, batches)) in next.iter_mut().zip(&mut left).enumerate() {
            if prng.chance(70) {
                let batch = batch_of(id as i64, *next, now_ms);
                *next += 1;
                batches.push(batch.clone());
                let access = cluster.world.access.clone();
                let spawn = Arc::clone(&access.env.spawn);
                let send = async move { drop(send_again(&access, leader, &batch).await) };
                spawn.spawn("left", Box::pin(send));
            }
            let pause = Duration::from_micros(prng.below(900));
            cluster.until(pause, |_| false);
        }
    }
    left
}

/// Sends the batches of one producer until all are acknowledged, and notes where they are.
fn repeat(cluster: &mut Cluster, batches: &[Bytes]) -> Result<(), String> {
    let (access, oracle) = (cluster.world.access.clone(), cluster.world.oracle.clone());
    for _ in 0..50 {
        let Some((node, leader)) = cluster.leader() else {
            cluster.until(Duration::from_millis(100), |_| false);
            continue;
        };
        let (log_end, epoch) = (leader.log_end(), leader.view().leader_epoch);
        let sent = cluster
            .world
            .sim
            .block_on(async { send_together(&access, node, batches).await });
        let answers = sent.map_err(|stuck| stuck.to_string())?.unwrap_or_default();
        if let Some(Err(PartitionError::OutOfOrderSequence)) = answers.iter().find(|answer| answer.is_err()) {
            let what = format!("node {node} answers {answers:?} to batches that were sent again");
            oracle.violate("retries-are-not-refused", what);
            return Ok(());
        }
        let offsets: Vec<i64> = answers.into_iter().flatten().collect();
        if offsets.len() < batches.len() {
            cluster.until(Duration::from_millis(100), |_| false);
            continue;
        }
        if offsets.windows(2).any(|pair| pair.first() >= pair.last()) {
            let what = format!("batches that were sent again are acknowledged at {offsets:?}");
            oracle.violate("no-batch-twice", what);
        }
        for (base_offset, batch) in offsets.into_iter().zip(batches) {
            let is_duplicate = base_offset < log_end;
            oracle.marks.hit(match is_duplicate {
                true => "repeats of what others had",
                false => "repeats of what was lost",
            });
            oracle.on_acked(Acked {
                base_offset,
                batch: batch.clone(),
                epoch,
                is_duplicate,
            });
        }
        return Ok(());
    }
    Err("batches that were sent again are not acknowledged".to_owned())
}
