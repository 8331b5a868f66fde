"""Produce, fetch and offset look-ups of one topic over the raw client."""

import time

from . import errors
from .batch import split
from .paths import CONTROL
from .raw import RawClient

PRODUCE, FETCH, LIST = 9, 12, 9


class LogClient(RawClient):
    """A raw client with the calls that most tests need. Versions are fixed unless a test names others."""

    def produce(self, topic, batch, partition=0, acks=-1, version=PRODUCE, timeout_ms=20000):
        """Returns the partition's answer."""
        answer = self.call("Produce", version, **produce_values(topic, batch, partition, acks, timeout_ms))
        return answer["Responses"][0]["PartitionResponses"][0]

    def append(self, topic, batch, partition=0, **more):
        """Produces and insists on success; returns the base offset."""
        answer = self.produce(topic, batch, partition, **more)
        assert answer["ErrorCode"] == 0, answer
        return answer["BaseOffset"]

    def fetch(self, topic, offset, partition=0, version=FETCH, max_wait_ms=0, min_bytes=1, max_bytes=1 << 26,
              partition_max_bytes=1 << 26):
        """Returns the partition's answer."""
        values = fetch_values({(topic, partition): (offset, partition_max_bytes)}, max_wait_ms, min_bytes, max_bytes)
        if version < 7:
            values = {k: v for k, v in values.items() if k not in ("SessionId", "SessionEpoch", "ForgottenTopicsData")}
        answer = self.call("Fetch", version, **values)
        assert answer.get("ErrorCode", 0) == 0, answer
        return answer["Responses"][0]["Partitions"][0]

    def fetch_error(self, topic, partition=0):
        return self.fetch(topic, 0, partition)["ErrorCode"]

    def batches(self, topic, partition=0, start=0):
        """Every batch from an offset to the high watermark."""
        out, at = [], start
        limit = time.monotonic() + 60
        while True:
            assert time.monotonic() < limit, f"reading {topic}/{partition} does not end, at {at}"
            answer = self.fetch(topic, at, partition)
            assert answer["ErrorCode"] == 0, answer
            got = split(answer["Records"] or b"")
            if not got:
                assert at >= answer["HighWatermark"], f"no batch at {at} below {answer['HighWatermark']}"
                return out
            out += [b for b in got if b.base_offset >= at or b.next_offset > at]
            at = got[-1].next_offset

    def records(self, topic, partition=0, start=0):
        return [r for b in self.batches(topic, partition, start) for r in b.records() if r[0] >= start]

    def list_offset(self, topic, timestamp, partition=0, version=LIST):
        """Returns the partition's answer."""
        answer = self.call("ListOffsets", version, ReplicaId=-1, Topics=[{
            "Name": topic, "Partitions": [{"PartitionIndex": partition, "Timestamp": timestamp}]}])
        return answer["Topics"][0]["Partitions"][0]

    def offset_at(self, topic, timestamp, partition=0, version=LIST):
        answer = self.list_offset(topic, timestamp, partition, version)
        assert answer["ErrorCode"] == 0, answer
        return answer["Offset"], answer["Timestamp"]

    def new_producer(self):
        """A fresh producer id and its epoch."""
        answer = self.call("InitProducerId", 4, TransactionalId=None, TransactionTimeoutMs=60000)
        while CONTROL and answer["ErrorCode"] == errors.COORDINATOR_LOAD_IN_PROGRESS:
            time.sleep(0.05)
            answer = self.call("InitProducerId", 4, TransactionalId=None, TransactionTimeoutMs=60000)
        assert answer["ErrorCode"] == 0, answer
        return answer["ProducerId"], answer["ProducerEpoch"]


def produce_values(topic, batch, partition=0, acks=-1, timeout_ms=20000):
    return {"Acks": acks, "TimeoutMs": timeout_ms, "TopicData": [{
        "Name": topic, "PartitionData": [{"Index": partition, "Records": batch}]}]}


def fetch_values(wanted, max_wait_ms=0, min_bytes=1, max_bytes=1 << 26, session=(0, -1), forget=()):
    """Fetch by topic names: `wanted` maps (topic, partition) to (offset, partition max bytes)."""
    topics = {}
    for (topic, partition), (offset, limit) in wanted.items():
        topics.setdefault(topic, []).append(
            {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": limit})
    dropped = {}
    for topic, partition in forget:
        dropped.setdefault(topic, []).append(partition)
    return {"MaxWaitMs": max_wait_ms, "MinBytes": min_bytes, "MaxBytes": max_bytes, "SessionId": session[0],
            "SessionEpoch": session[1], "Topics": [{"Topic": t, "Partitions": p} for t, p in topics.items()],
            "ForgottenTopicsData": [{"Topic": t, "Partitions": p} for t, p in dropped.items()]}
