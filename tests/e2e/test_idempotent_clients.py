"""Idempotent producers of real clients through kill -9: each acknowledged record is there once."""

import threading
import time

import pytest
from harness.admin import create_topic
from harness.drivers import DriverError
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.records import raw, record

COUNT, KILLS = 6000, 1 if CONTROL else 3
# Kafka forgets a producer at its restart when the records are a day old; ours goes by the clock of its own.
FIRST_TS = int(time.time() * 1000) if CONTROL else 1_700_000_000_000
CLIENTS = ["java", "confluent-kafka", "franz-go", "kafka-python"]


class Sending(threading.Thread):
    """One produce command of a driver on its own thread."""

    def __init__(self, driver, broker, topic, records, codec):
        super().__init__(daemon=True)
        self.call = lambda: driver.produce(broker, topic, records, codec, idempotent=True)
        self.acks, self.error = None, None
        self.start()

    def run(self):
        try:
            self.acks = self.call()
        except DriverError as error:
            self.error = error


def high_watermark(broker, topic):
    with LogClient(broker.port) as log:
        return log.fetch(topic, 0, max_bytes=1)["HighWatermark"]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_acknowledged_record_is_there_once(own_broker, drivers, topic, client):
    create_topic(own_broker, topic, configs={"retention.ms": -1})
    records = [record(0, b"%d" % i, b"value %d " % i + b"." * (i % 500), ts=FIRST_TS + i)
               for i in range(COUNT)]
    # The client is started and warm before the load begins.
    drivers[client].produce(own_broker, topic, records[:1])
    sending = Sending(drivers[client], own_broker, topic, records, "lz4")
    partial = 0
    for kill in range(KILLS):
        while sending.is_alive() and high_watermark(own_broker, topic) < COUNT * (kill + 0.3) // KILLS:
            pass
        reached = high_watermark(own_broker, topic)
        partial += reached < COUNT + 1
        own_broker.restart()
    sending.join(120)
    assert not sending.is_alive() and sending.error is None, sending.error
    with LogClient(own_broker.port) as log:
        stored = log.records(topic)[1:]
    by_offset = {r[0]: r for r in stored}
    for ack in sending.acks:
        want = records[ack["ack"]]
        got = by_offset.get(ack["o"]) if ack["o"] >= 0 else None
        assert ack["o"] < 0 or (got and (got[2], got[3], got[1]) == (raw(want["k"]), raw(want["v"]), want["ts"])), ack
    keys = [int(r[2]) for r in stored]
    assert len(sending.acks) == COUNT
    assert keys == list(range(COUNT)), f"{len(keys)} records, {len(set(keys))} different, order {keys == sorted(keys)}"
    print(f"{client}: {partial} of {KILLS} kills hit in the middle")
    assert partial > 0
