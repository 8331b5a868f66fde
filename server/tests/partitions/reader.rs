//! Consumers, who read from whatever replica answers, and those who delete records.

use crate::access::{Access, Lost};
use crate::oracle::{Before, Oracle};
use crate::plan::Plan;
use crate::times;
use chronik_conformance::world::Prng;
use chronik_server::kafka::record::BatchView;
use chronik_server::partition::{FetchQuery, Fetched, Isolation, OffsetQuery, PartitionError};
use std::time::Duration;

/// Fetches of consumers that start somewhere else before they read on.
const READS: u64 = 12;

/// What a fetch of one replica showed.
pub(crate) enum Shown {
    Records(Fetched),
    /// The offset is not in the log, which starts there.
    OutOfRange {
        log_start: i64,
    },
    Failed(PartitionError),
}

/// One fetch, judged.
pub(crate) async fn fetch(
    (access, oracle): (&Access, &Oracle),
    node: u64,
    (offset, max_bytes): (i64, u64),
) -> Result<Shown, Lost> {
    let judge = oracle.clone();
    let patience = Duration::from_secs(4);
    let answer = access.call(node, patience, |served| {
        Box::pin(async move {
            let view = served.partition.view();
            let local_start = served.partition.log_state().offset_start.0;
            let before = judge.before(served.at, view, local_start);
            let query = FetchQuery {
                offset,
                max_bytes,
                min_one_batch: true,
                isolation: Isolation::ReadUncommitted,
                leader_epoch: None,
                last_fetched_epoch: None,
                follower_read: true,
            };
            let fetched = served.partition.fetch(query).await;
            (before, fetched, served.partition.view().log_start.0)
        })
    });
    let (before, fetched, log_start): (Before, Result<Fetched, PartitionError>, i64) = answer.await?;
    Ok(match fetched {
        Ok(fetched) => {
            oracle.on_fetched(&before, offset, &fetched);
            Shown::Records(fetched)
        }
        Err(PartitionError::OffsetOutOfRange) => {
            oracle.on_out_of_range(&before, offset, log_start);
            Shown::OutOfRange { log_start }
        }
        Err(error) => Shown::Failed(error),
    })
}

/// The offset after the records of an answer, or `offset` where there are none.
pub(crate) fn end_of(fetched: &Fetched, offset: i64) -> i64 {
    let mut end = offset;
    for slice in &fetched.records {
        let mut rest = &slice[..];
        while let Ok(batch) = BatchView::parse(rest) {
            end = batch.last_offset() + 1;
            rest = &rest[batch.size()..];
            if rest.is_empty() {
                break;
            }
        }
    }
    end
}

/// Starts the consumers of a plan.
pub(crate) fn start(plan: &Plan, access: &Access, oracle: &Oracle) {
    for number in 0..3 {
        let reader = Reader {
            access: access.clone(),
            oracle: oracle.clone(),
            prng: plan.seed.child("reader").nth(number).prng(),
            tails: number == 0,
            pause: plan.client_pause,
        };
        access.env.spawn.spawn("reader", Box::pin(reader.run()));
    }
}

struct Reader {
    access: Access,
    oracle: Oracle,
    prng: Prng,
    /// Whether it reads from the start to the end, or here and there.
    tails: bool,
    pause: Duration,
}

impl Reader {
    async fn run(mut self) {
        let mut position = 0;
        let mut reads = 0;
        let mut node = self.prng.between(1, self.access.nodes);
        while self.access.is_read() {
            if !self.tails && reads >= READS {
                let somewhere = self.prng.below(self.oracle.seen_end().max(1) as u64);
                // In the middle of a batch, or where one begins.
                position = match self.prng.chance(50) {
                    true => somewhere as i64,
                    false => self.oracle.acked_near(somewhere as i64).unwrap_or(0),
                };
                reads = 0;
            }
            if self.prng.chance(20) {
                node = self.prng.between(1, self.access.nodes);
            }
            reads += 1;
            if self.prng.chance(15) {
                let query = look_up(&self.oracle, &mut self.prng);
                // Who does not lead says so.
                let _ = times::ask((&self.access, &self.oracle), node, query).await;
            }
            let max_bytes = [0, 500, 4000, 1 << 20][self.prng.index(4)];
            let shown = fetch((&self.access, &self.oracle), node, (position, max_bytes)).await;
            match shown {
                Ok(Shown::Records(fetched)) => position = end_of(&fetched, position),
                Ok(Shown::OutOfRange { log_start }) => position = position.max(log_start),
                Ok(Shown::Failed(PartitionError::Storage(_))) => {
                    self.oracle.marks.hit("reads that the disk or the bucket failed");
                    node = self.access.next(node, None);
                }
                Ok(Shown::Failed(PartitionError::Unreadable(what))) => {
                    self.oracle.violate("what-is-committed-is-readable", &*what);
                }
                _ => node = self.access.next(node, None),
            }
            let most = u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX);
            let pause = Duration::from_micros(self.prng.below(most) + 500);
            self.access.env.clock.sleep(pause).await;
        }
    }
}

/// A question about time: mostly for one at which there are records.
pub(crate) fn look_up(oracle: &Oracle, prng: &mut Prng) -> OffsetQuery {
    if prng.chance(10) {
        return OffsetQuery::MaxTimestamp;
    }
    let somewhere = prng.below(oracle.seen_end().max(1) as u64);
    let near = oracle.time_near(somewhere as i64).unwrap_or_default();
    OffsetQuery::AtOrAfter((near + prng.below(5) as i64 - 2).max(0))
}

/// Asks every node in turn to delete the records below `to`, until one leads.
pub(crate) async fn delete_records(access: Access, oracle: Oracle, to: i64) {
    oracle.on_delete_asked(to);
    for node in 1..=access.nodes {
        let asked = access.call(node, Duration::from_secs(2), |served| {
            Box::pin(async move { served.partition.delete_records(to).await })
        });
        match asked.await {
            Ok(Ok(start)) if start >= to => {
                oracle.marks.hit("deletes answered");
                return;
            }
            Ok(Ok(start)) => {
                let what = format!("records below {to} were deleted, and the log starts at {start}");
                oracle.violate("what-is-deleted-is-gone", what);
            }
            Ok(Err(_)) | Err(Lost) => {}
        }
    }
}

/// Reads all that a replica has, and holds it against what was acknowledged.
///
/// # Errors
/// Why it could not be read to its end.
pub(crate) async fn sweep(access: Access, oracle: Oracle, node: u64) -> Result<(i64, i64), String> {
    let (mut start, mut position, mut failures) = (None, 0, 0);
    loop {
        let why = match fetch((&access, &oracle), node, (position, 20_000)).await {
            Ok(Shown::Records(fetched)) => {
                let first = *start.get_or_insert(fetched.log_start_offset);
                let next = end_of(&fetched, position);
                if next == position && position >= fetched.high_watermark {
                    oracle.on_swept(node, first, position);
                    return Ok((first, position));
                }
                position = next;
                continue;
            }
            Ok(Shown::OutOfRange { log_start }) if log_start > position => {
                (start, position) = (Some(log_start), log_start);
                continue;
            }
            Ok(Shown::OutOfRange { log_start }) => format!("out of range, the log starts at {log_start}"),
            Ok(Shown::Failed(error)) => error.to_string(),
            Err(Lost) => "no answer".to_owned(),
        };
        failures += 1;
        if failures > 20 {
            return Err(format!("node {node} at {position}: {why}"));
        }
        access.env.clock.sleep(Duration::from_millis(300)).await;
    }
}
