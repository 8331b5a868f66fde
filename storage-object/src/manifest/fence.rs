//! Who may write.

use crate::codec::{Decoder, Malformed};
use bytes::BufMut;
use chronik_core::Term;
use std::fmt;

/// The right to write a partition's manifest: the greater one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// The generation of the cluster's claim on the bucket: rises when another cluster takes over.
    pub claim: u64,
    /// The leader's term.
    pub term: Term,
    /// The cluster, so that two of them are told apart in messages.
    pub cluster: u128,
}

impl Fence {
    /// The right of a leader of this term, in the cluster that holds this claim.
    #[must_use]
    pub const fn new(claim: u64, term: Term, cluster: u128) -> Self {
        Self { claim, term, cluster }
    }

    /// Whether a writer with this fence may replace what was written under `other`.
    #[must_use]
    pub fn may_replace(&self, other: &Self) -> bool {
        if self.claim == other.claim {
            return self.cluster == other.cluster && self.term >= other.term;
        }
        self.claim > other.claim
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.claim);
        out.put_u64_le(self.term.0);
        out.put_u128_le(self.cluster);
    }

    pub(crate) fn take(decoder: &mut Decoder) -> Result<Self, Malformed> {
        let (claim, term) = (decoder.u64()?, Term(decoder.u64()?));
        Ok(Self::new(claim, term, decoder.u128()?))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cluster {:032x}, claim {}, term {}",
            self.cluster, self.claim, self.term
        )
    }
}
