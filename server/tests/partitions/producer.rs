//! Producers: they batch, pipeline and repeat as a client of Kafka does.

use crate::access::Access;
use crate::oracle::{Acked, Oracle};
use crate::plan::Plan;
use bytes::{Bytes, BytesMut};
use chronik_conformance::world::{Prng, Seed};
use chronik_server::kafka::record::{BatchBuilder, Codec};
use chronik_server::partition::{Acks, PartitionError, ProduceOutcome};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Batches that a client of Kafka has on their way at most.
pub(crate) const WINDOW: u64 = 5;

/// The base offset, with which a batch begins.
const OFFSET_BYTES: usize = 8;

/// A batch that was not acknowledged yet.
struct Batch {
    number: u64,
    bytes: Bytes,
    attempts: u32,
}

/// What the leader answers to a request of several batches.
struct Answer {
    /// Where its log ended when the request came, and its epoch.
    log_end: i64,
    epoch: i32,
    outcomes: Vec<Result<ProduceOutcome, PartitionError>>,
    /// A batch that was acknowledged, and how far the same replica could be read at that moment.
    unread: Option<(i64, i64)>,
}

pub(crate) struct Producer {
    access: Access,
    oracle: Oracle,
    prng: Prng,
    /// Negative for a producer that is not idempotent.
    id: i64,
    number: u64,
    epoch: i16,
    next_sequence: i32,
    next_batch: u64,
    unacked: VecDeque<Batch>,
    pause: Duration,
    value_bytes: usize,
    leader: u64,
    /// Producers that have nothing left to send.
    done: Arc<AtomicU64>,
}

/// How many there are, and the count of those that are done.
pub(crate) type Producers = (u64, Arc<AtomicU64>);

/// Starts the producers of a plan, with this epoch.
pub(crate) fn start(plan: &Plan, epoch: i16, (access, oracle): (&Access, &Oracle)) -> Producers {
    let done = Arc::new(AtomicU64::new(0));
    let all = plan.plain_producers + plan.idempotent_producers;
    for number in 0..all {
        let mut producer = Producer::new(plan, number, (access, oracle), Arc::clone(&done));
        producer.epoch = epoch;
        access.env.spawn.spawn("producer", Box::pin(producer.run()));
    }
    (all, done)
}

/// The producer id of the n-th idempotent producer.
pub(crate) const fn producer_id(plan: &Plan, number: u64) -> Option<i64> {
    if number < plan.idempotent_producers {
        Some(1000 + number as i64)
    } else {
        None
    }
}

/// A batch of one record, the n-th of its producer.
pub(crate) fn batch_of(id: i64, sequence: i32, now_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).producer(id, 0, sequence);
    builder.push(now_ms, None, Some(b"record"));
    builder.build().expect("a small batch fits").freeze()
}

/// One batch as it is sent, or sent again.
pub(crate) async fn send_again(
    access: &Access,
    node: u64,
    batch: &Bytes,
) -> Option<Result<i64, PartitionError>> {
    send_within(access, node, batch, Duration::from_secs(2)).await
}

/// As [`send_again`], by a client that waits for its answer for so long.
pub(crate) async fn send_within(
    access: &Access,
    node: u64,
    batch: &Bytes,
    patience: Duration,
) -> Option<Result<i64, PartitionError>> {
    let mut batch = BytesMut::from(&batch[..]);
    // One that was read has its place in the log; a client sends it without.
    batch[..OFFSET_BYTES].fill(0);
    let sent = access.call(node, patience, |served| {
        Box::pin(async move {
            let progress = served.partition.produce(batch, Acks::All, true)?;
            progress.outcome().await.map(|outcome| outcome.base_offset)
        })
    });
    sent.await.ok()
}

/// Batches in one request, as they are sent again; none where no answer came.
pub(crate) async fn send_together(
    access: &Access,
    node: u64,
    batches: &[Bytes],
) -> Option<Vec<Result<i64, PartitionError>>> {
    let batches: Vec<BytesMut> = batches.iter().map(|batch| BytesMut::from(&batch[..])).collect();
    let sent = access.call(node, Duration::from_secs(2), |served| {
        Box::pin(async move {
            let produce = |batch| served.partition.produce(batch, Acks::All, true);
            let sent: Vec<_> = batches.into_iter().map(produce).collect();
            let mut answers = Vec::new();
            for progress in sent {
                answers.push(match progress {
                    Ok(progress) => progress.outcome().await.map(|outcome| outcome.base_offset),
                    Err(error) => Err(error),
                });
            }
            answers
        })
    });
    sent.await.ok()
}

impl Producer {
    fn new(plan: &Plan, number: u64, (access, oracle): (&Access, &Oracle), done: Arc<AtomicU64>) -> Self {
        let seed: Seed = plan.seed.child("producer").nth(number);
        Self {
            access: access.clone(),
            oracle: oracle.clone(),
            prng: seed.prng(),
            id: producer_id(plan, number).unwrap_or(-1),
            number,
            epoch: 0,
            next_sequence: 0,
            next_batch: 0,
            unacked: VecDeque::new(),
            pause: plan.client_pause,
            value_bytes: plan.value_bytes,
            leader: 1 + number % plan.nodes,
            done,
        }
    }

    const fn is_idempotent(&self) -> bool {
        self.id >= 0
    }

