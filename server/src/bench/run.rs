//! One run: sends what is due, and notes what is answered, until everything has an outcome.

use super::leader::Leaders;
use super::link::Link;
use super::report::Share;
use super::schedule::Schedule;
use super::tally::{Sent, Tally};
use super::{Plan, Report, Stopped};
use crate::judge::batch::{encoded, record};
use crate::judge::log::{produce_request, produced};
use crate::judge::wire::{PATIENCE, PRODUCE, answer, frame};
use crate::judge::{Failure, named, readable};
use crate::runtime;
use bytes::Bytes;
use chronik_core::env::{Clock, Rng};
use event_listener::Event;
use futures_lite::future;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::records::Record;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before the leader is asked for again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a new topic may have no leader.
const NEW: Duration = Duration::from_secs(3);

/// Writes what the plan says, and tells what became of it.
///
/// Records that the broker refused because it does not lead, or for another reason that passes, are sent again, still
/// counted from when they were due; the broker may have stored them all the same, so that the log may have them twice.
/// Those that were under way when a connection ended have an unknown outcome and are not sent again.
///
/// # Errors
/// The plan makes no sense, nobody answers, or there is no such partition. Whatever happens later is in the report.
pub fn produce(plan: &Plan, clock: Arc<dyn Clock>, rng: &dyn Rng) -> Result<Report, Stopped> {
    let schedule = Schedule::of(plan)?;
    let words = (0..plan.record_bytes.div_ceil(8)).flat_map(|_| rng.next_u64().to_ne_bytes());
    let mut run = Run {
        plan,
        value: words.take(plan.record_bytes).collect(),
        start: Duration::ZERO,
        clock,
        tally: RefCell::new(Tally::new(schedule)),
    };
    runtime::block_on(async {
        let mut leaders = Leaders::new(plan);
        let link = run.first(&mut leaders).await?;
        let share = Share::now();
        run.start = run.clock.now();
        run.write(&mut leaders, link).await;
        let took = run.clock.now().saturating_sub(run.start);
        Ok(Report::new(plan, run.tally.into_inner(), share.since(took)))
    })
}

struct Run<'a> {
    plan: &'a Plan,
    clock: Arc<dyn Clock>,
    /// When the first record is due.
    start: Duration,
    value: Bytes,
    tally: RefCell<Tally>,
}

impl Run<'_> {
    /// The time since the start.
    fn now(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// The first connection to the leader, which a new topic may not have at once.
    async fn first(&self, leaders: &mut Leaders<'_>) -> Result<Link, Stopped> {
        let end = self.clock.now() + NEW;
        loop {
            match leaders.connect() {
                Err(Stopped::Refused(_)) if self.clock.now() < end => self.clock.sleep(PAUSE).await,
                done => return done,
            }
        }
    }

    /// Until every record has an outcome.
    async fn write(&self, leaders: &mut Leaders<'_>, first: Link) {
        let end = self.plan.warm + self.plan.measured + PATIENCE;
        let mut link = Some(first);
        let mut reason = "no leader takes them".to_owned();
        while self.tally.borrow().next_due().is_some() {
            if self.now() > end {
                return self.tally.borrow_mut().give_up(reason);
            }
            let Some(leader) = link.take() else {
                self.clock.sleep(PAUSE).await;
                match leaders.connect() {
                    Ok(found) => link = Some(found),
                    Err(stopped) => reason = stopped.to_string(),
                }
                continue;
            };
            if let Err(failure) = Session::new(self, leader).write(end).await {
                reason = failure.0;
            }
        }
    }
}

/// What goes over one connection.
struct Session<'a> {
    run: &'a Run<'a>,
    link: Link,
    in_flight: RefCell<VecDeque<Sent>>,
    /// Nothing more is sent.
    is_closing: Cell<bool>,
    /// Since when there is room for another request.
    room_since: Cell<Duration>,
    /// Why records are to be sent again elsewhere.
    refusal: RefCell<Option<Failure>>,
    changed: Event,
}

impl<'a> Session<'a> {
    fn new(run: &'a Run<'a>, link: Link) -> Self {
        Self {
            run,
            link,
            in_flight: RefCell::default(),
            is_closing: Cell::new(false),
            room_since: Cell::new(run.now()),
            refusal: RefCell::default(),
            changed: Event::new(),
        }
    }

