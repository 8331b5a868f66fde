//! Instances of the crate, and a network whose answers a test scripts.

use super::disk::{Disk, Done, Store, Value};
use anyhow::{Result, anyhow};
use async_raft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ConflictOpt, InstallSnapshotRequest,
    InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use async_raft::{Config, Raft, RaftNetwork, SnapshotPolicy};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(super) type Crate = Raft<Value, Done, Net, Store>;

/// A request that an instance makes.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Vote,
    /// With the last entry that it carries, if any, and what it says is committed.
    Append {
        last: Option<u64>,
        commit: u64,
    },
}

impl Ask {
    pub(super) fn is_heartbeat_to(&self, to: u64) -> bool {
        self.to == to && matches!(self.what, What::Append { last: None, .. })
    }

    pub(super) fn carries(&self, index: u64) -> bool {
        matches!(self.what, What::Append { last: Some(last), .. } if last == index)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The instance of that number answers.
    Deliver,
    /// No answer ever comes.
    Silence,
    /// It fails, which is known at once.
    Failure,
    /// The vote is given, the entries are taken.
    Yes,
    No,
    /// The log of the follower ends with this index and term.
    Conflict(u64, u64),
    /// The peer is in this term.
    Newer(u64),
}

type Script = Box<dyn Fn(&Ask) -> Fate + Send + Sync>;

/// How an instance of the crate is configured, in milliseconds and entries.
#[derive(Clone, Copy)]
pub(super) struct Timers {
    pub(super) election: (u64, u64),
    pub(super) heartbeat: u64,
    pub(super) batch: u64,
    pub(super) snapshot_every: u64,
}

/// Campaigns soon.
pub(super) const KEEN: Timers = Timers {
    election: (50, 100),
    heartbeat: 30,
    batch: 300,
    snapshot_every: 5000,
};

/// Never campaigns.
pub(super) const QUIET: Timers = Timers {
    election: (20, 1_000_000_000_000),
    ..KEEN
};

/// All instances of a scenario.
pub(super) struct World {
    instances: Mutex<BTreeMap<u64, Crate>>,
    script: Script,
    asked: Mutex<Vec<Ask>>,
    /// Requests that the crate dropped before they were answered.
    given_up: AtomicU64,
}

impl World {
    pub(super) fn new(script: impl Fn(&Ask) -> Fate + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            instances: Mutex::default(),
            script: Box::new(script),
            asked: Mutex::default(),
            given_up: AtomicU64::new(0),
        })
    }

    /// Starts an instance; others reach it.
    pub(super) fn start(self: &Arc<Self>, id: u64, disk: &Arc<Disk>, timers: Timers) -> Crate {
        let raft = self.start_aside(id, disk, timers);
        self.instances.lock().unwrap().insert(id, raft.clone());
        raft
    }

    /// Starts an instance that nobody else has a handle of.
    pub(super) fn start_aside(self: &Arc<Self>, id: u64, disk: &Arc<Disk>, timers: Timers) -> Crate {
        let config = Config::build("t".into())
            .election_timeout_min(timers.election.0)
            .election_timeout_max(timers.election.1)
            .heartbeat_interval(timers.heartbeat)
            .max_payload_entries(timers.batch)
            .snapshot_policy(SnapshotPolicy::LogsSinceLast(timers.snapshot_every))
            .validate()
            .unwrap();
        let net = Net {
            id,
            world: Arc::clone(self),
        };
        let store = Store {
            id,
            disk: Arc::clone(disk),
        };
        Raft::new(id, Arc::new(config), Arc::new(net), Arc::new(store))
    }

    /// How many requests were like that.
    pub(super) fn count(&self, like: impl Fn(&Ask) -> bool) -> usize {
        self.asked.lock().unwrap().iter().filter(|ask| like(ask)).count()
    }

    pub(super) fn heartbeats_to(&self, to: u64) -> usize {
        self.count(|ask| ask.is_heartbeat_to(to))
    }

    /// The highest index that anybody named as committed.
    pub(super) fn said_committed(&self) -> u64 {
        let asked = self.asked.lock().unwrap();
        let said = asked.iter().filter_map(|ask| match ask.what {
            What::Append { commit, .. } => Some(commit),
            What::Vote => None,
        });
        said.max().unwrap_or(0)
    }

    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::SeqCst)
    }

    fn instance(&self, id: u64) -> Crate {
        self.instances.lock().unwrap().get(&id).unwrap().clone()
    }
}

/// Counts a request that is dropped.
struct Waiting<'a>(&'a World);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::SeqCst);
    }
}

/// The network of one instance.
pub(super) struct Net {
    id: u64,
    world: Arc<World>,
}

impl Net {
    async fn fate(&self, to: u64, what: What) -> Result<Fate> {
        let ask = Ask {
            from: self.id,
            to,
            what,
        };
        let fate = (self.world.script)(&ask);
        self.world.asked.lock().unwrap().push(ask);
        match fate {
            Fate::Failure => Err(anyhow!("the connection is refused")),
            Fate::Silence => {
                let _waiting = Waiting(&self.world);
                std::future::pending().await
            }
            other => Ok(other),
        }
    }
}

#[async_trait]
impl RaftNetwork<Value> for Net {
    async fn append_entries(
        &self,
        to: u64,
        rpc: AppendEntriesRequest<Value>,
    ) -> Result<AppendEntriesResponse> {
        let what = What::Append {
            last: rpc.entries.last().map(|entry| entry.index),
            commit: rpc.leader_commit,
        };
        let answer = |term, success, conflict_opt| AppendEntriesResponse {
            term,
            success,
            conflict_opt,
        };
        match self.fate(to, what).await? {
            Fate::Deliver => Ok(self.world.instance(to).append_entries(rpc).await?),
            Fate::Newer(term) => Ok(answer(term, false, None)),
            Fate::Conflict(index, term) if !rpc.entries.is_empty() => {
                Ok(answer(rpc.term, false, Some(ConflictOpt { term, index })))
            }
            // As a follower of the crate answers: a heartbeat is never compared with its log.
            _ => Ok(answer(rpc.term, true, None)),
        }
    }

    async fn install_snapshot(&self, _: u64, _: InstallSnapshotRequest) -> Result<InstallSnapshotResponse> {
        panic!("nothing here needs a leader's snapshot");
    }

    async fn vote(&self, to: u64, rpc: VoteRequest) -> Result<VoteResponse> {
        match self.fate(to, What::Vote).await? {
            Fate::Deliver => Ok(self.world.instance(to).vote(rpc).await?),
            fate => Ok(VoteResponse {
                term: rpc.term,
                vote_granted: fate == Fate::Yes,
            }),
        }
    }
}
