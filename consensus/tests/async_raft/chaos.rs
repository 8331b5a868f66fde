//! Random faults in real time: nothing that was acknowledged is lost, no read is stale, no two nodes disagree.
//!
//! `CHRONIK_CHAOS_SECONDS` sets how long it runs, `CHRONIK_SEED` what happens.

use crate::cluster::{Cluster, LIMIT, value, value_of, wait_for};
use chronik_conformance::world::{Prng, Seed};
use chronik_consensus::async_raft::Guards;
use chronik_core::{ConsensusGroup, Env, LogIndex, NodeId, Outcome, ProposalHandle, Term};
use futures_lite::future::{block_on, or};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is in the log at an index, as some node committed it.
type Oracle = BTreeMap<LogIndex, (Term, Option<u64>)>;

/// What went wrong, in the words of the report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: u64,
    pub(crate) reads: u64,
    pub(crate) lost: u64,
    pub(crate) stale: u64,
    pub(crate) disagreements: u64,
    /// Said to have no effect, and in the log.
    pub(crate) resurrected: u64,
    /// What the witness saw: two leaders of a term, a term or commit index that went back, a leader that removed entries.
    pub(crate) broken: Vec<String>,
    pub(crate) steps: u64,
}

struct Run {
    cluster: Mutex<Cluster>,
    oracle: Mutex<Oracle>,
    acked: Mutex<BTreeMap<u64, LogIndex>>,
    /// Proposals that are said to have no effect.
    refused: Mutex<BTreeSet<u64>>,
    waiting: Mutex<Vec<(u64, ProposalHandle)>>,
    env: Env,
    newest_ack: AtomicU64,
    next_value: AtomicU64,
    stale: AtomicU64,
    reads: AtomicU64,
    disagreements: AtomicU64,
    over: AtomicBool,
}

impl Run {
    fn groups(&self) -> Vec<Arc<dyn ConsensusGroup>> {
        self.cluster
            .lock()
            .unwrap()
            .nodes
            .values()
            .map(|node| Arc::clone(&node.group))
            .collect()
    }

