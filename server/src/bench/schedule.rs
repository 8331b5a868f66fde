//! When each record is due.

use super::{Plan, Stopped};
use std::time::Duration;

/// The most records of a run, which remembers two numbers of each.
const RECORDS_MAX: f64 = 100_000_000.0;
/// The largest value, which leaves room for what surrounds it in a request.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// A batch of several records holds at most so many bytes, which is below the limit that topics have by default.
const BATCH_BYTES_MAX: usize = 900_000;
/// What surrounds a value in a batch, at most.
const AROUND_BYTES: usize = 24;

/// Records at equal distances, from the start of the run on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Records a second.
    rate: f64,
    /// How many records there are.
    pub(super) count: u64,
    /// The first one that is measured.
    pub(super) measured_from: u64,
    /// The most that one batch takes.
    pub(super) batch_max: usize,
}

impl Schedule {
    /// What a plan comes to.
    ///
    /// # Errors
    /// Says what is wrong with the plan.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are positive and below RECORDS_MAX"
    )]
    pub(super) fn of(plan: &Plan) -> Result<Self, Stopped> {
        let wrong = |what: &str| Err(Stopped::Plan(what.to_owned()));
        if !(plan.mb_s.is_finite() && plan.mb_s > 0.0) {
            return wrong("the rate must be more than 0 MB/s");
        }
        if !(1..=RECORD_BYTES_MAX).contains(&plan.record_bytes) {
            return wrong("a record has between 1 byte and 64 MiB");
        }
        if plan.in_flight_max == 0 {
            return wrong("at least one request must be under way");
        }
        let rate = plan.mb_s * 1e6 / plan.record_bytes as f64;
        let (warm, all) = (plan.warm.as_secs_f64(), (plan.warm + plan.measured).as_secs_f64());
        if plan.measured.is_zero() || all * rate < 1.0 {
            return wrong("no record is due in this time: give it more seconds, or a higher rate");
        }
        if all * rate > RECORDS_MAX {
            return wrong("these are more than 100 million records: take fewer seconds or larger records");
        }
        Ok(Self {
            rate,
            count: (all * rate) as u64,
            measured_from: (warm * rate).ceil() as u64,
            batch_max: (BATCH_BYTES_MAX / (plan.record_bytes + AROUND_BYTES)).max(1),
        })
    }

    /// When a record is due, from the start on.
    #[expect(clippy::cast_precision_loss, reason = "counts are below RECORDS_MAX")]
    pub(super) fn due(&self, record: u64) -> Duration {
        Duration::from_secs_f64(record as f64 / self.rate)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn plan() -> Plan {
        Plan {
            bootstrap: Vec::new(),
            topic: "t".to_owned(),
            partition: 0,
            mb_s: 1.0,
            record_bytes: 1000,
            measured: Duration::from_secs(2),
            warm: Duration::from_secs(1),
            acks: -1,
            in_flight_max: 5,
        }
    }

    #[test]
    fn records_are_due_at_equal_distances_and_those_of_the_warm_time_are_not_measured() {
        let schedule = Schedule::of(&plan()).unwrap();
        assert_eq!((schedule.count, schedule.measured_from), (3000, 1000));
        for (record, due_ms) in [(0, 0), (1, 1), (1000, 1000), (2999, 2999)] {
            assert_eq!(schedule.due(record).as_micros(), due_ms * 1000, "record {record}");
        }
        assert_eq!(schedule.batch_max, 878);
    }

    #[test]
    fn senseless_plans_are_refused() {
        let mb_s = |mb_s| Plan { mb_s, ..plan() };
        let record_bytes = |record_bytes| Plan {
            record_bytes,
            ..plan()
        };
        let measured = |s| Plan {
            measured: Duration::from_secs(s),
            ..plan()
        };
        let none = Plan {
            in_flight_max: 0,
            ..plan()
        };
        for bad in [
            mb_s(0.0),
            mb_s(-1.0),
            mb_s(f64::NAN),
            mb_s(f64::INFINITY),
            mb_s(1e-9),
            record_bytes(0),
            record_bytes(65 << 20),
            measured(0),
            measured(1_000_000),
            none,
        ] {
            assert!(matches!(Schedule::of(&bad), Err(Stopped::Plan(_))), "{bad:?}");
        }
    }
}
