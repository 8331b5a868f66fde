//! A node whose disk is full leads nothing that another node can lead: as a leader it would refuse every write, as a
//! follower it holds nobody up.

use super::handover;
use super::partitions::PartitionTable;
use crate::cluster::Controller;
use chronik_core::log_store::StoreHealth;
use chronik_core::{Env, Watch};
use std::sync::Arc;
use std::time::Duration;

/// After a round, the next one waits so long, and each after it twice as long: where the disks of all nodes are full,
/// leaderships must not go around in circles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
/// How long a round may take.
const ROUND: Duration = Duration::from_secs(10);

/// Runs until the process ends.
pub(super) async fn run(
    health: Watch<StoreHealth>,
    table: Arc<PartitionTable>,
    controller: Arc<Controller>,
    env: Env,
) {
    loop {
        health.wait_for(|health| *health == StoreHealth::Full).await;
        let mut pause = FIRST_PAUSE;
        while health.with(|health| *health == StoreHealth::Full) {
            if handover::is_possible(&table, &controller) {
                log::warn!("event=handing_over reason=\"the disk is full\"");
                handover::run(&table, &controller, &env, ROUND).await;
            }
            env.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
