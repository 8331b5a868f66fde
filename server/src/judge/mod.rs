//! The black-box judge: drives any broker that speaks Kafka's protocol, and says which clauses of the contract of
//! brokers (`docs/contract/broker.md`) it keeps.
//!
//! It shares nothing with the broker of this crate: requests and answers go through the `kafka-protocol` crate, so that
//! an error in our own codecs cannot agree with itself. A check works on topics and groups of its own, whose names are
//! random, and deletes the topics in the end.

pub(crate) mod batch;
mod fetch;
mod groups;
mod idempotence;
pub(crate) mod log;
mod member;
mod names;
mod produce;
mod report;
pub(crate) mod subject;
mod times;
mod versions;
pub(crate) mod wire;

pub use report::{Line, Report, Status};
pub use subject::Subject;

use kafka_protocol::error::ResponseError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wire::Api;

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Clients lose or misread records, or cannot work, where it is broken.
    Must,
    /// A broker may have a reason, which its documents give.
    Should,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
        })
    }
}

/// What stands between a broker and a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

type Verdict = Result<(), Failure>;

/// One check of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The clause that it judges.
    pub clause: &'static str,
    /// What it says about a broker that passes.
    pub name: &'static str,
    /// How binding the clause is.
    pub level: Level,
    /// What the broker must offer for the check to apply.
    needs: &'static [Api],
    run: fn(&Subject) -> Verdict,
}

impl Check {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{} {}", self.clause, self.name)
    }
}

const fn must(
    clause: &'static str,
    name: &'static str,
    needs: &'static [Api],
    run: fn(&Subject) -> Verdict,
) -> Check {
    let level = Level::Must;
    Check {
        clause,
        name,
        level,
        needs,
        run,
    }
}

const fn should(
    clause: &'static str,
    name: &'static str,
    needs: &'static [Api],
    run: fn(&Subject) -> Verdict,
) -> Check {
    Check {
        level: Level::Should,
        ..must(clause, name, needs, run)
    }
}

/// Every check, in the order in which they run.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        versions::CHECKS,
        names::CHECKS,
        produce::CHECKS,
        idempotence::CHECKS,
        fetch::CHECKS,
        times::CHECKS,
        groups::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Runs the checks that `selects` takes, one after the other, and calls `done` for each. Topics that they made are
/// deleted in the end.
pub fn run(subject: &Subject, selects: &dyn Fn(&str) -> bool, done: &mut dyn FnMut(&Line)) -> Report {
    let mut report = Report::default();
    for check in checks().filter(|check| selects(&check.full_name())) {
        let start = subject.now();
        let status = match subject.lacks(check.needs) {
            Some(api) => Status::Skipped(format!("the broker does not offer {api}")),
            None => status_of(subject, check),
        };
        let line = Line {
            clause: check.clause,
            name: check.name,
            level: check.level,
            status,
            took: subject.now().saturating_sub(start),
        };
        done(&line);
        report.lines.push(line);
    }
    subject.clean();
    report
}

fn status_of(subject: &Subject, check: &Check) -> Status {
    match readable(|| (check.run)(subject)) {
        Ok(()) => Status::Passed,
        Err(failure) => Status::Failed(failure),
    }
}

/// What `read` gives; a decoder that panics over what a broker sent is a failure of this broker, not the end of the run.
pub(crate) fn readable<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let why = "an answer could not be read: the decoder panicked";
        Err(Failure(why.to_owned()))
    })
}

/// Fails with the evidence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($evidence:tt)+) => {
        if !$condition {
            return Err($crate::judge::Failure(format!($($evidence)+)));
        }
    };
}
pub(crate) use ensure;

/// The name of an error code.
pub(crate) fn named(code: i16) -> String {
    ResponseError::try_from_code(code).map_or_else(|| "no error".to_owned(), |error| format!("{error:?}"))
}

/// Fails unless the code says that all went well.
fn fine(what: &str, code: i16) -> Verdict {
    ensure!(code == 0, "{what}: {}", named(code));
    Ok(())
}

/// Fails unless the code is one of those that are right here.
fn refused(what: &str, code: i16, with: &[ResponseError]) -> Verdict {
    let right = with.iter().any(|error| error.code() == code);
    ensure!(right, "{what}: {}, and not {with:?}", named(code));
    Ok(())
}
