//! The object tier, as this node sees it.

use super::node::Node;
use super::report::{TierPartition, TierReport, TierRequests};
use crate::broker::partitions::Slot;
use crate::metrics::families as f;
use crate::metrics::text::Exposition;
use chronik_storage_object::TierMetrics;

/// A family, and where its value is found.
type Count = (&'static f::Family, fn(&TierMetrics) -> u64);
/// The same of a partition.
type Column = (&'static f::Family, fn(&TierPartition) -> i64);

/// What there is to say; nothing where the node has no tier.
pub(super) fn report(node: &Node) -> Option<TierReport> {
    let tier = node.broker().partitions().tier()?;
    let metrics = tier.metrics();
    Some(TierReport {
        node: node.id().0,
        bucket: tier.bucket().describe(),
        claim: tier.known_claim().map(|claim| claim.generation),
        requests: TierRequests {
            puts: metrics.puts.get(),
            gets: metrics.gets.get(),
            lists: metrics.lists.get(),
            deletes: metrics.deletes.get(),
            retries: metrics.retries.get(),
            failures: metrics.failures.get(),
            bytes_up: metrics.bytes_up.get(),
            bytes_down: metrics.bytes_down.get(),
        },
        failed_rounds: tier.failures(),
        failures: tier.troubles(),
        partitions: partitions(node),
    })
}

/// The open partitions that use the tier, or did.
fn partitions(node: &Node) -> Vec<TierPartition> {
    let (image, slots) = (node.image(), node.broker().partitions().slots());
    let mut found = Vec::new();
    for topic in image.state.topics().values() {
        for (index, placed) in (0..).zip(&topic.partitions) {
            let Some(Slot::Open(partition)) = slots.get(&placed.group()) else {
                continue;
            };
            let Some(status) = partition.tier_status().filter(|status| status.used) else {
                continue;
            };
            let view = partition.view();
            found.push(TierPartition {
                topic: topic.name.to_string(),
                partition: index,
                leading: view.serving,
                log_start_offset: view.log_start.0,
                tiered_start_offset: status.tiered.start.0,
                tiered_end_offset: status.tiered.end.0,
                local_start_offset: status.local_start.0,
                high_watermark: view.high_watermark.0,
                tiered_bytes: status.tiered_bytes,
                local_bytes: partition.log_state().size_bytes,
                lag_bytes: status.lag_bytes,
                published: status.published,
                garbage_objects: status.garbage,
                failure: status.failure.map(|why| why.to_string()),
            });
        }
    }
    found
}

/// The metrics of the tier, at most `max` partitions one by one. A node without a tier has no samples.
pub(super) fn metrics(out: &mut Exposition, node: Option<&Node>, max: usize) {
    let tier = node.and_then(|node| node.broker().partitions().tier());
    let counts = tier.map(|tier| tier.metrics());
    let mut requests = out.family(&f::TIER_REQUESTS);
    if let Some(counts) = counts {
        for (kind, count) in [
            ("put", &counts.puts),
            ("get", &counts.gets),
            ("list", &counts.lists),
            ("delete", &counts.deletes),
        ] {
            requests.labelled(&[kind], count.get());
        }
    }
    let columns: [Count; 9] = [
        (&f::TIER_RETRIES, |counts| counts.retries.get()),
        (&f::TIER_FAILURES, |counts| counts.failures.get()),
        (&f::TIER_UP, |counts| counts.bytes_up.get()),
        (&f::TIER_DOWN, |counts| counts.bytes_down.get()),
        (&f::TIER_SEGMENTS_UP, |counts| counts.segments_up.get()),
        (&f::TIER_DELETED, |counts| counts.segments_deleted.get()),
        (&f::TIER_HITS, |counts| counts.cache_hits.get()),
        (&f::TIER_MISSES, |counts| counts.cache_misses.get()),
        (&f::TIER_DAMAGED, |counts| counts.damaged_blocks.get()),
    ];
    for (family, value) in columns {
        out.family(family).known(counts.map(|counts| value(counts)));
    }
    out.family(&f::TIER_CACHE_FAILURES)
        .known(tier.map(|tier| tier.cold().cache_failures()));
    out.family(&f::TIER_ROUNDS_FAILED)
        .known(tier.map(|tier| tier.failures()));
    let all = tier.and(node).map(partitions).unwrap_or_default();
    let led: Vec<_> = all.iter().filter(|partition| partition.leading).collect();
    let lag: u64 = led.iter().map(|partition| partition.lag_bytes).sum();
    out.family(&f::TIER_LAG).known(tier.map(|_| lag));
    let shown = if led.len() > max { &[][..] } else { &led };
    let columns: [Column; 3] = [
        (&f::PARTITION_TIER_END, |partition| partition.tiered_end_offset),
        (&f::PARTITION_LOCAL_START, |partition| {
            partition.local_start_offset
        }),
        (&f::PARTITION_TIER_LAG, |partition| {
            i64::try_from(partition.lag_bytes).unwrap_or(i64::MAX)
        }),
    ];
    for (family, value) in columns {
        let mut samples = out.family(family);
        for partition in shown {
            samples.labelled(
                &[&partition.topic, &partition.partition.to_string()],
                value(partition),
            );
        }
    }
}
