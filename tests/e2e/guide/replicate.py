"""Produces a hundred records to three nodes and reads them through one that need not lead: docs/ops/cluster.md."""

from kafka import KafkaConsumer, KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=["localhost:9092", "localhost:9093", "localhost:9094"],
    acks="all",
    retries=3,
)
places = {}
for i in range(100):
    future = producer.send("test-topic", f"message-{i}".encode())
    result = future.get(timeout=10)
    places[result.partition, result.offset] = f"message-{i}".encode()
producer.flush()
producer.close()

consumer = KafkaConsumer(
    "test-topic",
    bootstrap_servers=["localhost:9093"],
    auto_offset_reset="earliest",
    consumer_timeout_ms=5000,
)
read = {(message.partition, message.offset): message.value for message in consumer}
consumer.close()
wrong = {place: value for place, value in places.items() if read.get(place) != value}
assert len(places) == 100 and not wrong, f"not read back as acknowledged: {wrong}"
print(f"all {len(places)} records were acknowledged and are there, {len(read)} read")
