//! Names and contracts shared by every part of Chronik.
//!
//! The crate holds no I/O and no runtime. It defines what the three replaceable parts promise to each other:
//!
//! - [`log_store`]: the node's store of replicated logs ([`LogStore`], [`LogWriter`], [`LogReader`]);
//! - [`consensus`]: the engine that turns proposals into a committed log ([`Consensus`], [`ConsensusGroup`]);
//! - [`transport`]: ordered, bounded messages between nodes ([`Transport`]).
//!
//! Every guarantee carries a clause id (`LS-...`, `CS-...`, `TR-...`) that stands in `docs/contract/`.
//! [`fs`] is the file-system seam below a store and [`mod@env`] the seam to time, randomness, tasks and disk
//! threads, so that whole nodes run under a simulator.

pub mod consensus;
pub mod entry;
pub mod env;
pub mod error;
pub mod fs;
pub mod ids;
pub mod log_store;
pub mod proposal;
pub mod ticket;
pub mod transport;
pub mod watch;

pub use consensus::{Consensus, ConsensusGroup};
pub use entry::{Entry, EntryKind, EntryMeta};
pub use env::Env;
pub use error::{ErrorClass, LogError};
pub use fs::{File, FileSystem};
pub use ids::{GroupId, LogId, LogIndex, NodeId, Offset, ReplicaId, Term};
pub use log_store::{GroupLog, LogReader, LogStore, LogWriter};
pub use proposal::{Outcome, Proposal, ProposalHandle};
pub use ticket::Ticket;
pub use transport::Transport;
pub use watch::Watch;

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
