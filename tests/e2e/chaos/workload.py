"""Clients that write down what they did: librdkafka producers and consumers on threads of their own."""

import hashlib
import logging
import re
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from .history import OK, UNKNOWN, Epoch, Poll, Send

POOL = hashlib.shake_256(b"chronik chaos").digest(1 << 14)
IMPATIENT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0,
             "topic.metadata.refresh.interval.ms": 1000, "socket.timeout.ms": 4000, "socket.connection.setup.timeout.ms": 2000}


class CorruptValue(Exception):
    """A value's bytes are not those that were sent."""


def encode(name):
    """The bytes of a value, computable from its name."""
    mixed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    size, at = mixed % 1200, (mixed >> 20) % (len(POOL) - 1200)
    return name.encode() + b"|" + POOL[at:at + size]


def decode(value):
    """The name of a value. A producer that is not ours sends names alone."""
    if b"|" not in value:
        return value.decode()
    name = value.split(b"|", 1)[0].decode()
    if encode(name) != value:
        raise CorruptValue(name)
    return name


class Worker(threading.Thread):
    """A client on a thread; `problem` is set where it ended otherwise than by being told."""

    def __init__(self, name, work):
        super().__init__(name=name, daemon=True)
        self.work, self.problem = work, None
        self.stopping = threading.Event()

    def run(self):
        try:
            self.work(self.stopping)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run fails by it
            self.problem = f"{self.name}: {type(error).__name__}: {error}"


class Epochs(logging.Handler):
    """Which epochs a producer of librdkafka begins, and why, as it says itself. `logger` is for the client, which is to log
    `debug=eos`."""

    BEGAN = re.compile(r"bumped epoch to PID{Id:(\d+),Epoch:(\d+)}")
    WHY = re.compile(r"ProduceRequest for .* failed due to .*|Beginning partition drain in .*")
    REFUSED = re.compile(r"ProduceRequest for \S+ \[(\d+)\] .* skipped sequence numbers "
                         r"\(PID{Id:\d+,Epoch:(\d+)}, base seq (\d+)")

    def __init__(self, name):
        super().__init__()
        self.producer, self.begun, self.why, self.refused = name, [], [], []
        self.logger = logging.Logger(name)
        self.logger.addHandler(self)

    def emit(self, record):
        said = record.getMessage()
        if why := self.WHY.search(said):
            self.why.append(why.group())
        if refused := self.REFUSED.search(said):
            self.refused.append(tuple(map(int, refused.groups())))
        if began := self.BEGAN.search(said):
            number, epoch = map(int, began.groups())
            refused = [(partition, sequence) for partition, of, sequence in self.refused if of == epoch - 1]
            self.begun.append(Epoch(self.producer, number, epoch, "; ".join(self.why), time.time(), refused))
            self.why, self.refused = [], []


class Producing:
    """One producer at a steady rate over all partitions. Each record becomes a Send, in the order of sending."""

    def __init__(self, cluster, topic, partitions, name, rate=300, config=None):
        self.topic, self.partitions, self.name, self.rate = topic, partitions, name, rate
        self.sends, self.fatal, self.acked = [], [], 0
        epochs = Epochs(name)
        self.begun = epochs.begun
        # A delivery that fails for good is no proof that the record is not there: its outcome is unknown. When messages
        # run out of time, librdkafka begins a new epoch and writes again what is in flight, so that what is in the log
        # already is there twice: they get more time than an outage may last.
        self.producer = Producer({
            "bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2,
            "message.timeout.ms": 300000, "request.timeout.ms": 5000, "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 200, "error_cb": self.on_error, **IMPATIENT, "debug": "eos", "log_level": 7,
            **(config or {})}, logger=epochs.logger)
        self.worker = Worker(name, self.work)
        self.worker.start()

    def on_error(self, error):
        if error.fatal() or error.code() == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER:
            self.fatal.append(f"{self.name}: {error}")

    def work(self, stopping):
        began, number = time.monotonic(), 0
        while not stopping.is_set():
            if number >= (time.monotonic() - began) * self.rate or len(self.producer) > 2000:
                self.producer.poll(0.005)
                continue
            value = f"{self.name}-{number}"
            send = Send(self.name, number % self.partitions, value, UNKNOWN, began=time.time())
            self.sends.append(send)
            self.producer.produce(self.topic, encode(value), partition=send.partition, on_delivery=self.delivered(send))
            self.producer.poll(0)
            number += 1
        self.producer.flush(90)

    def delivered(self, send):
        def note(error, message):
            send.ended = time.time()
            if error is None:
                # librdkafka takes the acknowledgement of a later batch for that of an earlier one, without an offset.
                offset = message.offset()
                send.outcome, send.offset = OK, -1 if offset is None else offset
                self.acked += 1
        return note


class Consuming:
    """One consumer that reads every partition from the start, and goes on; or, in a group, what it is given."""

    def __init__(self, cluster, topic, partitions, name, group=None):
        self.topic, self.partitions, self.name, self.group = topic, partitions, name, group
        self.polls, self.fresh, self.read = [], set(range(partitions)), 0
        self.consumer = Consumer({
            "bootstrap.servers": cluster.bootstrap, "group.id": group or name, "enable.auto.commit": group is not None,
            "auto.commit.interval.ms": 200, "auto.offset.reset": "earliest", "session.timeout.ms": 6000,
            "fetch.wait.max.ms": 100, **IMPATIENT})
        if group is None:
            self.consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        else:
            self.consumer.subscribe([topic], on_assign=self.on_assign)
        self.worker = Worker(name, self.work)
        self.worker.start()

    def on_assign(self, _, partitions):
        self.fresh.update(partition.partition for partition in partitions)

    def work(self, stopping):
        while not stopping.is_set():
            by_partition = {}
            for message in self.consumer.consume(500, timeout=0.1):
                if message.error() is None:
                    by_partition.setdefault(message.partition(), []).append((message.offset(), decode(message.value())))
            for partition, records in by_partition.items():
                self.polls.append(Poll(self.name, partition, records, partition in self.fresh, self.group or ""))
                self.fresh.discard(partition)
                self.read += len(records)
        self.consumer.close()
