//! What went wrong in tiers of others, each as a test that this one must pass.

use crate::cluster::{Cluster, GRACE_MS, Inbox, PARTITION};
use crate::faulty::Faults;
use bytes::Bytes;
use chronik_conformance::reference::{MemOptions, MemStore};
use chronik_conformance::world::{Seed, SimDisk};
use chronik_core::fs::FileSystem;
use chronik_core::log_store::{SegmentPolicy, TimeQuery};
use chronik_core::{Entry, EntryKind, GroupId, LogId, LogReader, LogStore, Offset};
use chronik_storage_object::bucket::{Bucket, Condition, Want};
use chronik_storage_object::cold::{ColdOptions, DiskCache};
use chronik_storage_object::manifest::pages_folder;
use chronik_storage_object::offline::{Finding, list_all, partitions, scrub};
use chronik_storage_object::orphans::delete_orphans;
use chronik_storage_object::{ColdReader, SegmentKey, TierCommand, TieredReader};
use futures_lite::future::{block_on, poll_once};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A cluster with a few sealed segments.
fn filled(seed: u64, batches: usize) -> Cluster {
    let mut cluster = Cluster::new(Seed(seed));
    for n in 0..batches {
        cluster.produce(3, n as i64, Bytes::from(vec![n as u8; 300]));
    }
    cluster.roll();
    cluster.produce(1, 9000, Bytes::from_static(b"hot"));
    cluster
}

fn objects(cluster: &Cluster) -> Vec<String> {
    let folder = PARTITION.segments();
    let all = list_all(&cluster.bucket.inner, &folder);
    let all = cluster.sim.block_on(all).unwrap().unwrap();
    all.iter().map(|object| object.key.to_string()).collect()
}

fn commands(inbox: &Inbox) -> Vec<TierCommand> {
    std::mem::take(&mut *inbox.lock().unwrap())
}

#[test]
fn a_segment_that_is_uploaded_again_replaces_itself_and_is_never_deleted_as_a_leftover() {
    let cluster = filled(1, 12);
    let inbox = Inbox::default();
    // The first leader uploads, and dies before it can propose.
    cluster.start_upload(&inbox);
    cluster.settle();
    commands(&inbox);
    let first = objects(&cluster);
    let mut cluster = cluster.crash(&mut Seed(1).prng());
    cluster.upload_all();
    assert!(
        objects(&cluster).contains(&first[0]),
        "the name is the same again"
    );
    cluster.propose(&TierCommand::DropLocal { below: cluster.end() });
    cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 * 2));
    cluster.upkeep();
    cluster.upkeep();
    cluster.check_references();
    cluster.check_all(1000);
}

#[test]
fn two_leaders_that_upload_at_once_leave_one_reference_and_lose_nothing() {
    let mut cluster = filled(2, 12);
    let (old, new) = (Inbox::default(), Inbox::default());
    cluster.start_upload(&old);
    cluster.sim.step();
    cluster.lead(cluster.term + 1);
    cluster.start_upload(&new);
    cluster.settle();
    let both: Vec<_> = commands(&new).into_iter().chain(commands(&old)).collect();
    assert_eq!(both.len(), 2);
    both.iter().for_each(|command| cluster.propose(command));
    assert_eq!(cluster.state.segments().len(), 1);
    cluster.check_references();
    cluster.check_all(1000);
}

#[test]
fn local_data_that_goes_during_an_upload_costs_the_upload_and_nothing_else() {
    let mut cluster = filled(3, 30);
    let inbox = Inbox::default();
    cluster.start_upload(&inbox);
    cluster.sim.step();
    // Retention is faster.
    let past = Offset(cluster.end().0 - 1);
    cluster.advance_log_start(past);
    cluster.settle();
    commands(&inbox)
        .iter()
        .for_each(|command| cluster.propose(command));
    cluster.check_references();
    cluster.check_all(1000);
    cluster.produce(2, 1, Bytes::from(vec![7; 1000]));
    cluster.roll();
    cluster.upload_all();
    assert_eq!(cluster.state.end().offset, cluster.end(), "uploads go on");
}

