"""Serves the commands of ../README.md with kafka-python."""

import time

from driver_io import b64, emit, raw, serve
from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def produce(c):
    producer = KafkaProducer(
        bootstrap_servers=c["bootstrap"],
        compression_type=None if c["codec"] == "none" else c["codec"],
        enable_idempotence=c.get("idempotent", False),
        max_in_flight_requests_per_connection=5 if c.get("idempotent") else 1,
        acks="all",
        linger_ms=5,
    )
    sent = []
    for r in c["records"]:
        headers = [(name, raw(value)) for name, value in r["h"]]
        sent.append(producer.send(c["topic"], value=raw(r["v"]), key=raw(r["k"]), partition=r["p"], headers=headers,
                                  timestamp_ms=r["ts"]))
    for i, future in enumerate(sent):
        meta = future.get(timeout=120)
        emit({"ack": i, "p": meta.partition, "o": meta.offset, "ts": meta.timestamp})
    producer.close()


def consume(c):
    left = {int(p): end for p, end in c["ends"].items() if end > 0}
    consumer = KafkaConsumer(bootstrap_servers=c["bootstrap"], group_id=None, check_crcs=True,
                             enable_auto_commit=False, auto_offset_reset="earliest")
    partitions = [TopicPartition(c["topic"], p) for p in left]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    for one in partitions:
        number = str(one.partition)
        if "since" in c:
            consumer.seek(one, consumer.offsets_for_times({one: c["since"][number]})[one].offset)
        elif "from" in c:
            consumer.seek(one, c["from"][number])
    limit = time.monotonic() + 60
    while left:
        if time.monotonic() > limit:
            raise TimeoutError(f"not read in time: {left}")
        for records in consumer.poll(timeout_ms=500).values():
            for m in records:
                heads = [[name, b64(value)] for name, value in m.headers]
                emit({"p": m.partition, "o": m.offset, "ts": m.timestamp, "k": b64(m.key), "v": b64(m.value),
                      "h": heads})
                if m.offset + 1 >= left.get(m.partition, 1 << 62):
                    del left[m.partition]
    consumer.close()


serve({"produce": produce, "consume": consume})
