//! What the node does for the object tier, beside its partitions' reads: every part is a task of its own, and nothing
//! else waits for any of them.
//!
//! `rounds` starts the rounds of partitions that lead here, `backup` copies what no segment carries, and `sweep` deletes
//! what deleted topics leave; the last two once `lineage` has seen that the bucket is of this cluster's own past.

mod backup;
mod lineage;
mod rounds;
mod sweep;

use super::partitions::PartitionTable;
use crate::cluster::Controller;
use crate::config::TierConfig;
use crate::partition::NodeTier;
use chronik_core::consensus::Role;
use chronik_core::{Env, Term};
use std::sync::Arc;
use std::time::Duration;

/// How old the claim may be under which something is written or deleted.
const CLAIM_AGE_MAX: Duration = Duration::from_secs(10);

/// What the tasks work with.
#[derive(Clone, Debug)]
struct Parts {
    table: Arc<PartitionTable>,
    controller: Arc<Controller>,
    tier: Arc<NodeTier>,
    env: Env,
}

/// Starts the tasks; they run until the process ends. A node without a tier has none.
pub(super) fn start(
    table: &Arc<PartitionTable>,
    controller: &Arc<Controller>,
    env: &Env,
    config: &TierConfig,
) {
    let Some(tier) = table.tier() else {
        return;
    };
    let parts = Parts {
        table: Arc::clone(table),
        controller: Arc::clone(controller),
        tier: Arc::clone(tier),
        env: env.clone(),
    };
    let interval = Duration::from_millis(config.upload_interval_ms);
    let rounds = rounds::run(Arc::clone(table), env.clone(), interval);
    env.spawn.spawn("tier-rounds", Box::pin(rounds));
    let offsets_interval = Duration::from_millis(config.backup_interval_ms);
    let backups = backup::Backups::new(parts.clone(), interval, offsets_interval);
    env.spawn.spawn("tier-backup", Box::pin(backups.run()));
    let grace = Duration::from_millis(config.delete_grace_ms);
    let sweep = sweep::Sweep::new(parts, interval, grace);
    env.spawn.spawn("tier-sweep", Box::pin(sweep.run()));
}

impl Parts {
    /// The term in which this node leads the metadata group, once it has applied everything that was committed before.
    fn leads_metadata(&self) -> Option<Term> {
        let progress = self.controller.group().watch().get();
        let applied = self.controller.image().applied;
        let caught_up = progress.own_term_start.is_some_and(|start| applied >= start);
        (progress.role == Role::Leader && caught_up).then_some(progress.term)
    }
}
