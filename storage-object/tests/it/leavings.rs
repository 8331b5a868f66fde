//! What is left in a bucket by leaders and clusters of the past, and who may delete it.

use crate::cluster::{Cluster, GRACE_MS, Inbox, PARTITION};
use bytes::Bytes;
use chronik_conformance::world::Seed;
use chronik_core::{Offset, Term};
use chronik_storage_object::bucket::{Bucket, Condition, Want};
use chronik_storage_object::manifest::{Fence, Publisher, aside_key, head_key, is_set_aside, read_manifest};
use chronik_storage_object::offline::{list_all, partitions};
use chronik_storage_object::orphans::OrphanSweep;
use chronik_storage_object::removal::{Removed, remove_partition};
use chronik_storage_object::{Claim, TierCommand, TierError, TierState};
use std::sync::Arc;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(3600);

/// A cluster with some sealed segments, none of them uploaded.
fn filled(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Seed(seed));
    for n in 0..30 {
        cluster.produce(3, n, Bytes::from(vec![n as u8; 300]));
    }
    cluster.roll();
    cluster.produce(1, 9000, Bytes::from_static(b"hot"));
    cluster
}

fn objects(cluster: &Cluster, folder: &str) -> Vec<String> {
    let all = cluster.sim.block_on(list_all(&cluster.bucket.inner, folder));
    let all = all.unwrap().unwrap();
    all.iter().map(|object| object.key.to_string()).collect()
}

fn publisher(cluster: &Cluster, claim: u64) -> Publisher {
    let fence = Fence::new(claim, Term(1), u128::from(claim));
    Publisher::new(Arc::clone(&cluster.retrying), cluster.sim.env(), PARTITION, fence)
}

#[test]
fn a_leader_that_lost_the_bucket_deletes_nothing() {
    let mut cluster = filled(21);
    cluster.upload_all();
    cluster.upkeep();
    cluster.advance_log_start(Offset(40));
    cluster.upkeep();
    let before = objects(&cluster, &PARTITION.segments());
    // Another cluster takes the bucket over, with all that the newest manifest names, and the old one's grace passes.
    let manifest = cluster
        .sim
        .block_on(read_manifest(&cluster.bucket.inner, PARTITION));
    let manifest = manifest.unwrap().unwrap();
    let mut new = publisher(&cluster, 2);
    assert_eq!(
        cluster.sim.block_on(new.take_over(manifest.as_ref())).unwrap(),
        Ok(true)
    );
    cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 * 2));
    for _ in 0..3 {
        cluster.upkeep();
    }
    assert_eq!(objects(&cluster, &PARTITION.segments()), before);
}

/// A cluster whose leader uploaded, and died before it published.
fn uploaded_and_not_published(seed: u64) -> Cluster {
    let cluster = filled(seed);
    let inbox = Inbox::default();
    cluster.start_upload(&inbox);
    cluster.settle();
    assert!(!objects(&cluster, &PARTITION.segments()).is_empty());
    cluster
}

fn remove(cluster: &Cluster, claim: &Claim) -> Result<Removed, TierError> {
    let (bucket, env) = (Arc::clone(&cluster.retrying), cluster.sim.env());
    cluster
        .sim
        .block_on(remove_partition(&bucket, &env, claim, PARTITION))
        .unwrap()
}

#[test]
fn uploads_of_a_deleted_topic_go_though_nothing_was_ever_published() {
    let cluster = uploaded_and_not_published(22);
    let env = cluster.sim.env();
    let claim = Claim::acquire(&*cluster.retrying, &env, "us");
    let claim = cluster.sim.block_on(claim).unwrap().unwrap();
    let removed = remove(&cluster, &claim);
    assert!(matches!(removed, Ok(Removed::Done(2))), "{removed:?}");
    let left = cluster.sim.block_on(partitions(&cluster.bucket.inner)).unwrap();
    assert_eq!(left.unwrap(), []);
}

