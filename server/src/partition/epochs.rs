//! Leader epochs: where one ends (OffsetForLeaderEpoch, KIP-101, KIP-320).

use chronik_core::Offset;

use super::error::PartitionError;
use super::notify::View;
use super::open::Partition;
use super::stamp::{leader_epoch, term_of};

/// The end of a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch at or below the one asked for that has records; -1 if the one asked for is not known.
    pub leader_epoch: i32,
    /// The offset after the last record of that epoch; -1 if it is not known.
    pub end_offset: i64,
}

impl EpochEnd {
    /// The answer for an epoch that this leader does not know.
    pub const UNKNOWN: Self = Self {
        leader_epoch: -1,
        end_offset: -1,
    };
}

impl Partition {
    /// Where `epoch` ends in this leader's log. `client_epoch` is the leader epoch that the client knows.
    ///
    /// # Errors
    /// `NotLeader`, `FencedLeaderEpoch`, `UnknownLeaderEpoch`.
    pub fn end_of_epoch(&self, epoch: i32, client_epoch: Option<i32>) -> Result<EpochEnd, PartitionError> {
        let view = self.serving_view(client_epoch)?;
        Ok(self.epoch_end(epoch, &view))
    }

    /// Where a consumer must truncate to, if the log does not contain `offset` under `epoch`.
    pub(super) fn diverging(&self, epoch: i32, offset: i64, view: &View) -> Option<EpochEnd> {
        let end = self.epoch_end(epoch, view);
        (end.leader_epoch < epoch || end.end_offset < offset).then_some(end)
    }

    /// The epoch of the record at `offset`, -1 if there is none.
    pub(super) fn epoch_at(&self, offset: Offset, view: &View) -> i32 {
        let mut term = term_of(view.leader_epoch);
        let mut found = -1;
        // Epochs are few: one an election. The one that holds the offset is the smallest that ends after it.
        while let Some((data_term, _)) = term
            .and_then(|term| self.log().end_of_term(term))
            .filter(|e| e.1 > offset)
        {
            found = leader_epoch(data_term);
            term = data_term.0.checked_sub(1).map(chronik_core::Term);
        }
        found
    }

    /// Kafka's rule: the current epoch ends at the end of the log, an earlier one where the next begins.
    fn epoch_end(&self, epoch: i32, view: &View) -> EpochEnd {
        if epoch == view.leader_epoch {
            return EpochEnd {
                leader_epoch: epoch,
                end_offset: self.log_end(),
            };
        }
        let Some(term) = term_of(epoch).filter(|_| epoch < view.leader_epoch) else {
            return EpochEnd::UNKNOWN;
        };
        match self.log().end_of_term(term) {
            Some((term, end)) => EpochEnd {
                leader_epoch: leader_epoch(term),
                end_offset: end.0,
            },
            None => EpochEnd {
                leader_epoch: epoch,
                end_offset: view.log_start.0,
            },
        }
    }
}
