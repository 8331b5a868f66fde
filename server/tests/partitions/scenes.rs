//! What random runs do not meet often enough, played on purpose.

use crate::plan::{Fault, NODES, Plan};
use crate::producer::{batch_of, send_again};
use crate::run::{Cluster, Report, run, run_as};
use chronik_conformance::world::Seed;
use chronik_core::NodeId;
use chronik_server::partition::PartitionError;
use std::time::Duration;

/// Every scene: its name, and what it showed.
pub(crate) fn scenes() -> Vec<(&'static str, Report)> {
    let deposed = |seed| {
        let plan = Plan::quiet(Seed(seed));
        let report = run_as(&plan, a_deposed_leader_refuses_nothing_for_good);
        ("a leader that was deposed, and does not know it", report)
    };
    let mut scenes = vec![("a bucket that is too slow", run(&Plan::slow_bucket(Seed(1))))];
    scenes.extend((1..=8).map(deposed));
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
            .block_on(async { send_again(&access, node, &batch(sequence)).await });
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
        |cluster: &Cluster| cluster.world.access.partitions().len() as u64 == NODES && cluster.is_level();
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
