//! How much goes into one call, and how much may be on the way.

use std::time::Duration;

/// Messages are gathered into one call up to here; a larger message travels alone. Four of 64 KiB fit.
pub(crate) const BATCH_BYTES: usize = (256 + 8) * 1024;

/// What of one lane may be on the way or untaken at the receiver; one message of any size may be.
pub(crate) const WINDOW_BYTES: usize = 1024 * 1024;

/// How many calls of one lane may be on the way: under load the next messages gather meanwhile.
pub(crate) const WINDOW_BATCHES: usize = 16;

/// What a message counts beyond its bytes, so that empty ones are bounded too. More than its share of the frame.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;

/// What a frame may hold beyond its largest message or batch: the envelope of the call.
pub(crate) const FRAME_OVERHEAD: usize = 64 * 1024;

/// A hello is a few words and the name of the cluster.
pub(crate) const HELLO_WORDS: usize = 1024;

/// Messages nest seven deep; the rest is room for growth.
pub(crate) const NESTING_LEVELS: i32 = 32;

/// Connections that have not said hello yet; more wait in the listener's queue.
pub(crate) const MAX_STRANGERS: usize = 64;

/// Sessions that peers may have with us: a bound for those that make up nodes.
pub(crate) const MAX_SESSIONS: usize = 1024;

/// Calls that a peer may leave unfinished on a connection: its window, and a few for questions.
pub(crate) const MAX_QUESTIONS: usize = 4 * WINDOW_BATCHES;

/// A data field of Cap'n Proto holds less than 2^29 bytes.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 512 * 1024 * 1024 - 1;

/// The first pause before a lost peer is dialled again; it doubles up to [`MAX_BACKOFF`].
pub(crate) const MIN_BACKOFF: Duration = Duration::from_millis(20);

/// The longest pause between two attempts.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The largest frame that a peer may send, in words of 8 bytes.
pub(crate) fn frame_words(max_message_bytes: usize) -> usize {
    max_message_bytes
        .max(BATCH_BYTES)
        .saturating_add(FRAME_OVERHEAD)
        .div_ceil(8)
}

/// How much may wait to be written before we read no more: above what the windows of both directions allow.
pub(crate) fn max_unwritten(max_message_bytes: usize) -> usize {
    let window = WINDOW_BYTES
        .max(charge(max_message_bytes))
        .saturating_add(BATCH_BYTES);
    window.saturating_mul(2)
}

/// What a message of `len` bytes counts.
pub(crate) fn charge(len: usize) -> usize {
    len.saturating_add(MESSAGE_OVERHEAD)
}
