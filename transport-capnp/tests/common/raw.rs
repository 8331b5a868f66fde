//! A peer that says whatever it likes, byte by byte.

use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp::serialize;
use capnp::traits::HasTypeId as _;
use capnp_rpc::rpc_capnp::message;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::session_capnp::{Lane, hello, inbox, welcome};

/// Whom a raw peer claims to be, and whom to mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) cluster: &'static str,
    pub(crate) node: u64,
    pub(crate) to: u64,
    pub(crate) version: u32,
    pub(crate) incarnation: u64,
    pub(crate) session: u64,
    pub(crate) lane: Lane,
}

impl Claim {
    /// A proper member of the tests' cluster, on its control lane.
    pub(crate) fn good(node: u64, to: u64, session: u64) -> Self {
        let cluster = "test-cluster";
        Self {
            cluster,
            node,
            to,
            version: 1,
            incarnation: 5,
            session,
            lane: Lane::Control,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut builder = Builder::new_default();
        let mut root = builder.init_root::<hello::Builder<'_>>();
        root.set_cluster_id(self.cluster);
        root.set_node(self.node);
        root.set_to(self.to);
        root.set_version(self.version);
        root.set_incarnation(self.incarnation);
        root.set_session(self.session);
        root.set_lane(self.lane);
        root.set_max_message_bytes(1 << 20);
        serialize::write_message_to_words(&builder)
    }
}

/// A connection to a node's port.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("it is not zero");
        stream
            .set_write_timeout(Some(Duration::from_secs(30)))
            .expect("it is not zero");
        Self { stream }
    }

    /// Writes what the node still takes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says hello; returns why it is refused, empty if it is not.
    pub(crate) fn hello(&mut self, claim: &Claim) -> String {
        assert!(self.write(&claim.bytes()), "the node reads the hello");
        let message =
            serialize::read_message(&mut self.stream, ReaderOptions::new()).expect("the node answers");
        let root = message
            .get_root::<welcome::Reader<'_>>()
            .expect("it is a welcome");
        root.get_refused()
            .expect("there is a text")
            .to_string()
            .expect("it is UTF-8")
    }

    /// Whether the node ends the connection; what it says before is thrown away.
    pub(crate) fn is_ended(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A frame of the protocol of calls.
pub(crate) fn frame(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut builder = Builder::new(HeapAllocator::new());
    fill(builder.init_root());
    serialize::write_message_to_words(&builder)
}

/// Asks for the node's inbox, as question `id`.
pub(crate) fn bootstrap(id: u32) -> Vec<u8> {
    frame(|message| message.init_bootstrap().set_question_id(id))
}

/// Delivers a batch to the inbox that question 0 asked for.
pub(crate) fn deliver(question: u32, number: u64, bodies: &[&[u8]]) -> Vec<u8> {
    frame(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.set_interface_id(inbox::Client::TYPE_ID);
        call.set_method_id(0);
        call.reborrow()
            .init_target()
            .init_promised_answer()
            .set_question_id(0);
        let content = call.init_params().get_content();
        let mut params = content.init_as::<inbox::deliver_params::Builder<'_>>();
        params.set_number(number);
        let mut messages = params.init_messages(bodies.len() as u32);
        for (index, body) in (0..).zip(bodies) {
            let mut message = messages.reborrow().get(index);
            message.set_body(body);
            message.set_checksum(crc32c::crc32c_append(crc32c::crc32c(&[0; 8]), body));
        }
    })
}
