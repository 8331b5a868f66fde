//! An open-loop generator of load: each record has a time at which it is due, whatever became of those before it, and its
//! latency counts from there. A broker that stands still for a second is thereby seen by all records of that second, and
//! not by the one that waited for it (coordinated omission).
//!
//! All of it runs on one thread. Requests and answers are those of the judge, through the `kafka-protocol` crate.

mod leader;
mod link;
mod quantiles;
mod report;
mod run;
mod schedule;
mod tally;

pub use quantiles::Quantiles;
pub use report::Report;
pub use run::produce;

use crate::judge::Failure;
use std::fmt;
use std::time::Duration;

/// What to write, where, and how fast.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses, `HOST:PORT`, of brokers that tell who leads.
    pub bootstrap: Vec<String>,
    /// The topic, which must exist.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Millions of bytes of values that are due in a second.
    pub mb_s: f64,
    /// The size of each record's value.
    pub record_bytes: usize,
    /// How long records are due that are measured.
    pub measured: Duration,
    /// How long records are due before them: connections and files come to be.
    pub warm: Duration,
    /// What Kafka calls acks: -1 is all, 1 is the leader.
    pub acks: i16,
    /// The most requests under way at once.
    pub in_flight_max: usize,
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The plan makes no sense.
    Plan(String),
    /// No broker answers.
    Unreachable(String),
    /// There is nothing to write to.
    Refused(String),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(why) | Self::Unreachable(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Stopped {}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Unreachable(failure.0)
    }
}
