//! What the process is doing, for those who ask from outside.

use super::node::Node;
use chronik_core::Watch;
use std::sync::Arc;

/// What a server process is doing.
#[derive(Clone, Debug)]
pub enum Phase {
    /// It opens its parts; the text says which.
    Starting(&'static str),
    /// It serves clients.
    Serving(Arc<Node>),
    /// It answers what it has taken in, and takes nothing more.
    Draining(Arc<Node>),
}

impl Phase {
    /// The name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Serving(_) => "serving",
            Self::Draining(_) => "draining",
        }
    }

    /// The node, once it is open.
    #[must_use]
    pub const fn node(&self) -> Option<&Arc<Node>> {
        match self {
            Self::Starting(_) => None,
            Self::Serving(node) | Self::Draining(node) => Some(node),
        }
    }
}

/// The phase of this process: whoever starts and stops it moves it on, everybody may look.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    phase: Watch<Phase>,
}

impl Lifecycle {
    /// A process that has just begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Watch::new(Phase::Starting("reading its configuration")),
        }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The start has come this far.
    pub fn starting(&self, step: &'static str) {
        self.set(Phase::Starting(step));
    }

    /// Clients are served from now on.
    pub fn serving(&self, node: Arc<Node>) {
        self.set(Phase::Serving(node));
    }

    /// The process was told to stop.
    pub fn draining(&self) {
        self.phase.update(|phase| {
            if let Phase::Serving(node) = phase {
                *phase = Phase::Draining(Arc::clone(node));
            }
            true
        });
    }

    fn set(&self, next: Phase) {
        self.phase.update(|phase| {
            *phase = next;
            true
        });
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}
