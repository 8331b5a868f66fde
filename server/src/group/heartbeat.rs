//! Heartbeat: a member says that it lives, and learns of rebalances.

use super::classic::GroupState;
use super::machine::{Machine, Now};
use crate::kafka::api::heartbeat::HeartbeatRequest;
use crate::kafka::wire::ErrorCode;

impl Machine {
    /// Handles Heartbeat.
    pub fn heartbeat(&mut self, now: Now, request: &HeartbeatRequest) -> ErrorCode {
        let Some(mut group) = self.check_out(&request.group_id) else {
            return ErrorCode::UNKNOWN_MEMBER_ID;
        };
        let id = &request.member_id;
        let instance = request.group_instance_id.as_ref();
        let checked = group.check_generation(id, instance, request.generation_id);
        let error = match (checked, group.state) {
            (Err(error), _) => error,
            (Ok(()), GroupState::Empty) => ErrorCode::UNKNOWN_MEMBER_ID,
            (Ok(()), GroupState::PreparingRebalance) => {
                group.touch(id, now.mono);
                ErrorCode::REBALANCE_IN_PROGRESS
            }
            // Members may send heartbeats as soon as they know the generation.
            (Ok(()), GroupState::CompletingRebalance | GroupState::Stable) => {
                group.touch(id, now.mono);
                ErrorCode::NONE
            }
        };
        self.check_in(group);
        error
    }
}
