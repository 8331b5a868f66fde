//! What a full disk leaves for commands.
//!
//! A command may be the way out (a shorter retention, records or a topic to delete), and a node needs some to start. So
//! records are refused while there is still room for commands.

use chronik_core::EntryKind;

/// How much more must fit for records to be taken. What follows from entries (footers, index blocks, the rest of a page)
/// comes out of it as well.
const MARGIN_BYTES: u64 = 256 << 10;

/// How many bytes must fit for a proposal of `kind` with so many bytes of payload.
pub(crate) const fn needed_bytes(kind: EntryKind, payload_bytes: u64) -> u64 {
    match kind {
        EntryKind::Data => payload_bytes.saturating_add(MARGIN_BYTES),
        EntryKind::Blank | EntryKind::Membership | EntryKind::Command => payload_bytes,
    }
}