    /// Until all was sent and answered, the connection ends, or another leader is to be looked for.
    async fn write(self, end: Duration) -> Result<(), Failure> {
        let done = future::try_zip(self.send(end), self.receive()).await;
        if let Err(failure) = &done {
            let mut tally = self.run.tally.borrow_mut();
            for sent in self.in_flight.take() {
                tally.lose_sight_of(&sent.records, &failure.0);
            }
        }
        done?;
        self.refusal.take().map_or(Ok(()), Err)
    }

    fn close(&self) {
        self.is_closing.set(true);
        self.changed.notify(usize::MAX);
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            // Nothing else of this thread runs between the look and the listener.
            self.changed.listen().await;
        }
    }

    async fn send(&self, end: Duration) -> Result<(), Failure> {
        let is_closing = || self.is_closing.get();
        let has_room = || self.in_flight.borrow().len() < self.run.plan.in_flight_max;
        let mut correlation = 0;
        loop {
            self.until(|| is_closing() || has_room()).await;
            let due = self.run.tally.borrow().next_due();
            let Some(due) = due.filter(|_| !is_closing() && self.run.now() <= end) else {
                self.close();
                return Ok(());
            };
            let left = due.saturating_sub(self.run.now());
            if !left.is_zero() {
                future::or(self.run.clock.sleep(left), self.until(is_closing)).await;
                continue;
            }
            let (now, since) = (self.run.now(), self.room_since.get());
            let records = self.run.tally.borrow_mut().take(now, since);
            let request = self.request(correlation, records.len());
            // From here on the broker may have them.
            let sent = Sent { correlation, records };
            self.in_flight.borrow_mut().push_back(sent);
            self.changed.notify(usize::MAX);
            self.link.send(&request?).await?;
            correlation = correlation.wrapping_add(1);
        }
    }

    /// A request with so many records in one batch.
    fn request(&self, correlation: i32, records: usize) -> Result<Bytes, Failure> {
        let (plan, now_ms) = (self.run.plan, self.run.clock.wall_ms());
        let records: Vec<Record> = (0..records)
            .map(|at| Record {
                timestamp: now_ms,
                ..record(at, self.run.value.clone())
            })
            .collect();
        let request = produce_request(&plan.topic, plan.acks, &[(plan.partition, encoded(&records)?)]);
        frame(PRODUCE, correlation, &request)
    }

    async fn receive(&self) -> Result<(), Failure> {
        loop {
            let is_answered = || self.in_flight.borrow().is_empty();
            self.until(|| self.is_closing.get() || !is_answered()).await;
            if is_answered() {
                return Ok(());
            }
            let silence = async {
                self.run.clock.sleep(PATIENCE).await;
                Err(Failure(format!("no answer for {} s", PATIENCE.as_secs())))
            };
            let frame = future::or(self.link.receive(), silence).await?;
            self.note(frame, self.run.now())?;
        }
    }

    /// Notes what became of the records of the oldest request.
    fn note(&self, frame: Bytes, now: Duration) -> Result<(), Failure> {
        let correlation = self.in_flight.borrow().front().map(|sent| sent.correlation);
        let read = || answer::<ProduceRequest>(PRODUCE, correlation.unwrap_or_default(), frame);
        let answered = produced(readable(read)?).into_iter().next();
        let answered =
            answered.ok_or_else(|| Failure("the answer to a produce names no partition".to_owned()))?;
        let mut in_flight = self.in_flight.borrow_mut();
        let was_full = in_flight.len() >= self.run.plan.in_flight_max;
        let Some(sent) = in_flight.pop_front() else {
            return Ok(());
        };
        drop(in_flight);
        if was_full {
            self.room_since.set(now);
        }
        self.settle(&answered, sent.records, now);
        self.changed.notify(usize::MAX);
        Ok(())
    }

    fn settle(&self, answer: &PartitionProduceResponse, records: Vec<u64>, now: Duration) {
        let mut tally = self.run.tally.borrow_mut();
        let reason = || format!("a produce: {}", named(answer.error_code));
        match ResponseError::try_from_code(answer.error_code) {
            None => tally.acknowledge(&records, now),
            Some(ResponseError::RequestTimedOut | ResponseError::NotEnoughReplicasAfterAppend) => {
                tally.lose_sight_of(&records, &reason());
            }
            Some(error) if error.is_retriable() => {
                tally.send_again(records);
                self.refusal.replace(Some(Failure(reason())));
                drop(tally);
                self.close();
            }
            Some(_) => tally.fail(&records, reason()),
        }
    }
}
