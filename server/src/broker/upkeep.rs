//! Retention, rolls by age, and forgetting silent producers: a round over all partitions every so often.

use super::partitions::PartitionTable;
use chronik_core::Env;
use std::sync::Arc;
use std::time::Duration;

/// Runs until the process ends.
pub(super) async fn run(table: Arc<PartitionTable>, env: Env, interval: Duration) {
    loop {
        env.clock.sleep(interval).await;
        for partition in table.all() {
            if let Err(error) = partition.upkeep().await {
                log::error!(
                    "event=upkeep_failed partition={} error=\"{error}\"",
                    partition.name()
                );
            }
        }
    }
}
