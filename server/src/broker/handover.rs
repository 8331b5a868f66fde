//! Before a node stops, and where it cannot write, others take over what it leads.

use super::partitions::PartitionTable;
use crate::cluster::Controller;
use crate::cluster::join::join_all;
use chronik_core::consensus::{ConsensusError, ConsensusGroup, GroupStatus, Role};
use chronik_core::{BoxFuture, Env, ReplicaId};
use std::sync::Arc;
use std::time::Duration;

/// How many groups are handed over at a time.
const AT_A_TIME: usize = 64;
/// How long one of them may take: a replica that can take over does so within a round trip.
const EACH: Duration = Duration::from_secs(2);
/// A replica that answered within this time can take over.
const ALIVE: Duration = Duration::from_secs(1);

/// Hands over every group that this node leads and that somebody else can lead: the partitions first, the metadata
/// group last. Ends after `limit` at the latest; what is left then moves by election.
pub(super) async fn run(table: &PartitionTable, controller: &Controller, env: &Env, limit: Duration) {
    let work = async {
        let partitions = table.all();
        for some in partitions.chunks(AT_A_TIME) {
            let moves = some
                .iter()
                .map(|partition| -> BoxFuture<'_, bool> { Box::pin(hand_over(partition.group(), env)) });
            let moved = join_all(moves.collect()).await;
            let moved = moved.into_iter().filter(|moved| *moved).count();
            log::info!("event=leaders_moved moved={moved} of={}", some.len());
        }
        hand_over(controller.group(), env).await;
    };
    let late = async {
        env.clock.sleep(limit).await;
        log::warn!("event=handover_cut after_ms={}", limit.as_millis());
    };
    futures_lite::future::or(work, late).await;
}

/// Whether this node leads anything that another one can lead.
pub(super) fn is_possible(table: &PartitionTable, controller: &Controller) -> bool {
    let partitions = table.all();
    let mut statuses = partitions.iter().map(|partition| partition.group().status());
    statuses.any(|status| successor(&status).is_some()) || successor(&controller.group_status()).is_some()
}

/// Whether somebody else leads now that did not before.
async fn hand_over(group: &Arc<dyn ConsensusGroup>, env: &Env) -> bool {
    let status = group.status();
    let Some(to) = successor(&status) else {
        return false;
    };
    let late = async {
        env.clock.sleep(EACH).await;
        Err(ConsensusError::Unknown("it took too long".to_owned()))
    };
    match futures_lite::future::or(group.transfer_leadership(to), late).await {
        Ok(()) => true,
        Err(error) => {
            log::warn!("event=leader_not_moved group={} error=\"{error}\"", status.group);
            false
        }
    }
}

/// The voter that has most of the log, among those that answer.
fn successor(status: &GroupStatus) -> Option<ReplicaId> {
    if status.progress.role != Role::Leader {
        return None;
    }
    let others = status.membership.voters.iter();
    let others = others.filter(|member| member.replica != status.replica.replica);
    let alive = others.filter_map(|member| {
        let matched = status.matched.get(&member.replica)?;
        (matched.silent_for <= ALIVE).then_some((matched.index, member.replica))
    });
    alive.max().map(|(_, replica)| replica)
}
