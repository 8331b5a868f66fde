//! The unreplicated backend: an entry commits when it is durable on this node.
//!
//! Entries, terms and hard state are those of a replicated group, so that a group can be replicated later by
//! appending a membership entry: the term is persisted and rises at every open, and each term starts with a blank
//! entry. A fetch that carries a leader epoch therefore notices a restart as it would notice an election.

mod group;

use chronik_core::consensus::{Capabilities, Consensus, ConsensusError, ConsensusGroup, GroupSpec, Member};
use chronik_core::{BoxFuture, GroupId};
use group::StandaloneGroup;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Limits of the standalone engine.
#[derive(Clone, Copy, Debug)]
pub struct StandaloneOptions {
    /// How many payload bytes of one group may wait for the disk before proposals are refused as overloaded.
    pub max_inflight_bytes: u64,
}

impl Default for StandaloneOptions {
    fn default() -> Self {
        Self {
            max_inflight_bytes: 128 << 20,
        }
    }
}

/// The standalone engine of a node.
#[derive(Debug)]
pub struct StandaloneEngine {
    options: StandaloneOptions,
    groups: Mutex<BTreeMap<GroupId, Weak<StandaloneGroup>>>,
}

impl StandaloneEngine {
    /// An engine without groups.
    #[must_use]
    pub fn new(options: StandaloneOptions) -> Self {
        Self {
            options,
            groups: Mutex::new(BTreeMap::new()),
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupId, Weak<StandaloneGroup>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, spec: GroupSpec) -> Result<Arc<dyn ConsensusGroup>, ConsensusError> {
        check_founding(&spec.founding.voters, spec.replica)?;
        if !spec.founding.learners.is_empty() || !spec.founding.outgoing_voters.is_empty() {
            return Err(unsupported("learners and joint membership"));
        }
        let id = spec.group;
        let group = StandaloneGroup::open(spec, self.options).await?;
        self.groups().insert(id, Arc::downgrade(&group));
        Ok(group)
    }
}

fn check_founding(voters: &[Member], replica: Member) -> Result<(), ConsensusError> {
    match voters {
        [only] if *only == replica => Ok(()),
        [_] => Err(ConsensusError::Invalid(
            "the founding voter is not this replica".into(),
        )),
        _ => Err(unsupported("a group of more than one voter")),
    }
}

fn unsupported(what: &str) -> ConsensusError {
    ConsensusError::Unsupported(format!(
        "{what}: consensus.backend = \"standalone\" keeps one replica of each group"
    ))
}

impl Consensus for StandaloneEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            replication: false,
            membership_change: false,
            leadership_transfer: false,
            learners: false,
            failover_bound: Duration::ZERO,
        }
    }

    fn open_group(&self, spec: GroupSpec) -> BoxFuture<'_, Result<Arc<dyn ConsensusGroup>, ConsensusError>> {
        Box::pin(self.open(spec))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open: Vec<_> = std::mem::take(&mut *self.groups()).into_values().collect();
            for group in open.iter().filter_map(Weak::upgrade) {
                group.close().await;
            }
        })
    }
}
