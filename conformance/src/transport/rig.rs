//! What a check needs from the world in which transports run.

use crate::check::{LocalFuture, Verdict};
use crate::world::net::Way;
use chronik_core::env::Env;
use chronik_core::transport::TransportFactory;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The world of one check.
pub trait Rig: Send + Sync {
    /// Time and tasks for the check itself.
    fn env(&self) -> Env;

    /// A process that binds transports.
    fn process(&self) -> Box<dyn Process>;

    /// A process that binds transports with TLS and shows this certificate; `None` where the subject has no TLS.
    fn secured(&self, certificate: Certificate) -> Option<Box<dyn Process>> {
        let _ = certificate;
        None
    }

    /// Runs the check; a check that does not end is a failure.
    fn run(&self, check: LocalFuture<'_, Verdict>) -> Verdict;

    /// A wire that leads to `to`.
    fn wire(&self, to: SocketAddr) -> Arc<dyn Wire>;

    /// Connects to a listener and sends bytes that are no transport's.
    fn send_garbage(&self, to: SocketAddr, bytes: &[u8]);

    /// How much later than promised something may happen on a machine that does other things.
    fn slack(&self) -> Duration;

    /// How long checks look for something that shall not happen, or shall not happen too often.
    fn patience(&self) -> Duration;
}

/// What a process shows to its peers, and whom it trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// It has a certificate of the cluster's authority, and trusts that one.
    OfTheCluster,
    /// It has one of another authority, and trusts that one.
    OfAnother,
    /// It has one of another authority, and trusts the cluster's.
    OfAnotherTrustingTheCluster,
    /// It has none: its TLS is off.
    Missing,
}

/// A process of the subject.
pub trait Process: Send + Sync {
    /// What binds its transports.
    fn factory(&self) -> &dyn TransportFactory;

    /// The tasks of the subject that run, where the world can tell.
    fn tasks(&self) -> Option<Vec<&'static str>>;
}

/// Damage on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// A bit is turned.
    Flip,
    /// The connection ends in the middle of a message.
    Cut,
}

/// A place on the way to a listener where things happen.
pub trait Wire: Send + Sync {
    /// What a peer's address book says.
    fn address(&self) -> String;

    /// Leads elsewhere from the next connection attempt on.
    fn point_to(&self, to: SocketAddr);

    /// Holds back what passes one way, or lets it pass again, nothing lost.
    fn hold(&self, way: Way, on: bool);

    /// Refuses connections, or takes them again.
    fn refuse(&self, on: bool);

    /// Breaks the connections.
    fn reset(&self);

    /// Harms what passes next, or not any more.
    fn harm(&self, harm: Option<Harm>);

    /// Lets bytes pass one at a time, or together again.
    fn dribble(&self, on: bool);

    /// How many connection attempts there were.
    fn attempts(&self) -> u64;
}
