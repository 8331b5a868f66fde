//! Rounds of the object tier: every so often, each partition that leads here and has something to do starts one.

use crate::broker::partitions::PartitionTable;
use chronik_core::Env;
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub(super) async fn run(table: Arc<PartitionTable>, env: Env, interval: Duration) {
    loop {
        env.clock.sleep(interval).await;
        for partition in table.all() {
            if !partition.wants_tier_round() {
                continue;
            }
            // A store that is slow holds up its own partition's rounds, and nobody else's.
            let round = async move {
                // The partition says itself why a round was not finished, once.
                let _ = partition.tier_round().await;
            };
            env.spawn.spawn("tier-round", Box::pin(round));
        }
    }
}
