//! Producer ids, out of blocks that the metadata group gives away.

use super::controller::Controller;
use super::error::ControlError;
use async_lock::Mutex;
use chronik_core::NodeId;
use std::ops::Range;
use std::sync::Arc;

/// Gives out producer ids; none twice, over all nodes and restarts. What is left of a block when the node ends is
/// never given out.
#[derive(Debug)]
pub struct ProducerIds {
    controller: Arc<Controller>,
    node: NodeId,
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Gives out ids on this node.
    #[must_use]
    pub const fn new(controller: Arc<Controller>, node: NodeId) -> Self {
        let block = Mutex::new(0..0);
        Self {
            controller,
            node,
            block,
        }
    }

    /// The next id. Callers that find the block used up wait for one proposal together. Cancel safe: a block whose
    /// taker went away is lost, no id is given out twice.
    ///
    /// # Errors
    /// [`ControlError`]; no id was given out.
    pub async fn next(&self) -> Result<i64, ControlError> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        *block = self.controller.allocate_producer_ids(self.node).await?;
        block
            .next()
            .ok_or_else(|| ControlError::Unknown("an empty block of producer ids".into()))
    }
}
