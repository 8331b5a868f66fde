//! Frames on a connection, and their limits.

use capnp::capability::Request;
use capnp::message::ReaderOptions;
use capnp::{MessageSize, traits};
use capnp_rpc::VatNetwork;
use capnp_rpc::rpc_twoparty_capnp::Side;
use futures_util::AsyncReadExt as _;
use futures_util::io::{BufReader, BufWriter};

use crate::limits::{NESTING_LEVELS, frame_words};
use crate::stream::Duplex;

/// A connection that takes frames up to what the largest message needs.
pub(crate) fn network(
    io: Box<dyn Duplex>,
    side: Side,
    max_message_bytes: usize,
) -> Box<dyn VatNetwork<Side>> {
    let mut options = ReaderOptions::new();
    options
        .traversal_limit_in_words(Some(frame_words(max_message_bytes)))
        .nesting_limit(NESTING_LEVELS);
    let (read, write) = io.split();
    let read = BufReader::with_capacity(64 * 1024, read);
    let write = BufWriter::with_capacity(64 * 1024, write);
    Box::new(capnp_rpc::twoparty::VatNetwork::new(read, write, side, options))
}

/// A request whose first segment holds all of `bytes`.
pub(crate) fn sized_request<P, R>(
    client: &capnp::capability::Client,
    interface: u64,
    method: u16,
    bytes: usize,
) -> Request<P, R>
where
    P: traits::Owned,
    R: traits::Owned,
{
    let size = MessageSize {
        word_count: (bytes / 8 + 32) as u64,
        cap_count: 0,
    };
    client.new_call(interface, method, Some(size))
}