#[test]
fn a_look_up_by_time_misses_nothing_of_what_leaves_the_local_log_meanwhile() {
    let mut cluster = Cluster::new(Seed(5));
    for n in 0..30 {
        cluster.produce(3, n, Bytes::from(vec![n as u8; 300]));
    }
    cluster.roll();
    cluster.produce(1, 0, Bytes::from_static(b"hot"));
    cluster.upload_all();
    let segments = cluster.state.segments().to_vec();
    let middle = segments[segments.len() / 2].offsets.end;
    cluster.propose(&TierCommand::DropLocal { below: middle });
    assert_eq!(cluster.hot_start(), middle, "the first half is in the tier alone");
    let latest = cluster.reader.find_time(TimeQuery::Maximum, cluster.end());
    let mut latest = Box::pin(latest.unwrap().get());
    let early = cluster.sim.block_on(poll_once(&mut latest)).unwrap();
    assert!(early.is_none(), "the tier takes its time");
    cluster.propose(&TierCommand::DropLocal { below: cluster.end() });
    let found = cluster.sim.block_on(latest).unwrap().unwrap().unwrap();
    assert_eq!(found.max_timestamp_ms, 29, "{found:?}");
}

#[test]
fn a_look_up_by_time_searches_a_log_that_is_local_alone_once() {
    let cluster = Cluster::new(Seed(6));
    let env = cluster.sim.env();
    let disk = SimDisk::new(Seed(6));
    disk.create_dir_all(Path::new("/hot")).unwrap();
    let options = MemOptions {
        pending_reads: true,
        ..MemOptions::default()
    };
    let store = MemStore::open(&disk, Path::new("/hot"), env.clone(), options).unwrap();
    let policy = SegmentPolicy { segment_bytes: 1500 };
    let mut log = store.open_group(GroupId(1), policy).unwrap();
    let entry = Entry {
        id: LogId::new(1, 1),
        kind: EntryKind::Data,
        base_offset: Offset(0),
        record_count: 1,
        max_timestamp_ms: 17,
        payload: Bytes::from_static(b"hot"),
    };
    let ticket = log.writer.append(&[entry]).unwrap();
    cluster.sim.wait(&ticket).unwrap().unwrap();
    cluster.sim.run_until_idle();
    let cold = ColdReader::new(
        Arc::clone(&cluster.retrying),
        env,
        ColdOptions::default(),
        Arc::new(DiskCache::none()),
        Arc::clone(&cluster.metrics),
    );
    let reader = TieredReader::new(Arc::clone(&log.reader), cold, PARTITION, Arc::default());
    let found = reader.find_time(TimeQuery::Maximum, Offset(1)).unwrap();
    let mut found = Box::pin(found.get());
    assert!(
        block_on(poll_once(&mut found)).is_none(),
        "the disk takes its time"
    );
    assert_eq!(cluster.sim.queue().waiting(), 1, "one search");
    let found = cluster.sim.block_on(found).unwrap().unwrap().unwrap();
    assert_eq!(found.max_timestamp_ms, 17, "{found:?}");
}

#[test]
fn uploads_go_on_after_retention_took_everything_that_was_in_the_tier() {
    let mut cluster = filled(4, 12);
    cluster.upload_all();
    cluster.advance_log_start(cluster.end());
    for _ in 0..3 {
        cluster.upkeep();
        cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 + 1));
    }
    cluster.upkeep();
    assert!(objects(&cluster).is_empty(), "nothing is left in the bucket");
    let mut cluster = cluster.crash(&mut Seed(4).prng());
    cluster.produce(2, 1, Bytes::from(vec![7; 1000]));
    cluster.roll();
    cluster.upload_all();
    assert_eq!(cluster.state.end().offset, cluster.end());
    cluster.check_all(1000);
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_stopped() {
    let mut cluster = filled(9, 30);
    let inbox = Inbox::default();
    // The old leader tiers a part, and loses its term with an upload under way.
    cluster.start_upload(&inbox);
    cluster.settle();
    commands(&inbox)
        .iter()
        .for_each(|command| cluster.propose(command));
    cluster.upkeep();
    cluster.start_upload(&inbox);
    cluster.sim.step();
    let tiered = cluster.state.end();
    let mut cluster = cluster.crash(&mut Seed(9).prng());
    assert_eq!(cluster.state.end(), tiered, "the new one knows by replay");
    cluster.upload_all();
    cluster.upkeep();
    assert!(cluster.state.end().offset > tiered.offset);
    let segments = cluster.state.segments();
    let follow = segments
        .windows(2)
        .all(|pair| pair[0].offsets.end == pair[1].offsets.start);
    assert!(follow, "{segments:?}");
    cluster.check_references();
    cluster.check_all(1000);
}

