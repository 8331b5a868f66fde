//! What became of the records.

use super::schedule::Schedule;
use std::collections::VecDeque;
use std::time::Duration;

/// Records of one request that is under way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) correlation: i32,
    pub(super) records: Vec<u64>,
}

/// What became of the records so far. Each is either still to be sent, or in one of the counts, or in a [`Sent`].
#[derive(Debug)]
pub(super) struct Tally {
    schedule: Schedule,
    /// The first record that was never sent.
    next: u64,
    /// Records that a broker refused without having stored them, for now.
    again: VecDeque<u64>,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// From the time when it was due until it was acknowledged, of each measured record.
    pub(super) latencies_us: Vec<u32>,
    /// From the time when it was due until it was first sent, of each measured record.
    pub(super) waits_us: Vec<u32>,
    /// From the time when it could have been sent until it was first sent, of each measured request.
    pub(super) late_us: Vec<u32>,
    /// When the last measured record was acknowledged.
    pub(super) last: Duration,
    /// Why records failed or are unknown, as it was said last.
    pub(super) reason: Option<String>,
}

impl Tally {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            next: 0,
            again: VecDeque::new(),
            acknowledged: 0,
            failed: 0,
            unknown: 0,
            latencies_us: Vec::new(),
            waits_us: Vec::new(),
            late_us: Vec::new(),
            last: Duration::ZERO,
            reason: None,
        }
    }

    /// When the next record is due, from the start on; `None` where all were sent.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let next = self.again.front().copied().unwrap_or(self.next);
        (next < self.schedule.count).then(|| self.schedule.due(next))
    }

    /// Takes what is due at `now`, at most a batch of it; `ready` is since when it could have been taken.
    pub(super) fn take(&mut self, now: Duration, ready: Duration) -> Vec<u64> {
        let mut taken: Vec<u64> = Vec::new();
        while taken.len() < self.schedule.batch_max {
            if let Some(record) = self.again.pop_front() {
                taken.push(record);
                continue;
            }
            let due = self.schedule.due(self.next);
            if self.next >= self.schedule.count || due > now {
                break;
            }
            if self.next >= self.schedule.measured_from {
                if taken.is_empty() {
                    self.late_us.push(us(now.saturating_sub(due.max(ready))));
                }
                self.waits_us.push(us(now.saturating_sub(due)));
            }
            taken.push(self.next);
            self.next += 1;
        }
        taken
    }

    /// These were acknowledged at `now`.
    pub(super) fn acknowledge(&mut self, records: &[u64], now: Duration) {
        for record in records {
            self.acknowledged += 1;
            if *record >= self.schedule.measured_from {
                let due = self.schedule.due(*record);
                self.latencies_us.push(us(now.saturating_sub(due)));
                self.last = now;
            }
        }
    }

    /// These were refused for good.
    pub(super) fn fail(&mut self, records: &[u64], reason: String) {
        self.failed += count(records.len());
        self.reason = Some(reason);
    }

    /// Nobody knows whether these are stored.
    pub(super) fn lose_sight_of(&mut self, records: &[u64], reason: &str) {
        if !records.is_empty() {
            self.unknown += count(records.len());
            self.reason = Some(reason.to_owned());
        }
    }

    /// These are sent again.
    pub(super) fn send_again(&mut self, records: Vec<u64>) {
        self.again.extend(records);
    }

    /// What could not be sent until the end has failed.
    pub(super) fn give_up(&mut self, reason: String) {
        let left = count(self.again.len()) + (self.schedule.count - self.next);
        self.again.clear();
        self.next = self.schedule.count;
        if left > 0 {
            self.failed += left;
            self.reason = Some(reason);
        }
    }

    /// How many records of the plan there are.
    pub(super) const fn due(&self) -> u64 {
        self.schedule.count
    }
}

/// Microseconds; what takes more than an hour is far beyond what a run waits for.
fn us(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn count(length: usize) -> u64 {
    // A length is at most 64 bits wide.
    length as u64
}

#[cfg(test)]
mod tests {
    use super::super::schedule::tests::plan;
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_due_at_the_same_time_goes_into_one_batch_and_latency_counts_from_when_it_was_due() {
        let mut tally = Tally::new(Schedule::of(&plan()).unwrap());
        assert_eq!(tally.next_due(), Some(at(0)));
        // Everything stood still for the warm second and three milliseconds more.
        let first = tally.take(at(1003), at(1003));
        assert_eq!(first.len(), 878);
        let rest = tally.take(at(1003), at(1003));
        assert_eq!(rest, (878..=1003).collect::<Vec<_>>());
        assert_eq!(tally.next_due(), Some(at(1004)));
        tally.acknowledge(&first, at(1005));
        tally.acknowledge(&rest, at(1010));
        assert_eq!(tally.acknowledged, 1004);
        assert_eq!(tally.latencies_us, [10_000, 9000, 8000, 7000]);
        assert_eq!(tally.waits_us, [3000, 2000, 1000, 0]);
        assert_eq!(tally.last, at(1010));
    }

    #[test]
    fn a_generator_is_late_from_when_it_could_have_sent() {
        let mut tally = Tally::new(Schedule::of(&plan()).unwrap());
        tally.take(at(999), at(0));
        tally.take(at(999), at(0));
        // The record of 1,000 ms waited for room until 1,004 ms, and that of 1,006 ms only for the generator.
        assert_eq!(tally.take(at(1005), at(1004)).len(), 6);
        assert_eq!(tally.take(at(1008), at(1004)).len(), 3);
        assert_eq!(tally.late_us, [1000, 2000]);
    }

    #[test]
    fn every_record_ends_in_one_count() {
        let mut tally = Tally::new(Schedule::of(&plan()).unwrap());
        let (one, two) = (tally.take(at(1500), at(0)), tally.take(at(1500), at(0)));
        tally.acknowledge(&one, at(1500));
        let (again, two) = two.split_at(100);
        tally.fail(&two[..200], "no".to_owned());
        tally.lose_sight_of(&two[200..], "gone");
        tally.send_again(again.to_vec());
        assert_eq!(tally.next_due(), Some(at(878)));
        assert_eq!(tally.take(at(1500), at(0)), again);
        tally.acknowledge(&again[2..], at(1500));
        tally.send_again(again[..2].to_vec());
        tally.give_up("the end".to_owned());
        assert_eq!(tally.next_due(), None);
        assert_eq!(tally.reason.as_deref(), Some("the end"));
        assert_eq!(tally.acknowledged + tally.failed + tally.unknown, tally.due());
    }
}
