//! One proposal on its way through consensus: its stages and its three-valued outcome.

use crate::entry::EntryKind;
use crate::error::LogError;
use crate::ids::{LogId, Offset, ReplicaId};
use bytes::BytesMut;
use event_listener::Event;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is proposed: an entry that has no place in the log yet.
#[derive(Debug)]
pub struct Proposal {
    /// [`EntryKind::Data`] or [`EntryKind::Command`]; the others are consensus' own.
    pub kind: EntryKind,
    /// The bytes; for data, record batches that the engine's stamper gives their base offset and leader epoch.
    pub payload: BytesMut,
    /// How many Kafka offsets the entry occupies.
    pub record_count: u32,
    /// The largest record timestamp, or -1.
    pub max_timestamp_ms: i64,
}

/// Where a proposal was put in the log of its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Term and index.
    pub id: LogId,
    /// The offset of its first record.
    pub base_offset: Offset,
}

/// Why a proposal was refused before it entered the log. It has no effect, now or later (CS-LIN-04).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// This replica does not lead.
    NotLeader {
        /// Who does, where that is known.
        leader: Option<ReplicaId>,
    },
    /// Too much is in flight; try again later.
    Overloaded,
    /// The log refused it: too large, or the disk is full.
    Log(LogError),
    /// The group is closed.
    Closed,
}

/// How a proposal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed: durable on a quorum, and in the log for ever.
    Committed(Appended),
    /// It is not in the log and will never be.
    NotCommitted(ProposeError),
    /// Nobody knows: it may be committed, now or later. Never reported as either of the others (CS-LIN-04).
    Unknown(Arc<str>),
}

#[derive(Debug, Default)]
struct Stages {
    appended: Option<Appended>,
    durable: bool,
    outcome: Option<Outcome>,
}

struct Cell {
    stages: Mutex<Stages>,
    moved: Event,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proposer's view. Cancel safety: dropping it cancels nothing.
pub struct ProposalHandle {
    cell: Arc<Cell>,
}

/// The engine's end. Dropped before it was finished, it reports an unknown outcome where the entry was appended,
/// and a closed group where it was not.
pub struct ProposalSender {
    cell: Arc<Cell>,
}

impl ProposalHandle {
    /// A handle and the end that moves it.
    #[must_use]
    pub fn pair() -> (ProposalSender, Self) {
        let cell = Arc::new(Cell {
            stages: Mutex::new(Stages::default()),
            moved: Event::new(),
        });
        (
            ProposalSender {
                cell: Arc::clone(&cell),
            },
            Self { cell },
        )
    }

    /// Waits until the leader's log has the entry; readable there, promised to nobody.
    ///
    /// # Errors
    /// The outcome, where the proposal ended before it was appended.
    pub async fn appended(&self) -> Result<Appended, Outcome> {
        self.wait(|stages| match (&stages.appended, &stages.outcome) {
            (Some(appended), _) => Some(Ok(*appended)),
            (None, Some(outcome)) => Some(Err(outcome.clone())),
            (None, None) => None,
        })
        .await
    }

    /// Waits until the entry is durable on the leader (Kafka: acks=1). A later leader may still remove it.
    ///
    /// # Errors
    /// The outcome, where the proposal ended before that.
    pub async fn durable(&self) -> Result<Appended, Outcome> {
        self.wait(
            |stages| match (&stages.appended, stages.durable, &stages.outcome) {
                (Some(appended), true, _) => Some(Ok(*appended)),
                (_, _, Some(Outcome::Committed(appended))) => Some(Ok(*appended)),
                (_, _, Some(outcome)) => Some(Err(outcome.clone())),
                _ => None,
            },
        )
        .await
    }

    /// Waits for the end.
    pub async fn outcome(&self) -> Outcome {
        self.wait(|stages| stages.outcome.clone()).await
    }

    /// The outcome, if there is one yet.
    #[must_use]
    pub fn peek(&self) -> Option<Outcome> {
        self.cell.lock().outcome.clone()
    }

    async fn wait<T>(&self, mut look: impl FnMut(&Stages) -> Option<T>) -> T {
        loop {
            let found = look(&self.cell.lock());
            if let Some(value) = found {
                return value;
            }
            let listener = self.cell.moved.listen();
            let found = look(&self.cell.lock());
            if let Some(value) = found {
                return value;
            }
            listener.await;
        }
    }
}

impl ProposalSender {
    /// The entry is in the leader's log.
    pub fn appended(&self, appended: Appended) {
        self.cell.lock().appended = Some(appended);
        self.cell.moved.notify(usize::MAX);
    }

    /// The entry is durable on the leader.
    pub fn durable(&self) {
        self.cell.lock().durable = true;
        self.cell.moved.notify(usize::MAX);
    }

    /// The end. The first outcome stands.
    pub fn finish(self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&self, outcome: Outcome) {
        self.cell.lock().outcome.get_or_insert(outcome);
        self.cell.moved.notify(usize::MAX);
    }
}

impl Drop for ProposalSender {
    fn drop(&mut self) {
        let appended = self.cell.lock().appended.is_some();
        self.end(if appended {
            Outcome::Unknown("the engine stopped before the outcome was known".into())
        } else {
            Outcome::NotCommitted(ProposeError::Closed)
        });
    }
}

impl fmt::Debug for ProposalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.lock().fmt(f)
    }
}

impl fmt::Debug for ProposalSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.lock().fmt(f)
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => write!(f, "not the leader; replica {leader} is"),
            Self::NotLeader { leader: None } => write!(f, "not the leader; nobody is known to be"),
            Self::Overloaded => write!(f, "too many proposals in flight"),
            Self::Log(error) => write!(f, "{error}"),
            Self::Closed => write!(f, "the group is closed"),
        }
    }
}

impl std::error::Error for ProposeError {}
