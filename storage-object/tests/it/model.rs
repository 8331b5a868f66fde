//! Hot store and tier against one flat log, with faults of the bucket and crashes between any two steps.

use crate::cluster::{Cluster, GRACE_MS, Inbox};
use crate::faulty::Faults;
use bytes::Bytes;
use chronik_conformance::world::{Prng, Seed};
use chronik_core::Offset;
use chronik_core::log_store::TimeQuery;
use chronik_storage_object::TierCommand;
use std::time::Duration;

const STEPS: u64 = 120;

/// What a run has met; a batch of runs must have met everything.
#[derive(Debug, Default)]
struct Met {
    crashes: u64,
    added: u64,
    ignored: u64,
    dropped: u64,
    deleted: u64,
    cold_reads: u64,
    settled: u64,
    retries: u64,
    damaged: u64,
}

fn faults(prng: &mut Prng) -> Faults {
    let mut percent = || if prng.chance(40) { prng.below(12) } else { 0 };
    Faults {
        refused: percent(),
        lost_before: percent(),
        lost_after: percent(),
        slow: percent() / 3,
        wrong_bytes: percent() / 2,
        short: percent() / 2,
    }
}

fn produce(cluster: &mut Cluster, prng: &mut Prng) {
    for _ in 0..=prng.below(5) {
        let mut payload = vec![0; prng.between(1, 400) as usize];
        prng.fill(&mut payload);
        let timestamp = prng.between(1, 1000) as i64;
        cluster.produce(prng.between(1, 9) as u32, timestamp, Bytes::from(payload));
    }
}

fn read(cluster: &Cluster, prng: &mut Prng, met: &mut Met) {
    let end = cluster.end().0;
    if end <= cluster.log_start.0 {
        return;
    }
    let from = prng.between(cluster.log_start.0 as u64, end as u64 - 1) as i64;
    met.cold_reads += u64::from(Offset(from) < cluster.hot_start());
    let entries = match cluster.read(Offset(from), prng.below(3000)) {
        Ok(entries) => entries,
        // A store that fails for longer than we repeat: an error, never wrong bytes.
        Err(_) => return,
    };
    let at = cluster.flat.partition_point(|known| known.end <= from);
    assert!(!entries.is_empty(), "an entry holds offset {from}");
    for (entry, known) in entries.iter().zip(&cluster.flat[at..]) {
        assert_eq!(
            (entry.base_offset.0, &entry.payload),
            (known.base, &known.payload)
        );
    }
}

fn take_inbox(cluster: &mut Cluster, inbox: &Inbox, met: &mut Met) {
    let commands = std::mem::take(&mut *inbox.lock().unwrap());
    for command in commands {
        let before = cluster.state.segments().len();
        cluster.propose(&command);
        match command {
            TierCommand::Add(_) if cluster.state.segments().len() > before => met.added += 1,
            TierCommand::Add(_) => met.ignored += 1,
            TierCommand::Cleanup { segments } => met.deleted += segments.len() as u64,
            _ => {}
        }
    }
}

fn run(seed: Seed, met: &mut Met) {
    let mut prng = seed.child("steps").prng();
    let mut cluster = Cluster::new(seed);
    let mut inbox = Inbox::default();
    for _ in 0..STEPS {
        match prng.below(16) {
            0..4 => produce(&mut cluster, &mut prng),
            4 => cluster.roll(),
            // Two uploads of the same segment at once: an old leader that does not know it yet.
            5..8 => {
                cluster.start_upload(&inbox);
            }
            8 => cluster.start_upkeep(&inbox),
            9 => {
                let below = Offset(prng.below(cluster.end().0 as u64 + 1) as i64);
                cluster.propose(&TierCommand::DropLocal { below });
                met.dropped += u64::from(cluster.state.local_start() > Offset(0));
            }
            10 => {
                let to = prng.below(cluster.end().0 as u64 + 1) as i64;
                cluster.advance_log_start(Offset(to / 2));
            }
            11 => cluster.lead(cluster.term + 1),
            12 => {
                let faults = faults(&mut prng);
                cluster.bucket.set(faults);
            }
            13 => cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 / 3)),
            14 if prng.chance(40) => {
                note(&cluster, met);
                cluster = cluster.crash(&mut prng);
                // What the background asked for and nobody proposed is lost.
                inbox = Inbox::default();
                met.crashes += 1;
            }
            _ => read(&cluster, &mut prng, met),
        }
        // The background moves on a little: a crash may come between any two of its steps.
        for _ in 0..prng.below(30) {
            if !cluster.sim.step() {
                cluster.sim.clock().fire_next(None);
            }
        }
        take_inbox(&mut cluster, &inbox, met);
        cluster.check_references();
    }
    finish(cluster, inbox, &mut prng, met);
}

fn note(cluster: &Cluster, met: &mut Met) {
    met.settled += cluster.metrics.settled.get();
    met.retries += cluster.metrics.retries.get();
    met.damaged += cluster.metrics.damaged_blocks.get();
}

/// Without faults everything comes to its end, and everything can be read.
fn finish(mut cluster: Cluster, inbox: Inbox, prng: &mut Prng, met: &mut Met) {
    cluster.bucket.set(Faults::default());
    cluster.settle();
    take_inbox(&mut cluster, &inbox, met);
    cluster.lead(cluster.term + 1);
    cluster.check_all(700);
    cluster.upload_all();
    for _ in 0..3 {
        cluster.upkeep();
        cluster.sim.advance(Duration::from_millis(GRACE_MS as u64 + 1));
    }
    cluster.upkeep();
    assert!(
        cluster.state.garbage().is_empty(),
        "what is not referenced goes in the end"
    );
    assert_eq!(cluster.state.published(), cluster.state.version());
    let all = TierCommand::DropLocal { below: cluster.end() };
    cluster.propose(&all);
    cluster.check_all(u64::MAX);
    for time in [1, prng.between(1, 1000) as i64, 1001] {
        cluster.check_time(TimeQuery::AtOrAfter(time));
    }
    cluster.check_time(TimeQuery::Maximum);
    cluster.check_terms();
    cluster.check_references();
    assert!(cluster.health());
    note(&cluster, met);
    let cluster = cluster.crash(prng);
    cluster.check_all(10_000);
}

#[test]
fn hot_and_cold_are_one_flat_log_whatever_fails() {
    let mut met = Met::default();
    let one = std::env::var("CHRONIK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let count = std::env::var("CHRONIK_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(60);
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    };
    for seed in &seeds {
        // Shown when the test fails: the seed that it failed with is the last one.
        println!("CHRONIK_SEED={seed}");
        run(Seed(*seed), &mut met);
    }
    println!("{met:?}");
    if one.is_none() {
        let marks = [
            met.crashes,
            met.added,
            met.ignored,
            met.dropped,
            met.deleted,
            met.cold_reads,
            met.settled,
            met.retries,
            met.damaged,
        ];
        assert!(
            marks.iter().all(|mark| *mark > 0),
            "a batch meets every case: {met:?}"
        );
    }
}