    /// Compares what a node committed with what others did.
    fn observe(&self, cluster: &Cluster, id: u64) {
        let mut oracle = self.oracle.lock().unwrap();
        for entry in cluster.committed(id) {
            let seen = (entry.id.term, value_of(&entry));
            if *oracle.entry(entry.id.index).or_insert(seen) != seen {
                self.disagreements.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn write(&self, pick: usize) {
        let groups = self.groups();
        let group = &groups[pick % groups.len()];
        let number = self.next_value.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = group.propose(value(number)) else {
            std::thread::park_timeout(Duration::from_millis(2));
            return;
        };
        if self.within(handle.outcome()).is_none() {
            // Its outcome may come later, and counts then.
            self.waiting.lock().unwrap().push((number, handle));
            return;
        }
        self.settle(number, &handle);
    }

    /// Notes what was acknowledged; says whether there is an outcome.
    fn settle(&self, number: u64, handle: &ProposalHandle) -> bool {
        let outcome = handle.peek();
        if let Some(Outcome::Committed(appended)) = &outcome {
            self.acked.lock().unwrap().insert(number, appended.id.index);
            self.newest_ack.fetch_max(appended.id.index.0, Ordering::SeqCst);
        }
        if matches!(outcome, Some(Outcome::NotCommitted(_))) {
            self.refused.lock().unwrap().insert(number);
        }
        outcome.is_some()
    }

    fn within<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let late = async {
            self.env.clock.sleep(Duration::from_millis(400)).await;
            None
        };
        block_on(or(async { Some(future.await) }, late))
    }

    fn read(&self, pick: usize) {
        let groups = self.groups();
        let group = &groups[pick % groups.len()];
        let before = self.newest_ack.load(Ordering::SeqCst);
        if let Some(Ok(index)) = self.within(group.read_barrier()) {
            self.reads.fetch_add(1, Ordering::SeqCst);
            if index.0 < before {
                self.stale.fetch_add(1, Ordering::SeqCst);
            }
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }

    fn disturb(&self, prng: &mut Prng) {
        let mut cluster = self.cluster.lock().unwrap();
        let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
        let one = ids[prng.index(ids.len())];
        let other = ids[prng.index(ids.len())];
        match prng.below(10) {
            0 | 1 => cluster.net.isolate(NodeId(one)),
            2 => {
                let leads = |id: &&u64| cluster.progress(**id).role == chronik_core::consensus::Role::Leader;
                if let Some(leader) = ids.iter().find(leads) {
                    cluster.net.isolate(NodeId(*leader));
                }
            }
            3 => cluster.net.cut(NodeId(one), NodeId(other)),
            4 => {
                self.observe(&cluster, one);
                cluster.restart(one);
            }
            5 | 6 => (0..5).for_each(|_| cluster.net.repeat(prng.index(1 << 20))),
            _ => cluster.net.heal(),
        }
        for id in ids {
            self.observe(&cluster, id);
        }
    }
}

/// Runs `nodes` voters under faults for `time`, then lets them recover.
pub(crate) fn run(seed: Seed, nodes: u64, guards: Guards, time: Duration) -> Verdict {
    let cluster = Cluster::start(seed, nodes, guards);
    let run = Arc::new(Run {
        env: cluster.env.clone(),
        cluster: Mutex::new(cluster),
        refused: Mutex::default(),
        waiting: Mutex::default(),
        oracle: Mutex::default(),
        acked: Mutex::default(),
        newest_ack: AtomicU64::new(0),
        next_value: AtomicU64::new(0),
        stale: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        disagreements: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let mut clients = Vec::new();
    for client in 0..4 {
        let run = Arc::clone(&run);
        let mut prng = seed.nth(client).prng();
        clients.push(std::thread::spawn(move || {
            while !run.over.load(Ordering::SeqCst) {
                let pick = prng.index(64);
                if client == 3 {
                    run.read(pick)
                } else {
                    run.write(pick)
                }
            }
        }));
    }
    let mut prng = seed.child("faults").prng();
    let start = Instant::now();
    let mut steps = 0;
    // Longer on a machine where nothing happened yet.
    let idle = || run.acked.lock().unwrap().is_empty() || run.reads.load(Ordering::SeqCst) == 0;
    while start.elapsed() < time || (start.elapsed() < LIMIT && idle()) {
        block_on(run.env.clock.sleep(Duration::from_millis(prng.between(100, 700))));
        run.disturb(&mut prng);
        steps += 1;
    }
    run.cluster.lock().unwrap().net.heal();
    run.over.store(true, Ordering::SeqCst);
    // Proposals whose outcome only a new leader's commit decides.
    let last = {
        let number = run.next_value.fetch_add(1, Ordering::SeqCst);
        let cluster = run.cluster.lock().unwrap();
        let last = cluster.commit(number);
        cluster.wait_commit(last);
        last
    };
    for client in clients {
        client.join().unwrap();
    }
    judge(&run, last, steps)
}

fn judge(run: &Run, last: LogIndex, steps: u64) -> Verdict {
    let cluster = run.cluster.lock().unwrap();
    for id in cluster.nodes.keys() {
        run.observe(&cluster, *id);
    }
    let waiting = std::mem::take(&mut *run.waiting.lock().unwrap());
    for (number, handle) in &waiting {
        run.settle(*number, handle);
    }
    let acked = run.acked.lock().unwrap();
    let log = cluster.committed(cluster.leader());
    let holds = |number: u64, index: LogIndex| {
        log.iter()
            .any(|entry| entry.id.index == index && value_of(entry) == Some(number))
    };
    let lost = acked
        .iter()
        .filter(|(number, index)| **index <= last && !holds(**number, **index))
        .count();
    let refused = run.refused.lock().unwrap();
    let resurrected = log
        .iter()
        .filter(|entry| value_of(entry).is_some_and(|number| refused.contains(&number)));
    Verdict {
        resurrected: resurrected.count() as u64,
        acknowledged: acked.len() as u64,
        reads: run.reads.load(Ordering::SeqCst),
        lost: lost as u64,
        stale: run.stale.load(Ordering::SeqCst),
        disagreements: run.disagreements.load(Ordering::SeqCst),
        broken: cluster.witness.broken(),
        steps,
    }
}

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn under_random_faults_nothing_is_lost_no_read_is_stale_and_all_agree() {
    let seed = number_from("CHRONIK_SEED", 20_261_122);
    let time = Duration::from_secs(number_from("CHRONIK_CHAOS_SECONDS", 8));
    for nodes in [3, 5] {
        println!("CHRONIK_SEED={seed} nodes={nodes} time={time:?}");
        let verdict = run(Seed(seed).nth(nodes), nodes, Guards::ON, time);
        println!("{verdict:?}");
        let wrong = (
            verdict.lost,
            verdict.stale,
            verdict.disagreements,
            verdict.resurrected,
        );
        assert_eq!(wrong, (0, 0, 0, 0), "{verdict:?}");
        assert_eq!(verdict.broken, Vec::<String>::new());
        assert!(
            verdict.acknowledged > 0 && verdict.reads > 0,
            "nothing happened: {verdict:?}"
        );
    }
}

#[test]
fn a_one_way_cut_of_a_leader_ends_in_a_leader_that_commits() {
    let cluster = Cluster::start(Seed(31), 3, Guards::ON);
    cluster.commit(1);
    let old = cluster.leader();
    for other in (1..=3).filter(|id| *id != old) {
        // What others say does not reach it: as far as it knows, nobody answers.
        cluster.net.cut(NodeId(other), NodeId(old));
    }
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    wait_for("another leader", || {
        others.iter().any(|id| {
            let progress = cluster.progress(*id);
            progress.own_term_start.is_some_and(|own| own <= progress.commit)
        })
    });
    cluster.net.heal();
    let last = cluster.commit(2);
    cluster.wait_commit(last);
    cluster.assert_agreement(1..=2);
}
