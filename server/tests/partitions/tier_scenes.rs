//! What of the object tier random runs do not meet often enough, played on purpose.

use crate::plan::{BucketFaults, Disaster, Plan, REPLICAS};
use crate::producer::send_again;
use crate::reader;
use crate::run::{Cluster, Report, run, run_as};
use chronik_conformance::world::Seed;
use chronik_conformance::world::disk::KeepAll;
use chronik_conformance::world::net::End;
use chronik_server::kafka::record::{BatchBuilder, Codec};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of objects that no manifest names, so that local retention would drop most of what is in them.
const UNNAMED_BYTES: u64 = 16 << 10;
/// Records of a segment that are deleted one by one: more commands than a segment holds.
const MANY: i64 = 400;
/// A few rounds of the tier.
const ROUNDS: Duration = Duration::from_secs(1);

/// Every scene: its name, and what it showed.
pub(crate) fn scenes() -> Vec<(&'static str, Report)> {
    let tiered = |seed| Plan::tiered(Seed(seed));
    let replaced = |seed| Plan {
        length: Duration::from_secs(3),
        disaster: Some(Disaster::OldLives),
        ..tiered(seed)
    };
    let mut scenes: Vec<_> = (1..=4)
        .map(|seed| ("a cluster that was replaced", run(&replaced(seed))))
        .collect();
    let unnamed = run_as(&tiered(1), what_no_manifest_names_stays_on_the_disk);
    scenes.push(("a bucket that takes no manifests", unnamed));
    let brought_up = run_as(&tiered(1), who_is_brought_up_by_a_checkpoint_reads_the_tier);
    scenes.push(("a newcomer to a log that is in the tier alone", brought_up));
    scenes
}

/// Segments are uploaded, and no manifest comes to name them: a restore would not find them, so that the local disk keeps
/// what is in them, however little it shall hold.
fn what_no_manifest_names_stays_on_the_disk(cluster: &mut Cluster) -> Result<u64, String> {
    cluster.start_all()?;
    cluster.world.bucket.set_faults(BucketFaults {
        no_manifests: true,
        ..BucketFaults::default()
    });
    let producers = cluster.start_clients(0);
    cluster.expect("segments are uploaded", |cluster| {
        let status = cluster.leader().and_then(|(_, leader)| leader.tier_status());
        status.is_some_and(|status| status.tiered_bytes > UNNAMED_BYTES && !status.published)
    })?;
    cluster.world.oracle.marks.hit("segments that no manifest names");
    cluster.until(ROUNDS, |_| false);
    cluster.finish(producers)?;
    Ok(0)
}

/// A replica comes up when all records are in the tier alone, and nothing that is left in the log tells of them: a checkpoint
/// is all that it has.
fn who_is_brought_up_by_a_checkpoint_reads_the_tier(cluster: &mut Cluster) -> Result<u64, String> {
    cluster.start_all()?;
    cluster.expect("a leader serves", |cluster| cluster.leader().is_some())?;
    let (old, _) = cluster.leader().ok_or("nobody leads")?;
    let late = old % REPLICAS + 1;
    cluster.crash(late, End::Process, &mut KeepAll);
    fill(cluster, old)?;
    cluster.expect("all records are in the tier alone", |cluster| {
        let leader = cluster.leader().map(|(_, leader)| leader);
        leader.is_some_and(|leader| leader.log_state().offset_start == leader.view().high_watermark)
    })?;
    let told_at = cluster.leader().ok_or("nobody leads")?.1.view().applied;
    // Commands alone end a segment, and with it what told of the tier.
    for to in 1..MANY {
        let (access, oracle) = (cluster.world.access.clone(), cluster.world.oracle.clone());
        let deleted = cluster
            .world
            .sim
            .block_on(reader::delete_records(access, oracle, to));
        deleted.map_err(|stuck| stuck.to_string())?;
        let purged = cluster
            .leader()
            .map(|(_, leader)| leader.log_state().purged.index);
        if purged >= Some(told_at) {
            let marks = &cluster.world.oracle.marks;
            marks.hit("newcomers that know the tier by a checkpoint");
            break;
        }
    }
    cluster.start_all()?;
    cluster.expect("all replicas have applied the same", Cluster::is_level)?;
    cluster.judge()?;
    Ok(0)
}

/// Writes a batch of many records, which is one segment, and then more of them.
fn fill(cluster: &mut Cluster, leader: u64) -> Result<(), String> {
    let now_ms = cluster.world.oracle.now_ms();
    let mut builder = BatchBuilder::new(Codec::None);
    (0..MANY).for_each(|_| builder.push(now_ms, None, Some(b"record")));
    let many = builder.build().map_err(|error| error.to_string())?.freeze();
    let access = cluster.world.access.clone();
    let sent = send_again(&access, leader, &many);
    let sent = cluster.world.sim.block_on(sent);
    if !matches!(sent, Ok(Some(Ok(0)))) {
        return Err(format!("a leader without faults answers {sent:?}"));
    }
    let (producers, done) = cluster.start_clients(0);
    cluster.until(ROUNDS, |_| false);
    cluster.world.access.stop();
    cluster.expect("producers get rid of their batches", |_| {
        done.load(Ordering::SeqCst) == producers
    })
}
