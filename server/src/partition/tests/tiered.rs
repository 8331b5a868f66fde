//! Rounds of the object tier whose commands the log does not take.

use std::time::Duration;

use chronik_core::consensus::{Progress, Role};
use chronik_core::proposal::ProposeError;
use chronik_core::{EntryKind, LogError};
use chronik_storage_object::bucket::{MemoryBucket, RetryPolicy, Retrying};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::upload::UploadOptions;
use chronik_storage_object::{Bucket, ColdReader, Collector, PartitionKey, TierMetrics, Uploader};

use super::super::command::Command;
use super::engine::{Scripted, commit_next, leading_beside};
use super::*;

const BUSY: Duration = Duration::from_secs(30);

/// A node's tier in a bucket in memory.
fn tier(sim: &SimEnv) -> (TierSpec, Arc<TierMetrics>) {
    let env = sim.env();
    let metrics = Arc::new(TierMetrics::default());
    let m = || Arc::clone(&metrics);
    let memory = Arc::new(MemoryBucket::new(Arc::clone(&env.clock)));
    let bucket: Arc<dyn Bucket> = Arc::new(Retrying::new(memory, env.clone(), RetryPolicy::default(), m()));
    let b = || Arc::clone(&bucket);
    let cache = Arc::new(DiskCache::none());
    let node = NodeTier::new(NodeTierParts {
        uploader: Uploader::new(b(), env.clone(), UploadOptions::default(), m()),
        cold: ColdReader::new(b(), env.clone(), ColdOptions::default(), cache, m()),
        collector: Collector::new(b(), env.clone(), 60_000, m()),
        env,
        cluster_id: "cluster".into(),
        metrics: m(),
        scrub_interval: Duration::from_secs(24 * 3600),
        bucket,
    });
    let key = PartitionKey {
        topic_id: 7,
        partition: 0,
    };
    (TierSpec { node, key }, metrics)
}

/// A leader with several sealed segments, and the counts of its store.
fn with_segments() -> (Rig, Arc<Scripted>, Arc<TierMetrics>) {
    let sim = SimEnv::new(Seed(1));
    let (spec, metrics) = tier(&sim);
    let config = PartitionConfig {
        remote_storage: true,
        segment_bytes: 600,
        ..PartitionConfig::DEFAULTS
    };
    let (rig, group) = leading_beside(sim, config, Some(spec));
    append(&rig, &group, 0..60);
    let sealed = rig.partition.reader.segments();
    let sealed = sealed.iter().filter(|segment| segment.sealed).count();
    assert!(sealed > 3, "{sealed} segments");
    (rig, group, metrics)
}

fn append(rig: &Rig, group: &Scripted, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        group.append(EntryKind::Data, idempotent(8, 0, sequence, 1), 1);
    }
    group.commit();
    rig.sim.run_until_idle();
}

impl Rig {
    fn round(&self) -> Result<(), TierRoundError> {
        self.sim.block_on(self.partition.tier_round()).expect("ends")
    }

    fn tiered(&self) -> i64 {
        self.partition.tier_status().expect("a tier").tiered.end.0
    }
}

#[test]
fn a_segment_is_uploaded_once_however_often_its_command_is_refused() {
    let (rig, group, metrics) = with_segments();
    let refusals = [
        ProposeError::Log(LogError::Full),
        ProposeError::Overloaded,
        ProposeError::NotLeader { leader: None },
    ];
    let mut first = None;
    for refusal in refusals.iter().cycle().take(30) {
        group.script().refusal = Some(refusal.clone());
        rig.round().expect_err("refused");
        let (puts, gets) = (metrics.puts.get(), metrics.gets.get());
        let (first_puts, first_gets) = *first.get_or_insert((puts, gets));
        assert_eq!(puts, first_puts, "{refusal:?}: the segment is written again");
        // The claim may be looked at, and nothing else.
        assert!(gets <= first_gets, "{refusal:?}: {gets} reads after {first_gets}");
    }
    assert_eq!(metrics.segments_up.get(), 1);
    // In a later term it is the same object.
    lead_again(&rig, &group);
    rig.round().expect_err("refused");
    assert_eq!(metrics.segments_up.get(), 1);
    group.script().refusal = None;
    let mut sealed = rig.partition.reader.segments();
    sealed.retain(|segment| segment.sealed);
    drive(&rig, &group);
    let (tiered, uploaded) = (rig.tiered(), metrics.segments_up.get());
    assert!(tiered >= sealed.last().expect("some").offsets.end.0, "{tiered}");
    // The one that was open may have ended meanwhile.
    let most = sealed.len() as u64 + 1;
    assert!(uploaded <= most, "each is uploaded once: {uploaded} of {most}");
}

#[test]
fn an_upload_that_was_refused_is_forgotten_after_an_hour_or_when_the_work_is_another() {
    let (rig, group, metrics) = with_segments();
    group.script().refusal = Some(ProposeError::Log(LogError::Full));
    rig.round().expect_err("refused");
    rig.sim.advance(Duration::from_secs(3601));
    rig.round().expect_err("refused");
    assert_eq!(metrics.segments_up.get(), 2, "it may be gone");
    group.append(
        EntryKind::Command,
        Command::AdvanceLogStart(chronik_core::Offset(20)).encode(),
        0,
    );
    group.commit();
    rig.sim.run_until_idle();
    rig.round().expect_err("refused");
    assert_eq!(metrics.segments_up.get(), 3, "what it held is deleted");
    group.script().refusal = None;
    drive(&rig, &group);
    assert!(rig.tiered() > 20);
}

fn lead_again(rig: &Rig, group: &Scripted) {
    group.lead();
    group.commit();
    rig.sim.run_until_idle();
    let Progress { role, .. } = group.progress.get();
    assert_eq!(role, Role::Leader);
    assert!(rig.partition.view().serving);
}

/// Runs a round whose commands are committed as they come.
fn drive(rig: &Rig, group: &Arc<Scripted>) {
    let partition = Arc::clone(&rig.partition);
    let done = Arc::new(std::sync::Mutex::new(None));
    let result = Arc::clone(&done);
    let round = async move {
        let ended = partition.tier_round().await;
        *result.lock().expect("as above") = Some(ended.map_err(|error| error.to_string()));
    };
    rig.sim.env().spawn.spawn("round", Box::pin(round));
    let end = rig.sim.clock().elapsed() + BUSY;
    while done.lock().expect("as above").is_none() {
        rig.sim.run_until_idle();
        if group.waits() {
            commit_next(group);
        } else {
            rig.sim.advance(Duration::from_millis(10));
        }
        assert!(rig.sim.clock().elapsed() < end, "the round does not end");
    }
    assert_eq!(done.lock().expect("as above").take(), Some(Ok(())));
}
