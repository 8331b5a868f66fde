//! Who speaks to whom, settled before any message passes (TR-ID-01).

use capnp::message::{Builder, ReaderOptions};
use capnp_futures::serialize;
use chronik_core::ids::NodeId;
use chronik_core::transport::{Hello, Lane};
use futures_util::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::limits::{HELLO_WORDS, NESTING_LEVELS};
use crate::session_capnp as schema;

/// What a dialler says first.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub(crate) hello: Hello,
    pub(crate) to: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) session: u64,
    pub(crate) lane: Lane,
    pub(crate) max_message_bytes: u64,
}

/// What the acceptor answers.
#[derive(Clone, Debug)]
pub(crate) struct Welcome {
    pub(crate) hello: Hello,
    pub(crate) refused: Option<String>,
    pub(crate) max_message_bytes: u64,
}

impl Greeting {
    /// Why we do not talk to this dialler.
    pub(crate) fn refusal(&self, ours: &Hello) -> Option<String> {
        let reason = stranger(&self.hello, ours);
        if reason.is_some() {
            reason
        } else if self.to != ours.node {
            Some(format!(
                "this is node {}, not node {}: check cluster.peers of the peer",
                ours.node, self.to
            ))
        } else if self.hello.node == ours.node {
            Some(format!(
                "two nodes have the id {}: give each node its own",
                ours.node
            ))
        } else {
            None
        }
    }
}

impl Welcome {
    /// Why we do not talk to this acceptor, whom we meant to be node `to`.
    pub(crate) fn refusal(&self, ours: &Hello, to: NodeId) -> Option<String> {
        if let Some(reason) = &self.refused {
            return Some(format!("the peer refuses us: {reason}"));
        }
        let reason = stranger(&self.hello, ours);
        if reason.is_none() && self.hello.node != to {
            return Some(format!(
                "at this address is node {}, not node {to}: check cluster.peers",
                self.hello.node
            ));
        }
        reason
    }
}

fn stranger(theirs: &Hello, ours: &Hello) -> Option<String> {
    // A node that has no cluster yet talks to everybody, and everybody to it.
    let apart = theirs.cluster_id != ours.cluster_id;
    if apart && !theirs.cluster_id.is_empty() && !ours.cluster_id.is_empty() {
        return Some(format!(
            "node {} belongs to cluster {:?} and node {} to cluster {:?}: check cluster.peers and node.data_dir of both",
            theirs.node, theirs.cluster_id, ours.node, ours.cluster_id
        ));
    }
    (theirs.version != ours.version).then(|| {
        format!(
            "node {} speaks version {} and node {} version {}: run releases that go together",
            theirs.node, theirs.version, ours.node, ours.version
        )
    })
}

fn options() -> ReaderOptions {
    let mut options = ReaderOptions::new();
    options
        .traversal_limit_in_words(Some(HELLO_WORDS))
        .nesting_limit(NESTING_LEVELS);
    options
}

pub(crate) async fn write_greeting<W: AsyncWrite + Unpin>(
    stream: &mut W,
    said: &Greeting,
) -> capnp::Result<()> {
    let mut message = Builder::new_default();
    let mut root = message.init_root::<schema::hello::Builder<'_>>();
    root.set_version(said.hello.version);
    root.set_cluster_id(&said.hello.cluster_id[..]);
    root.set_node(said.hello.node.0);
    root.set_to(said.to.0);
    root.set_incarnation(said.incarnation);
    root.set_session(said.session);
    root.set_lane(match said.lane {
        Lane::Control => schema::Lane::Control,
        Lane::Replication => schema::Lane::Replication,
        Lane::Bulk => schema::Lane::Bulk,
    });
    root.set_max_message_bytes(said.max_message_bytes);
    serialize::write_message(&mut *stream, &message).await?;
    Ok(stream.flush().await?)
}

pub(crate) async fn read_greeting<R: AsyncRead + Unpin>(stream: &mut R) -> capnp::Result<Greeting> {
    let message = serialize::read_message(stream, options()).await?;
    let root = message.get_root::<schema::hello::Reader<'_>>()?;
    let lane = match root.get_lane()? {
        schema::Lane::Control => Lane::Control,
        schema::Lane::Replication => Lane::Replication,
        schema::Lane::Bulk => Lane::Bulk,
    };
    Ok(Greeting {
        hello: Hello {
            cluster_id: root.get_cluster_id()?.to_str()?.into(),
            node: NodeId(root.get_node()),
            version: root.get_version(),
        },
        to: NodeId(root.get_to()),
        incarnation: root.get_incarnation(),
        session: root.get_session(),
        lane,
        max_message_bytes: root.get_max_message_bytes(),
    })
}

pub(crate) async fn write_welcome<W: AsyncWrite + Unpin>(
    stream: &mut W,
    said: &Welcome,
) -> capnp::Result<()> {
    let mut message = Builder::new_default();
    let mut root = message.init_root::<schema::welcome::Builder<'_>>();
    root.set_version(said.hello.version);
    root.set_cluster_id(&said.hello.cluster_id[..]);
    root.set_node(said.hello.node.0);
    root.set_refused(said.refused.as_deref().unwrap_or_default());
    root.set_max_message_bytes(said.max_message_bytes);
    serialize::write_message(&mut *stream, &message).await?;
    Ok(stream.flush().await?)
}

pub(crate) async fn read_welcome<R: AsyncRead + Unpin>(stream: &mut R) -> capnp::Result<Welcome> {
    let message = serialize::read_message(stream, options()).await?;
    let root = message.get_root::<schema::welcome::Reader<'_>>()?;
    let refused = root.get_refused()?.to_str()?;
    Ok(Welcome {
        hello: Hello {
            cluster_id: root.get_cluster_id()?.to_str()?.into(),
            node: NodeId(root.get_node()),
            version: root.get_version(),
        },
        refused: (!refused.is_empty()).then(|| refused.to_owned()),
        max_message_bytes: root.get_max_message_bytes(),
    })
}
