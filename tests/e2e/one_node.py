"""Figures of one node that are measured by hand, since a shared machine says little.

    python -m one_node syncs                 calls of fdatasync and fsync, counted by strace, for 1, 100 and 1,000 partitions
    python -m one_node restart --gib 10      how soon a node that was killed answers again, with so much in its log

`syncs` writes records of 1 KiB round the partitions, each a batch of its own, in an open loop; after that, one record to every
partition at once. `restart` kills the node while it is written to; it is ready when a record is acknowledged.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from confluent_kafka import Producer
from harness.admin import create_topic
from harness.batch import simple
from harness.broker import Broker
from harness.log_client import LogClient
from harness.paths import CACHE

MIB, MB = 1 << 20, 1_000_000
RECORD, RATE, SECONDS = 1024, 2000, 10
RESTART_S, LIMIT_S = 3.0, 900
CALLS = "fsync,fdatasync,sync_file_range,syncfs,msync"


def producer(broker, **more):
    return Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0, "statistics.interval.ms": 0, **more})


class Syncs:
    """Counts while the block runs."""

    def __init__(self, broker, directory):
        self.broker, self.out, self.counts = broker, directory / "strace", {}

    def __enter__(self):
        self.strace = subprocess.Popen(["strace", "-f", "-c", "-e", f"trace={CALLS}", "-p", str(self.broker.pid), "-o",
                                        self.out], stderr=subprocess.PIPE, text=True)
        line = self.strace.stderr.readline()
        assert "attached" in line, line
        return self

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.communicate()
        for line in self.out.read_text().splitlines():
            if cells := re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)", line):
                self.counts[cells[2]] = int(cells[1])

    def calls(self):
        return self.counts.get("fsync", 0) + self.counts.get("fdatasync", 0)


def acknowledged(failed):
    return lambda error, _: failed.append(error) if error else None


def open_loop(broker, topic, partitions):
    """A record at a time, each when it is due; returns how many."""
    failed, value = [], os.urandom(RECORD)
    sender = producer(broker, **{"linger.ms": 0, "batch.num.messages": 1})
    began, sent = time.monotonic(), 0
    while (spent := time.monotonic() - began) < SECONDS:
        while sent < spent * RATE:
            sender.produce(topic, value, partition=sent % partitions, on_delivery=acknowledged(failed))
            sent += 1
        sender.poll(0.0005)
    assert sender.flush(60) == 0 and not failed, failed[:3]
    return sent


def once_each(broker, topic, partitions):
    failed, value = [], os.urandom(RECORD)
    sender = producer(broker, **{"linger.ms": 5})
    for partition in range(partitions):
        sender.produce(topic, value, partition=partition, on_delivery=acknowledged(failed))
    assert sender.flush(60) == 0 and not failed, failed[:3]


def syncs(broker, options):
    for partitions in (1, 100, 1000):
        topic = f"syncs-{partitions}"
        create_topic(broker, topic, partitions)
        once_each(broker, topic, partitions)
        with Syncs(broker, options.directory) as loop:
            sent = open_loop(broker, topic, partitions)
        with Syncs(broker, options.directory) as burst:
            once_each(broker, topic, partitions)
        print(f"{partitions:4} partitions, {sent / SECONDS:.0f} batches/s: {loop.calls() / SECONDS:.0f} syncs/s, "
              f"{loop.calls() / sent:.3f} a batch {loop.counts}; a record to each at once: {burst.calls()} syncs")


def fill(broker, gib):
    failed, value = [], os.urandom(MIB)[:250_000]
    sender = producer(broker, **{"linger.ms": 20, "batch.size": MIB - 4096, "queue.buffering.max.kbytes": 256 << 10})
    left = int(gib * (1 << 30)) // len(value)
    while left > 0:
        try:
            sender.produce("full", value, on_delivery=acknowledged(failed))
            left -= 1
        except BufferError:
            sender.poll(0.1)
        sender.poll(0)
    assert sender.flush(LIMIT_S) == 0 and not failed, failed[:3]


def restart(broker, options):
    create_topic(broker, "full", 8, {"retention.bytes": -1})
    fill(broker, options.gib)
    for _ in range(5):
        fill(broker, 0.05)
        began = time.monotonic()
        broker.restart()
        ready = time.monotonic() - began
        with LogClient(broker.port) as log:
            for partition in range(8):
                log.append("full", simple([b"again"]), partition)
        print(f"{options.gib:.0f} GiB: ready {ready:.2f} s after kill -9, all partitions written after "
              f"{time.monotonic() - began:.2f} s (wanted {RESTART_S:.0f} s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=["syncs", "restart"])
    parser.add_argument("--gib", type=float, default=10)
    parser.add_argument("--directory", type=Path, default=CACHE / "one-node")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    broker = Broker(options.directory, ["--admin-port", "0"])
    broker.discard()
    broker.data.mkdir()
    try:
        broker.start()
        {"syncs": syncs, "restart": restart}[options.figure](broker, options)
    finally:
        broker.discard()
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