#[test]
fn a_segment_that_overlaps_the_tier_is_never_added_and_every_record_is_read_once() {
    let mut cluster = filled(10, 30);
    cluster.upload_all();
    let (before, end) = (cluster.state.segments().to_vec(), cluster.state.end());
    // A leader that cut its segments elsewhere: the same records under other borders.
    let last = before.last().unwrap();
    for (from, to) in [
        (last.offsets.start.0 - 1, last.offsets.end.0),
        (last.offsets.end.0 - 1, end.offset.0 + 5),
    ] {
        let mut other = (**last).clone();
        other.offsets = Offset(from)..Offset(to);
        other.terms.truncate(1);
        other.terms[0].offsets = other.offsets.clone();
        other.crc ^= 1;
        cluster.propose(&TierCommand::Add(other.into()));
    }
    assert_eq!(cluster.state.segments(), before);
    assert_eq!(cluster.state.end(), end);
    cluster.propose(&TierCommand::DropLocal { below: cluster.end() });
    cluster.check_references();
    cluster.check_all(1000);
}

#[test]
fn deleted_records_stay_deleted_after_a_restart() {
    let mut cluster = filled(5, 30);
    cluster.upload_all();
    cluster.propose(&TierCommand::DropLocal { below: cluster.end() });
    cluster.advance_log_start(Offset(40));
    cluster.upkeep();
    let cluster = cluster.crash(&mut Seed(5).prng());
    assert_eq!(cluster.log_start, Offset(40));
    assert!(cluster.state.offsets().start <= Offset(40));
    assert!(
        cluster
            .state
            .segments()
            .iter()
            .all(|segment| segment.offsets.end > Offset(40))
    );
    cluster.check_all(1000);
}

#[test]
fn nothing_is_deleted_before_its_grace_is_over() {
    let mut cluster = filled(6, 30);
    cluster.upload_all();
    cluster.upkeep();
    let before = objects(&cluster);
    cluster.advance_log_start(Offset(40));
    cluster.upkeep();
    cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 - 1000));
    cluster.upkeep();
    assert_eq!(objects(&cluster), before, "readers of the old manifest have time");
    cluster.sim.advance(Duration::from_millis(2000));
    cluster.upkeep();
    assert!(objects(&cluster).len() < before.len());
    cluster.check_references();
}

#[test]
fn a_store_that_is_down_holds_up_uploads_and_no_producer() {
    let mut cluster = filled(7, 12);
    cluster.bucket.set(Faults {
        refused: 100,
        ..Faults::default()
    });
    let inbox = Inbox::default();
    cluster.start_upload(&inbox);
    cluster.settle();
    assert!(commands(&inbox).is_empty());
    cluster.produce(3, 1, Bytes::from_static(b"still here"));
    cluster.check_all(1000);
    cluster.bucket.set(Faults::default());
    cluster.upload_all();
    assert!(!cluster.state.segments().is_empty());
}