/// A restored cluster does not know the topics that the lost one made after its last copy.
#[test]
fn uploads_that_no_manifest_names_stay_in_a_bucket_that_was_another_clusters() {
    let cluster = uploaded_and_not_published(24);
    let env = cluster.sim.env();
    let claims = async {
        Claim::acquire(&*cluster.retrying, &env, "them").await?;
        Claim::take_over(&*cluster.retrying, &env, "us").await
    };
    let claim = cluster.sim.block_on(claims).unwrap().unwrap();
    let before = objects(&cluster, &PARTITION.folder());
    assert_eq!(remove(&cluster, &claim), Ok(Removed::NotOurs));
    assert_eq!(objects(&cluster, &PARTITION.folder()), before);
}

#[test]
fn a_damaged_manifest_is_put_aside_and_what_it_named_is_kept() {
    let mut cluster = filled(23);
    cluster.upload_all();
    cluster.upkeep();
    let before = objects(&cluster, &PARTITION.segments());
    let bucket = cluster.bucket.inner.clone();
    let damaged = Bytes::from_static(b"no manifest at all");
    let put = bucket.put(&head_key(PARTITION), vec![damaged.clone()], Condition::Always);
    cluster.sim.block_on(put).unwrap().unwrap();
    let mut new = publisher(&cluster, 2);
    for _ in 0..2 {
        // A restore that was interrupted does it again.
        assert_eq!(cluster.sim.block_on(new.set_aside()).unwrap(), Ok(true));
    }
    let want = Want::All { max_bytes: 1 << 20 };
    let kept = cluster
        .sim
        .block_on(bucket.get(&aside_key(PARTITION), want))
        .unwrap();
    assert_eq!(
        kept.unwrap().data,
        damaged,
        "the first one, not the empty one that took its place"
    );
    // The old cluster is shut out, and an older restore as well.
    let old = cluster
        .sim
        .block_on(publisher(&cluster, 1).publish(&cluster.state))
        .unwrap();
    assert!(matches!(old, Err(TierError::Fenced { .. })), "{old:?}");
    let older = cluster.sim.block_on(publisher(&cluster, 1).set_aside()).unwrap();
    assert!(matches!(older, Err(TierError::Fenced { .. })), "{older:?}");
    assert_eq!(look_twice(&cluster, &mut new), before, "they may still be wanted");
    let aside = aside_key(PARTITION);
    cluster.sim.block_on(bucket.delete(&aside)).unwrap().unwrap();
    assert_eq!(
        cluster.sim.block_on(is_set_aside(&bucket, PARTITION)).unwrap(),
        Ok(false)
    );
    assert!(
        look_twice(&cluster, &mut new).is_empty(),
        "nobody wants them any more"
    );
}

/// The segments that are left after the new leader, whose tier goes as far as the old one's, looked for orphans.
fn look_twice(cluster: &Cluster, publisher: &mut Publisher) -> Vec<String> {
    let env = cluster.sim.env();
    let mut other = (**cluster.state.segments().last().unwrap()).clone();
    other.offsets = Offset(0)..cluster.state.end().offset;
    other.terms.truncate(1);
    other.terms[0].offsets = other.offsets.clone();
    other.crc ^= 1;
    let mut state = TierState::default();
    state.apply(&TierCommand::Add(other.into()));
    assert_eq!(state.end().offset, cluster.state.end().offset);
    let mut sweep = OrphanSweep::new(LOOK, env.clock.now());
    for _ in 0..2 {
        cluster.sim.advance(LOOK * 2);
        let bucket = (&*cluster.retrying, &env);
        let round = sweep.round(bucket, PARTITION, &state, publisher, &cluster.metrics);
        let found = cluster.sim.block_on(round).unwrap().unwrap();
        assert!(found.is_some_and(|found| !found.findings.is_empty()));
    }
    objects(cluster, &PARTITION.segments())
}
