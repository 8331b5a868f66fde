"""Writes fifty records while node 1 is killed with -9 (its pid is the argument): docs/ops/cluster.md."""

import os
import signal
import sys
import time

from kafka import KafkaConsumer, KafkaProducer

node_1 = int(sys.argv[1])
producer = KafkaProducer(
    bootstrap_servers=["localhost:9092", "localhost:9093", "localhost:9094"],
    acks="all",
    retries=10,
    retry_backoff_ms=1000,
)
futures = {}
for i in range(50):
    futures[i] = producer.send("failover-topic", f"message-{i}".encode())
    if i == 20:
        os.kill(node_1, signal.SIGKILL)
    time.sleep(0.1)
producer.flush()
places = {}
for i, future in futures.items():
    result = future.get(timeout=10)
    places[result.partition, result.offset] = f"message-{i}".encode()
producer.close()

consumer = KafkaConsumer(
    "failover-topic",
    bootstrap_servers=["localhost:9093"],
    auto_offset_reset="earliest",
    consumer_timeout_ms=5000,
)
read = {(message.partition, message.offset): message.value for message in consumer}
consumer.close()
wrong = {place: value for place, value in places.items() if read.get(place) != value}
assert len(places) == 50 and not wrong, f"not read back as acknowledged: {wrong}"
print(f"all 50 records were acknowledged and are there, {len(read)} read")
