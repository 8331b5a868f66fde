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


def scenario(broker, driver, topic):
    """Sends, kills three times, and judges what is stored; returns how many kills came while records were under way."""
    create_topic(broker, topic, configs={"retention.ms": -1})
    records = [record(0, b"%d" % i, b"value %d " % i + b"." * (i % 500), ts=FIRST_TS + i)
               for i in range(COUNT)]
    # The client is started and warm before the load begins.
    driver.produce(broker, topic, records[:1])
    sending, partial = Sending(driver, broker, topic, records, "lz4"), 0
    for kill in range(KILLS):
        while sending.is_alive() and high_watermark(broker, topic) < COUNT * (kill + 0.3) // KILLS:
            pass
        partial += high_watermark(broker, topic) < COUNT + 1
        broker.restart()
    sending.join(120)
    assert not sending.is_alive() and sending.error is None, sending.error
    with LogClient(broker.port) as log:
        stored = log.records(topic)[1:]
    judge(records, sending.acks, stored)
    return partial


def judge(records, acks, stored):
    """Every acknowledgement names a record that is there as sent, and the log holds all of them once and in order."""
    by_offset = {r[0]: (r[2], r[3], r[1]) for r in stored}
    for ack in acks:
        want = records[ack["ack"]]
        assert ack["o"] < 0 or by_offset.get(ack["o"]) == (raw(want["k"]), raw(want["v"]), want["ts"]), ack
    keys = [int(r[2]) for r in stored]
    assert len(acks) == COUNT
    assert keys == list(range(COUNT)), f"{len(keys)} records, {len(set(keys))} different, order {keys == sorted(keys)}"


@pytest.mark.parametrize("client", CLIENTS)
def test_each_acknowledged_record_is_there_once(own_broker, drivers, topic, client):
    """Repeated until a kill came in the middle: a client may be done before the first one."""
    for attempt in range(6):
        partial = scenario(own_broker, drivers[client], f"{topic}-{attempt}")
        print(f"{client}: {partial} of {KILLS} kills came in the middle")
        if partial:
            return
    raise AssertionError("no kill came while records were under way")
