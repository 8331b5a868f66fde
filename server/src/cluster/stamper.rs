//! The stamper of the metadata group.

use bytes::BytesMut;
use chronik_core::consensus::Stamper;
use chronik_core::{Offset, Term};

/// For a group whose entries are all commands: there are no records to stamp.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecords;

impl Stamper for NoRecords {
    fn stamp(&self, _: &mut BytesMut, base_offset: Offset, term: Term) {
        // A stamp is asked for data entries only, and the controller proposes none.
        debug_assert!(
            false,
            "records in the metadata group, at {base_offset} in term {term}"
        );
    }
}
