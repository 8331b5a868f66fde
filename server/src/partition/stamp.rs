//! The stamp of a partition's entries: offsets and the leader epoch.

use bytes::BytesMut;
use chronik_core::consensus::Stamper;
use chronik_core::{Offset, Term};

use crate::kafka::record;

/// Writes base offsets and the leader epoch into the record batches of an entry (design, settled question 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchStamper;

impl Stamper for BatchStamper {
    fn stamp(&self, payload: &mut BytesMut, base_offset: Offset, term: Term) {
        // Only validated batches are proposed, and offsets are checked by the log before they run out.
        record::stamp(payload, base_offset.0, leader_epoch(term))
            .expect("a proposed payload is a run of whole batches");
    }
}

/// The Kafka leader epoch of a term. Kafka has 31 bits for it; a term that high is beyond any use.
pub(super) fn leader_epoch(term: Term) -> i32 {
    i32::try_from(term.0).unwrap_or(i32::MAX)
}

/// The term of a Kafka leader epoch, none for the negative ones that mean "unknown".
pub(super) fn term_of(leader_epoch: i32) -> Option<Term> {
    u64::try_from(leader_epoch).ok().map(Term)
}
