//! What is held against the timestamps of records: look-ups by time, and what retention takes away.

use crate::access::{Access, Lost};
use crate::oracle::{Oracle, State, parsed};
use chronik_server::kafka::record::Records;
use chronik_server::kafka::record::compression::DecompressLimits;
use chronik_server::partition::{FoundOffset, Isolation, OffsetQuery, PartitionError, View};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A question about time, and its answer, which is judged when all records are known.
#[derive(Debug)]
pub(crate) struct Asked {
    node: u64,
    query: OffsetQuery,
    /// What the replica showed before it looked, and after.
    before: View,
    after: View,
    found: FoundOffset,
}

/// Asks one replica; true where it answered as a leader does.
pub(crate) async fn ask(
    (access, oracle): (&Access, &Oracle),
    node: u64,
    query: OffsetQuery,
) -> Result<bool, Lost> {
    let patience = Duration::from_secs(4);
    let answer = access.call(node, patience, |served| {
        Box::pin(async move {
            let before = served.partition.view();
            let isolation = Isolation::ReadUncommitted;
            let found = served.partition.list_offsets(query, isolation, None).await;
            (before, found, served.partition.view())
        })
    });
    let (before, found, after) = answer.await?;
    match found {
        Ok(found) => {
            oracle.on_found(Asked {
                node,
                query,
                before,
                after,
                found,
            });
            Ok(true)
        }
        Err(PartitionError::Unreadable(what)) => {
            oracle.violate("what-is-committed-is-readable", &*what);
            Ok(false)
        }
        Err(_) => Ok(false),
    }
}

impl Oracle {
    fn on_found(&self, asked: Asked) {
        self.marks.hit("look-ups by time");
        self.lock().asked.push(asked);
    }

    /// A time near that of some record at or after `offset`, to ask for.
    pub(crate) fn time_near(&self, offset: i64) -> Option<i64> {
        let state = self.lock();
        let (_, batch) = state.seen.range(offset..).next()?;
        parsed(batch).map(|batch| batch.max_timestamp_ms())
    }

    /// Holds the look-ups so far against all records that are known: the answer is the first record at or after the time
    /// of those that the replica had, from its log start to its high watermark.
    pub(crate) fn judge_look_ups(&self) {
        let mut state = self.lock();
        let asked = std::mem::take(&mut state.asked);
        if asked.is_empty() {
            return;
        }
        let times = times(&state);
        let wrong = asked
            .iter()
            .find_map(|asked| Some((asked, contradiction(asked, &times)?)));
        if let Some((asked, why)) = wrong {
            state.violate(
                "look-ups-by-time-are-right",
                format!("node {}: {why}; {asked:?}", asked.node),
            );
        }
    }

    /// These are not on the disk of a node any more, and in the tier alone. What was restored never was on a disk.
    pub(crate) fn on_local_gone(&self, node: u64, mut offsets: Range<i64>) {
        offsets.start = offsets.start.max(self.lock().restored);
        if offsets.is_empty() {
            return;
        }
        if let (Some(keep_ms), None) = (self.config.local_retention_ms, self.config.local_retention_bytes) {
            self.marks.hit("local data expired");
            // A replica that was brought up by a checkpoint shows its log start only when that is applied: until then, what
            // was deleted looks as if it had left the disk alone. Where retention deletes, nobody knows how far.
            if let Some(deleted) = self.deleted_below() {
                let start = offsets.start.max(deleted).min(offsets.end);
                self.on_expired(node, start..offsets.end, keep_ms);
            }
        }
    }

    /// Retention by time never takes what is younger, from the whole log or from a local disk; `offsets` are gone.
    pub(crate) fn on_expired(&self, node: u64, offsets: Range<i64>, keep_ms: i64) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        if let Some((base, time)) = state.youngest(offsets.clone())
            && now_ms - time <= keep_ms
        {
            let what = format!(
                "node {node} has dropped {offsets:?}, at {base} a batch of {} ms ago; it keeps {keep_ms} ms",
                now_ms - time
            );
            state.violate("what-is-young-is-kept", what);
        }
    }
}

impl State {
    /// The youngest batch of those that begin in a range: its base offset and its greatest timestamp.
    pub(crate) fn youngest(&self, offsets: Range<i64>) -> Option<(i64, i64)> {
        let seen = self.seen.range(offsets.clone());
        let acked = self
            .acked
            .range(offsets)
            .map(|(base, acked)| (base, &acked.batch));
        let times = seen
            .chain(acked)
            .filter_map(|(base, batch)| Some((*base, parsed(batch)?.max_timestamp_ms())));
        times.max_by_key(|(_, time)| *time)
    }
}

/// The timestamp of every record that was seen or acknowledged, by its offset.
fn times(state: &State) -> BTreeMap<i64, i64> {
    let acked = state.acked.iter().map(|(base, acked)| (base, &acked.batch));
    let mut times = BTreeMap::new();
    for (base, bytes) in acked.chain(&state.seen) {
        let Some(batch) = parsed(bytes) else {
            continue;
        };
        let mut expanded = Vec::new();
        let records = Records::open(&batch, DecompressLimits::STORED, &mut expanded);
        let records = records.into_iter().flatten().flatten();
        // The offsets of a batch as it was sent are those within it.
        let sent_at = batch.base_offset();
        times.extend(records.map(|record| (base + record.offset - sent_at, record.timestamp_ms)));
    }
    times
}

/// Why an answer is wrong.
fn contradiction(asked: &Asked, times: &BTreeMap<i64, i64>) -> Option<String> {
    let Asked {
        before, after, found, ..
    } = asked;
    let (time, is_maximum) = match asked.query {
        OffsetQuery::AtOrAfter(time) => (time, false),
        _ => (found.timestamp_ms + 1, true),
    };
    if found.offset >= 0 {
        if found.offset < before.log_start.0 || found.offset >= after.high_watermark.0 {
            return Some("the offset is not in the log".to_owned());
        }
        let known = times.get(&found.offset);
        if known.is_some_and(|known| *known != found.timestamp_ms)
            || (!is_maximum && found.timestamp_ms < time)
        {
            return Some(format!("the record there is of {known:?}"));
        }
    }
    let end = match is_maximum || found.offset < 0 {
        true => before.high_watermark.0,
        false => found.offset,
    };
    let missed = times.range(after.log_start.0..end.max(after.log_start.0));
    let mut missed = missed.filter(|(_, at)| **at >= time);
    missed
        .next()
        .map(|(offset, at)| format!("it missed the record at {offset}, of {at}"))
}
