//! Deletes what deleted topics leave in the bucket.
//!
//! The leader of the metadata group looks through the bucket when it begins to lead, and again whenever a topic was
//! deleted. A partition goes that the metadata does not know, once that has been so for the grace period: topic ids are
//! never issued twice. A bucket that is not of this cluster's own past is not touched. What may be another cluster's is
//! left alone and named in the log.

use super::lineage::Lineage;
use super::{CLAIM_AGE_MAX, Parts, lineage};
use crate::cluster::TopicId;
use crate::group::backup::METADATA_BACKUP;
use chronik_core::Term;
use chronik_storage_object::offline::partitions;
use chronik_storage_object::removal::{Removed, remove_partition};
use chronik_storage_object::{PartitionKey, TierError, is_backup_set_aside};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a partition that was deleted may still have a request under way to the bucket.
const SETTLE: Duration = Duration::from_secs(5);

/// Looks for what deleted topics leave.
#[derive(Debug)]
pub(super) struct Sweep {
    parts: Parts,
    interval: Duration,
    grace: Duration,
    led: Option<Term>,
    topics: BTreeSet<u128>,
    /// All topics that there were since this node leads.
    seen: BTreeSet<u128>,
    /// The bucket has to be looked through.
    look: bool,
    /// Partitions that nobody knows, and since when.
    unknown: BTreeMap<PartitionKey, Duration>,
}

fn wire(id: TopicId) -> u128 {
    u128::from_be_bytes(id.to_wire().0)
}

impl Sweep {
    pub(super) fn new(parts: Parts, interval: Duration, grace: Duration) -> Self {
        Self {
            parts,
            interval,
            grace: grace.max(SETTLE),
            led: None,
            topics: BTreeSet::new(),
            seen: BTreeSet::new(),
            look: false,
            unknown: BTreeMap::new(),
        }
    }

    /// Runs until the process ends.
    pub(super) async fn run(mut self) {
        loop {
            self.parts.env.clock.sleep(self.interval).await;
            let failure = match self.round().await {
                Ok(()) => None,
                Err(error) => {
                    log::warn!("event=tier_sweep_failed error=\"{error}\"");
                    self.parts.tier.note_failure(&error);
                    Some(error.to_string())
                }
            };
            self.parts
                .tier
                .note_task("deleting what deleted topics left", failure);
        }
    }

    async fn round(&mut self) -> Result<(), TierError> {
        let leads = self.parts.leads_metadata();
        if leads.is_none() || leads != self.led {
            (self.led, self.look) = (leads, leads.is_some());
            self.unknown.clear();
            self.topics.clear();
            self.seen.clear();
        }
        if leads.is_none() {
            return Ok(());
        }
        let topics = self.known_topics();
        self.look |= self.topics.iter().any(|id| !topics.contains(id));
        self.seen.extend(&topics);
        self.topics = topics;
        if self.look {
            self.look = !self.look_through().await?;
        }
        let now = self.parts.env.clock.now();
        let since_max = now.saturating_sub(self.grace);
        let due: Vec<_> = self
            .unknown
            .iter()
            .filter(|(_, since)| **since <= since_max)
            .collect();
        let due: Vec<PartitionKey> = due.into_iter().map(|(partition, _)| *partition).collect();
        let mut failed = Ok(());
        for partition in due {
            match self.remove(partition).await {
                Ok(()) => drop(self.unknown.remove(&partition)),
                // What cannot be removed now keeps nothing else from it.
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    fn known_topics(&self) -> BTreeSet<u128> {
        let image = self.parts.controller.image();
        image
            .state
            .topics()
            .values()
            .map(|topic| wire(topic.id))
            .collect()
    }

    /// What is in the bucket is listed first, and the metadata looked at afterwards: what it does not know then, it has
    /// forgotten, for a partition has objects only after its topic was created. Nothing that the metadata copy in the
    /// bucket lists is garbage, whoever wrote it. Where a copy that could not be read was put aside, nobody knows what it
    /// listed, and only what was deleted since this node leads is garbage. False where that copy must become newer first.
    async fn look_through(&mut self) -> Result<bool, TierError> {
        let claim = self.parts.tier.claim(CLAIM_AGE_MAX).await?;
        let Lineage::Own(copied) = lineage::look(&self.parts, &claim).await? else {
            return Ok(false);
        };
        let copied: BTreeSet<u128> = copied.topics().values().map(|topic| wire(topic.id)).collect();
        let bucket = &**self.parts.tier.bucket();
        let found = partitions(bucket).await?;
        let unsure = is_backup_set_aside(bucket, METADATA_BACKUP).await?;
        let controller = &self.parts.controller;
        let Ok(barrier) = controller.group().read_barrier().await else {
            // Another node leads now, and will look.
            self.led = None;
            return Ok(true);
        };
        controller
            .watch()
            .wait_for(|image| image.applied >= barrier)
            .await;
        let topics = self.known_topics();
        let now = self.parts.env.clock.now();
        let mut all = true;
        for partition in found {
            if topics.contains(&partition.topic_id) {
                continue;
            }
            if copied.contains(&partition.topic_id) {
                all = false;
            } else if !unsure || self.seen.contains(&partition.topic_id) {
                self.unknown.entry(partition).or_insert(now);
            }
        }
        Ok(all)
    }

    async fn remove(&self, partition: PartitionKey) -> Result<(), TierError> {
        let tier = &self.parts.tier;
        let claim = tier.claim(CLAIM_AGE_MAX).await?;
        match remove_partition(tier.bucket(), &self.parts.env, &claim, partition).await? {
            Removed::Done(objects) => {
                log::info!("event=tier_partition_removed partition={partition} objects={objects}");
                tier.metrics().segments_deleted.add(objects as u64);
            }
            Removed::NotOurs => log::warn!(
                "event=tier_partition_unknown partition={partition} action=none reason=\"no topic has this id, and \
                 it may be another cluster's\""
            ),
        }
        Ok(())
    }
}
