"""Load through kill -9: librdkafka producers that live across restarts, and a record of what was acknowledged."""

import hashlib
import threading
import time

from confluent_kafka import KafkaError, Producer

POOL = hashlib.shake_256(b"chronik load").digest(1 << 16)
MAX_QUEUED = 600
# Records a second and producer: enough to be in the middle of something always, little enough to read all of it back.
RATE = 6000


def payload(number, spread=1500):
    """The value of a record, computable from its number alone."""
    mixed = (number * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
    size, at = mixed % spread, (mixed >> 24) % (len(POOL) - spread)
    return b"%016d" % number + POOL[at:at + size]


def number_of(value):
    return int(value[:16])


class Load:
    """One producer on its own thread. `acked` maps (partition, offset) to the number of the record."""

    def __init__(self, broker, topic, partitions, codec, idempotent):
        self.topic, self.partitions, self.idempotent = topic, partitions, idempotent
        self.acked, self.without_offset, self.errors = {}, set(), []
        self.sent = 0
        self.queued = 0
        self.stopping = threading.Event()
        self.going = threading.Event()
        self.quota = (0, 0.0)
        self.lock = threading.Lock()
        self.producer = Producer({
            "bootstrap.servers": broker.bootstrap, "enable.idempotence": idempotent, "acks": "all",
            "compression.codec": codec, "linger.ms": 1, "message.timeout.ms": 120000, "batch.size": 32768,
            "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 10,
            "retry.backoff.max.ms": 50, "topic.metadata.refresh.interval.ms": 2000, "log_level": 0,
            "error_cb": self.on_error,
        })
        self.thread = threading.Thread(target=self.run, name=f"load-{topic}", daemon=True)
        self.thread.start()

    def on_error(self, error):
        if error.fatal() or error.code() in (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.INVALID_MSG):
            self.errors.append(str(error))

    def on_delivery(self, number):
        def delivered(error, message):
            self.queued -= 1
            if error is not None:
                self.errors.append(f"record {number}: {error}")
                return
            place = message.partition(), message.offset()
            with self.lock:
                if place[1] < 0:
                    self.without_offset.add(number)
                elif place in self.acked:
                    self.errors.append(f"{place} acknowledged for {self.acked[place]} and {number}")
                else:
                    self.acked[place] = number
        return delivered

    def run(self):
        while not self.stopping.is_set():
            if self.queued >= MAX_QUEUED or not self.going.is_set() or self.sent >= self.allowed():
                self.producer.poll(0.002)
                continue
            number, self.sent = self.sent, self.sent + 1
            self.queued += 1
            self.producer.produce(self.topic, payload(number), partition=number % self.partitions,
                                  on_delivery=self.on_delivery(number))
            self.producer.poll(0)

    def allowed(self):
        base, since = self.quota
        return base + RATE * (time.monotonic() - since)

    def resume(self):
        self.quota = self.sent + 100, time.monotonic()
        self.going.set()

    def pause(self):
        self.going.clear()

    def snapshot(self):
        with self.lock:
            return dict(self.acked)

    def finish(self, timeout=90):
        """Stops sending and waits until every record has its outcome."""
        self.stopping.set()
        self.thread.join(30)
        left = self.producer.flush(timeout)
        if left:
            self.errors.append(f"{left} records without an outcome after {timeout} s")


class Shadow:
    """What was seen in the log of one topic: it may only grow, and must hold every acknowledged record."""

    def __init__(self, load):
        self.load, self.seen, self.at = load, {}, dict.fromkeys(range(load.partitions), 0)

    def catch_up(self, client):
        """Reads what is new; returns complaints."""
        wanted = self.load.snapshot()
        wrong = []
        for partition in self.at:
            records = client.records(self.load.topic, partition, self.at[partition])
            for offset, _, _, value, _ in records:
                if offset != self.at[partition]:
                    wrong.append(f"partition {partition}: offset {offset} after {self.at[partition] - 1}")
                self.at[partition] = offset + 1
                number = number_of(value)
                if value != payload(number):
                    wrong.append(f"({partition}, {offset}): the bytes of record {number} differ")
                self.seen[partition, offset] = number
        return wrong + self.missing(wanted)

    def missing(self, wanted):
        wrong = []
        for place, number in wanted.items():
            got = self.seen.get(place)
            if got is None:
                wrong.append(f"{place}: acknowledged record {number} is not there")
            elif got != number:
                wrong.append(f"{place}: holds {got}, acknowledged was {number}")
        return wrong

    def reread(self, client):
        """Reads everything from the start; returns complaints."""
        before, self.seen = self.seen, {}
        self.at = dict.fromkeys(self.at, 0)
        wrong = self.catch_up(client)
        wrong += [f"{place}: was {number}, is {self.seen.get(place)}" for place, number in before.items()
                  if self.seen.get(place) != number]
        return wrong + self.repeats()

    def repeats(self):
        """Records that an idempotent producer finds twice, or acknowledged and not at all."""
        if not self.load.idempotent:
            return []
        places, wrong = {}, []
        for place, number in self.seen.items():
            if number in places:
                wrong.append(f"record {number} at {places[number]} and {place}")
            places[number] = place
        wrong += [f"record {n} acknowledged without an offset is not there" for n in self.load.without_offset
                  if n not in places]
        return wrong
