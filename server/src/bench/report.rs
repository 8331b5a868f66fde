//! What a run came to.

use super::tally::Tally;
use super::{Plan, Quantiles};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// Figures of a run. Counts are of all records, figures of those that were due after the warm time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Records that were due.
    pub due: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that were refused, or that no leader took.
    pub failed: u64,
    /// Records of which nobody knows whether they are stored.
    pub unknown: u64,
    /// Why records failed or are unknown, as it was said last.
    pub reason: Option<String>,
    /// Millions of bytes of values that were due in a second.
    pub wanted_mb_s: f64,
    /// How many were acknowledged in a second, until the last one.
    pub mb_s: f64,
    /// Acknowledged records that were measured.
    pub measured: usize,
    /// From the time when a record was due until it was acknowledged.
    pub latency_ms: Option<Quantiles>,
    /// From the time when a record was due until it was first sent.
    pub wait_ms: Option<Quantiles>,
    /// The part of that which is the generator's own: from when the first record of a request could have been sent, being
    /// due and having room among the requests under way, until it was.
    pub late_ms: Option<Quantiles>,
    /// What the generator took of one core, where the system tells.
    pub cpu_percent: Option<f64>,
    /// How much of the time it waited for a core, where the system tells.
    pub starved_percent: Option<f64>,
}

impl Report {
    pub(super) fn new(plan: &Plan, tally: Tally, share: Option<(f64, f64)>) -> Self {
        let measured = tally.latencies_us.len();
        let took = tally
            .last
            .max(plan.warm + plan.measured)
            .saturating_sub(plan.warm);
        Self {
            due: tally.due(),
            acknowledged: tally.acknowledged,
            failed: tally.failed,
            unknown: tally.unknown,
            reason: tally.reason,
            wanted_mb_s: plan.mb_s,
            mb_s: megabytes(measured, plan.record_bytes) / took.as_secs_f64(),
            measured,
            latency_ms: Quantiles::of(tally.latencies_us),
            wait_ms: Quantiles::of(tally.waits_us),
            late_ms: Quantiles::of(tally.late_us),
            cpu_percent: share.map(|(ran, _)| ran),
            starved_percent: share.map(|(_, waited)| waited),
        }
    }

    /// Whether there are acknowledged records, and no others.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.acknowledged > 0 && self.failed == 0 && self.unknown == 0
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "records: {} due, {} acknowledged, {} failed, {} unknown\n",
            self.due, self.acknowledged, self.failed, self.unknown
        );
        // Writing to a string does not fail.
        if let Some(reason) = &self.reason {
            let _ = writeln!(out, "not acknowledged: {reason}");
        }
        let _ = writeln!(out, "rate: {:.2} MB/s of {:.2}", self.mb_s, self.wanted_mb_s);
        let _ = writeln!(
            out,
            "latency of {} records from when they were due:",
            self.measured
        );
        line(&mut out, self.latency_ms.as_ref());
        out.push_str("sent after they were due:\n");
        line(&mut out, self.wait_ms.as_ref());
        out.push_str("of that, late by the generator alone:\n");
        line(&mut out, self.late_ms.as_ref());
        if let (Some(ran), Some(waited)) = (self.cpu_percent, self.starved_percent) {
            let _ = writeln!(
                out,
                "generator: {ran:.1} % of a core, {waited:.1} % of the time without one"
            );
        }
        out
    }
}

fn line(out: &mut String, quantiles: Option<&Quantiles>) {
    let Some(of) = quantiles else {
        return out.push_str("  none\n");
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "  p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, p99.99 {:.2} ms, max {:.2} ms",
        of.p50, of.p90, of.p99, of.p99_9, of.p99_99, of.max
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what a run writes is far below 2^52 bytes"
)]
fn megabytes(records: usize, bytes: usize) -> f64 {
    records as f64 * bytes as f64 / 1e6
}

/// How long this thread ran, and how long it could have but had no core, as Linux tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(Option<(Duration, Duration)>);

impl Share {
    pub(super) fn now() -> Self {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        Self(told.and_then(|told| {
            let mut cells = told.split_ascii_whitespace().map(str::parse);
            let (ran, waited) = (cells.next()?.ok()?, cells.next()?.ok()?);
            Some((Duration::from_nanos(ran), Duration::from_nanos(waited)))
        }))
    }

    /// Both in percent of the time since then.
    pub(super) fn since(self, took: Duration) -> Option<(f64, f64)> {
        let ((ran, waited), (ran_now, waited_now)) = (self.0?, Self::now().0?);
        let percent =
            |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / took.as_secs_f64() * 100.0;
        Some((percent(ran, ran_now), percent(waited, waited_now)))
    }
}
