//! What a check is and what it says.

use crate::world::{Seed, locked};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A backend that does not keep it must not be used.
    Must,
    /// A backend may have a reason, which its documents give.
    Should,
}

/// What stands between a backend and a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl Failure {
    /// A failure with its evidence.
    #[must_use]
    pub fn new(evidence: impl Into<String>) -> Self {
        Self(evidence.into())
    }

    /// The same failure, told where it happened.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<crate::world::env::Stuck> for Failure {
    fn from(stuck: crate::world::env::Stuck) -> Self {
        Self(stuck.to_string())
    }
}

/// The answer of a check.
pub type Verdict = Result<(), Failure>;

/// Fails with the evidence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($evidence:tt)+) => {
        if !$condition {
            return Err($crate::check::Failure::new(format!($($evidence)+)));
        }
    };
}
pub(crate) use ensure;

/// Counts of interesting things that happened, so that a check that met none of them is known to say nothing.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    counts: Arc<Mutex<BTreeMap<Cow<'static, str>, u64>>>,
}

impl Marks {
    /// How the evidence of a check begins that met nothing of what it wanted to look at.
    pub(crate) const VACUOUS: &str = "vacuous: ";

    /// The mark of a check that needs a capability which the subject does not declare: nothing was judged then.
    pub(crate) const NOT_DECLARED: &str = "not declared";

    /// The mark of a check of growth from one voter where the engine changes memberships, and refuses that by name.
    pub(crate) const REFUSES_GROWTH: &str = "growth from one refused";

    /// Counts the random runs that a check looked at, in the order of their seeds, up to the first that breaks its clause.
    pub const SEEDS: &str = "seeds";

    /// Counts the random runs that were made; several checks may look at one.
    pub const RUNS: &str = "runs played";

    /// Counts one.
    pub fn hit(&self, mark: &'static str) {
        self.add(mark, 1);
    }

    /// Counts several.
    pub fn add(&self, mark: impl Into<Cow<'static, str>>, count: u64) {
        *locked(&self.counts).entry(mark.into()).or_default() += count;
    }

    /// Adds the counts of others.
    pub fn merge(&self, other: &Self) {
        let counts = locked(&other.counts).clone();
        for (mark, count) in counts {
            self.add(mark, count);
        }
    }

    /// All counts.
    pub(crate) fn counts(&self) -> Vec<(Cow<'static, str>, u64)> {
        let counts = locked(&self.counts);
        counts
            .iter()
            .map(|(mark, count)| (mark.clone(), *count))
            .collect()
    }

    /// How often `mark` was hit.
    #[must_use]
    pub fn count(&self, mark: &str) -> u64 {
        locked(&self.counts).get(mark).copied().unwrap_or(0)
    }

    /// Fails unless every one of `marks` was hit.
    ///
    /// # Errors
    /// Names the mark that was missed.
    pub fn require(&self, marks: &[&str]) -> Verdict {
        match marks.iter().find(|mark| self.count(mark) == 0) {
            Some(mark) => Err(Failure(format!("{}\"{mark}\" never happened", Self::VACUOUS))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = locked(&self.counts);
        let list: Vec<String> = counts
            .iter()
            .map(|(mark, count)| format!("{mark} {count}"))
            .collect();
        f.write_str(&list.join(", "))
    }
}

/// A future that stays on its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a check does.
pub type Body<'a> = Box<dyn Fn(Seed, &Marks) -> Verdict + Send + Sync + 'a>;

/// One check, ready to run.
pub struct Trial<'a> {
    /// The clause that it judges.
    pub clause: &'static str,
    /// What it says about a backend that passes.
    pub name: &'static str,
    /// How binding the clause is.
    pub level: Level,
    /// Why its author does not want it to be run on this backend, where that is so.
    pub disabled: Option<String>,
    /// The capability that the backend would have to declare, where it does not.
    pub skip: Option<String>,
    /// Runs it.
    pub run: Body<'a>,
}

impl Trial<'_> {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.clause, self.name)
    }
}

impl fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trial").field(&self.full_name()).finish()
    }
}