#[test]
fn a_scrub_names_what_is_orphaned_missing_and_damaged_and_deletes_orphans_alone() {
    let mut cluster = filled(8, 30);
    cluster.upload_all();
    cluster.upkeep();
    let bucket = cluster.bucket.inner.clone();
    let look = |deep| {
        cluster
            .sim
            .block_on(scrub(&bucket, PARTITION, deep))
            .unwrap()
            .unwrap()
    };
    let clean = look(true);
    assert!(clean.findings.is_empty(), "{clean:?}");
    assert_eq!(clean.offsets, cluster.state.offsets());
    assert_eq!(
        cluster.sim.block_on(partitions(&bucket)).unwrap().unwrap(),
        [PARTITION]
    );

    // What an upload left that did not come to its end.
    let live = cluster.state.segments()[0].key(PARTITION);
    let orphan = SegmentKey {
        salt: 77,
        ..live.clone()
    }
    .to_string();
    let put = |key: &str, body: Bytes| {
        let put = bucket.put(key, vec![body], Condition::Always);
        cluster.sim.block_on(put).unwrap().unwrap();
    };
    put(&orphan, Bytes::from_static(b"half"));
    let report = look(false);
    assert!(report.is_whole() && report.findings.len() == 1, "{report:?}");
    let delete = |age_ms| {
        let env = cluster.sim.env();
        let state = cluster.state.clone();
        let delete = async { delete_orphans(&bucket, &env, &report, &state, age_ms, &cluster.metrics).await };
        cluster.sim.block_on(delete).unwrap().unwrap()
    };
    assert_eq!(delete(1000), 0, "it may be on its way to be referenced");
    cluster.sim.advance(Duration::from_secs(2));
    assert_eq!(delete(1000), 1);
    assert!(look(true).findings.is_empty());

    let live = live.to_string();
    let want = Want::All { max_bytes: 1 << 20 };
    let whole = cluster
        .sim
        .block_on(bucket.get(&live, want))
        .unwrap()
        .unwrap()
        .data;
    let mut damaged = whole.to_vec();
    damaged[200] ^= 1;
    put(&live, damaged.into());
    let found = look(true).findings;
    assert!(
        matches!(&found[..], [Finding::Damaged { key, .. }] if **key == *live),
        "{found:?}"
    );
    cluster.sim.block_on(bucket.delete(&live)).unwrap().unwrap();
    let found = look(false).findings;
    assert!(
        matches!(&found[..], [Finding::Missing { key, .. }] if **key == *live),
        "{found:?}"
    );
}

#[test]
fn what_may_still_be_referenced_or_is_not_ours_is_never_deleted_as_an_orphan() {
    let mut cluster = filled(11, 30);
    cluster.upload_all();
    cluster.upkeep();
    let first = cluster.state.segments()[0].key(PARTITION);
    let end = cluster.state.end().offset;
    // An upload of another leader, which is about to refer to it; a page, and something strange.
    let coming = SegmentKey {
        offsets: end..Offset(end.0 + 9),
        ..first
    };
    let keys = [
        coming.to_string(),
        format!("{}/note", PARTITION.segments()),
        format!("{}/{:020}-{:020}-00000007.page", pages_folder(PARTITION), 0, 9),
    ];
    for key in &keys {
        let put = cluster
            .bucket
            .inner
            .put(key, vec![Bytes::from_static(b"here")], Condition::Always);
        cluster.sim.block_on(put).unwrap().unwrap();
    }
    // And a segment that left the manifest, and whose grace lasts.
    cluster.advance_log_start(first.offsets.end);
    cluster.upkeep();
    assert!(cluster.state.is_garbage(&first));
    cluster.sim.advance(Duration::from_secs(10));
    let bucket = cluster.bucket.inner.clone();
    let report = cluster.sim.block_on(scrub(&bucket, PARTITION, false));
    let report = report.unwrap().unwrap();
    assert_eq!(report.findings.len(), 4, "{report:?}");
    let (env, state) = (cluster.sim.env(), cluster.state.clone());
    let delete = async { delete_orphans(&bucket, &env, &report, &state, 1, &cluster.metrics).await };
    assert_eq!(cluster.sim.block_on(delete).unwrap().unwrap(), 0);
    assert!(objects(&cluster).contains(&first.to_string()));
}
