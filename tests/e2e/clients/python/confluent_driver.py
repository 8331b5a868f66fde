"""Serves the commands of ../README.md with confluent-kafka (librdkafka)."""

import contextlib
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from driver_io import b64, emit, raw, serve


def produce(c):
    producer = Producer({
        "bootstrap.servers": c["bootstrap"],
        "compression.codec": c["codec"],
        "enable.idempotence": c.get("idempotent", False),
        "max.in.flight": 5 if c.get("idempotent") else 1,
        "acks": "all",
        "linger.ms": 5,
        "batch.num.messages": 50 if c.get("idempotent") else 10000,
        "message.timeout.ms": 120000,
    })
    failures = []

    def report(index):
        def delivered(error, message):
            if error is not None:
                failures.append(f"record {index}: {error}")
            else:
                stamp = message.timestamp()[1]
                emit({"ack": index, "p": message.partition(), "o": message.offset(), "ts": stamp})
        return delivered

    for i, r in enumerate(c["records"]):
        headers = [(name, raw(value)) for name, value in r["h"]]
        producer.produce(c["topic"], value=raw(r["v"]), key=raw(r["k"]), partition=r["p"], headers=headers,
                         timestamp=r["ts"], on_delivery=report(i))
        producer.poll(0)
    if producer.flush(120):
        raise TimeoutError("records not delivered within 120 s")
    if failures:
        raise RuntimeError("; ".join(failures))


def by_time(consumer, times, limit):
    """Asks again while nobody leads, and afterwards: librdkafka keeps a leader in its cache that is not in the cluster any
    more, and asks for the topic's metadata again only where somebody wants them."""
    while True:
        try:
            places = consumer.offsets_for_times(times, 10)
            if all(place.error is None for place in places):
                return places
        except KafkaException:
            if time.monotonic() > limit:
                raise
        time.sleep(0.1)
        with contextlib.suppress(KafkaException):
            consumer.list_topics(times[0].topic, 10)


def consume(c):
    left = {int(p): end for p, end in c["ends"].items() if end > 0}
    consumer = Consumer({"bootstrap.servers": c["bootstrap"], "group.id": "none", "check.crcs": True,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    places = [TopicPartition(c["topic"], p, c.get("from", {}).get(str(p), 0)) for p in left]
    limit = time.monotonic() + 60
    if "since" in c:
        places = by_time(consumer, [TopicPartition(c["topic"], p, c["since"][str(p)]) for p in left], limit)
    consumer.assign(places)
    while left:
        if time.monotonic() > limit:
            raise TimeoutError(f"not read in time: {left}")
        m = consumer.poll(0.5)
        if m is None:
            continue
        if m.error():
            raise RuntimeError(str(m.error()))
        heads = [[name, b64(value)] for name, value in (m.headers() or [])]
        emit({"p": m.partition(), "o": m.offset(), "ts": m.timestamp()[1], "k": b64(m.key()), "v": b64(m.value()),
              "h": heads})
        if m.offset() + 1 >= left.get(m.partition(), 1 << 62):
            del left[m.partition()]
    consumer.close()


serve({"produce": produce, "consume": consume})