    async fn run(mut self) {
        let clock = Arc::clone(&self.access.env.clock);
        loop {
            if self.access.is_stopped() {
                if self.unacked.is_empty() {
                    break;
                }
            } else {
                self.fill();
            }
            let all = self.send().await;
            let pause = if all {
                self.pause
            } else {
                Duration::from_millis(80)
            };
            let most = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
            clock.sleep(Duration::from_micros(self.prng.below(most))).await;
        }
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes batches, as many as may be on their way.
    fn fill(&mut self) {
        if !self.is_idempotent() {
            if self.unacked.is_empty() {
                self.make();
            }
            return;
        }
        if self.prng.chance(1) {
            // A client that gave up takes a new epoch, in which its numbers start again.
            self.unacked.clear();
            (self.epoch, self.next_sequence) = (self.epoch + 1, 0);
            self.oracle.marks.hit("producer epochs");
        }
        let window = self.prng.between(1, WINDOW);
        while self.unacked.front().map_or(self.next_batch, |batch| batch.number) + window > self.next_batch {
            self.make();
        }
    }

    fn make(&mut self) {
        let mut builder = BatchBuilder::new(Codec::None);
        if self.is_idempotent() {
            builder = builder.producer(self.id, self.epoch, self.next_sequence);
        }
        let count = self.prng.between(1, 4);
        // Clients say when something happened: not in the order of the log, and not by one clock.
        let skew = match self.prng.below(5) {
            0 => self.prng.below(4_000) as i64 - 3_000,
            _ => 0,
        };
        for record in 0..count {
            let mut value = vec![0; self.prng.between(1, self.value_bytes as u64) as usize];
            self.prng.fill(&mut value);
            let key = format!("{}/{}/{record}", self.number, self.next_batch);
            let time = self.access.env.clock.wall_ms() + skew + self.prng.below(3) as i64;
            builder.push(time, Some(key.as_bytes()), Some(&value));
        }
        let bytes = builder.build().expect("a small batch fits").freeze();
        self.unacked.push_back(Batch {
            number: self.next_batch,
            bytes,
            attempts: 0,
        });
        self.next_batch += 1;
        self.next_sequence += count as i32;
    }

    /// Sends everything that is not acknowledged, in order; whether all of it is now.
    async fn send(&mut self) -> bool {
        let acks = match (self.is_idempotent(), self.prng.below(10)) {
            (false, 0) => Acks::None,
            (false, 1..4) => Acks::Leader,
            _ => Acks::All,
        };
        let batches: Vec<BytesMut> = self
            .unacked
            .iter()
            .map(|batch| BytesMut::from(&batch.bytes[..]))
            .collect();
        for batch in &mut self.unacked {
            batch.attempts += 1;
        }
        let patience = Duration::from_millis(self.prng.between(100, 2500));
        let sent = self.access.call(self.leader, patience, |served| {
            Box::pin(async move {
                let (log_end, epoch) = (served.partition.log_end(), served.partition.view().leader_epoch);
                let produce = |batch| served.partition.produce(batch, acks, true);
                let sent: Vec<_> = batches.into_iter().map(produce).collect();
                let (mut outcomes, mut unread) = (Vec::new(), None);
                for progress in sent {
                    let outcome = match progress {
                        Ok(progress) => progress.outcome().await,
                        Err(error) => Err(error),
                    };
                    if let (Acks::All, Ok(outcome)) = (acks, &outcome) {
                        let readable = served.partition.view().high_watermark.0;
                        if readable <= outcome.base_offset {
                            unread.get_or_insert((outcome.base_offset, readable));
                        }
                    }
                    outcomes.push(outcome);
                }
                Answer {
                    log_end,
                    epoch,
                    outcomes,
                    unread,
                }
            })
        });
        match sent.await {
            Ok(answer) => self.take(answer, acks),
            Err(_) => {
                self.oracle.marks.hit("requests without an answer");
                self.leader = self.access.next(self.leader, None);
            }
        }
        if acks != Acks::All {
            self.unacked.clear();
        }
        self.unacked.is_empty()
    }

    fn take(&mut self, answer: Answer, acks: Acks) {
        let Answer {
            log_end,
            epoch,
            outcomes,
            unread,
        } = answer;
        if let Some((base, end)) = unread {
            let what = format!("{base} is acknowledged, and who acknowledged it shows nothing beyond {end}");
            self.oracle.violate("what-is-acknowledged-is-readable", what);
        }
        let batches = std::mem::take(&mut self.unacked);
        for (batch, outcome) in batches.into_iter().zip(outcomes) {
            match outcome {
                Ok(outcome) if acks == Acks::All => self.oracle.on_acked(Acked {
                    base_offset: outcome.base_offset,
                    batch: batch.bytes,
                    epoch,
                    is_duplicate: self.id >= 0 && outcome.base_offset < log_end,
                }),
                Ok(_) => {}
                Err(error) => {
                    self.refused(&batch, &error);
                    self.unacked.push_back(batch);
                }
            }
        }
    }

    fn refused(&mut self, batch: &Batch, error: &PartitionError) {
        match error {
            PartitionError::NotLeader { leader } => self.leader = self.access.next(self.leader, *leader),
            PartitionError::OutOfOrderSequence if self.unacked.is_empty() => {
                let what = format!(
                    "producer {} epoch {}: batch {} at attempt {}, all before it being acknowledged",
                    self.id, self.epoch, batch.number, batch.attempts
                );
                self.oracle.violate("retries-are-not-refused", what);
            }
            PartitionError::Record(_)
            | PartitionError::InvalidProducerEpoch
            | PartitionError::RecordListTooLarge
            | PartitionError::PolicyViolation => {
                let what = format!("producer {} epoch {}: {error}", self.id, self.epoch);
                self.oracle.violate("retries-are-not-refused", what);
            }
            PartitionError::OutcomeUnknown { .. } => self.oracle.marks.hit("unknown outcomes"),
            _ => self.leader = self.access.next(self.leader, None),
        }
    }
}
