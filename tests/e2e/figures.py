"""Figures of a cluster that are measured by hand, since a shared machine says little.

    python -m figures idle --partitions 1000     CPU and memory of each node while nothing happens
    python -m figures catch-up --gib 2           how fast a node with an empty directory catches up beside other work

Three nodes on loopback. `idle` makes a topic of that many partitions with three replicas each, waits until it is led, and
looks at each process over a minute. `catch-up` writes a topic while one node is away, empties that node's directory, and
starts it beside producers that write 20 MB/s to another topic in an open loop: each record has a time at which it is due, and
its latency counts from there. The speed is what came into the node from its start until its replica was whole.
"""

import argparse
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Producer
from harness.broker import BrokerError
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CACHE

OLD, LIVE = "old", "live"
MIB, MB = 1 << 20, 1_000_000
TICK = os.sysconf("SC_CLK_TCK")
SETTLE_S, LOOK_S, LIMIT_S = 20, 60, 900
FOREGROUND_MB_S, RECORD = 20, 16_384
IDLE_CPU, IDLE_RSS_MIB, CATCH_UP_MB_S, SLOWER = 3.0, 128, 150, 3.0


def cpu_seconds(node):
    with open(f"/proc/{node.pid}/stat") as f:
        cells = f.read().rsplit(")", 1)[1].split()
    return (int(cells[11]) + int(cells[12])) / TICK


def idle(cluster, options):
    began = time.monotonic()
    cluster.create_topic("idle", options.partitions, limit_s=LIMIT_S)
    print(f"{options.partitions} partitions were created and led within {time.monotonic() - began:.1f} s")
    time.sleep(SETTLE_S)
    before, at = [cpu_seconds(node) for node in cluster.nodes], time.monotonic()
    time.sleep(LOOK_S)
    spent = time.monotonic() - at
    met = True
    for node, first in zip(cluster.nodes, before):
        cpu, rss = (cpu_seconds(node) - first) / spent * 100, node.rss_kib() / 1024
        met &= cpu <= IDLE_CPU and rss <= IDLE_RSS_MIB
        print(f"node {node.node_id}: {cpu:.2f} % of a core over {spent:.0f} s, RSS {rss:.0f} MiB "
              f"(wanted {IDLE_CPU:.0f} % and {IDLE_RSS_MIB} MiB)")
    return met


class Foreground(threading.Thread):
    """So many MB/s in an open loop. `latencies` has (when it was due, seconds until acknowledged)."""

    def __init__(self, cluster, mb_s=FOREGROUND_MB_S):
        super().__init__(daemon=True)
        self.step = RECORD / (mb_s * MB)
        self.stopping, self.latencies, self.failed = threading.Event(), [], 0
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0,
                                  "enable.idempotence": True, "log_level": 0})
        self.value = os.urandom(RECORD)

    def run(self):
        due = time.monotonic()
        while not self.stopping.is_set():
            due += self.step
            while (left := due - time.monotonic()) > 0:
                self.producer.poll(left)
            try:
                self.producer.produce(LIVE, self.value, on_delivery=lambda error, _, due=due: self.note(error, due))
            except BufferError:
                self.failed += 1
            self.producer.poll(0)
        self.producer.flush(60)

    def note(self, error, due):
        if error is None:
            self.latencies.append((due, time.monotonic() - due))
        else:
            self.failed += 1

    def quantile_ms(self, quantile, since, until):
        seen = sorted(latency for due, latency in self.latencies if since <= due < until)
        return seen[int(len(seen) * quantile)] * 1000 if seen else float("nan")

    def p99_ms(self, since, until):
        return self.quantile_ms(0.99, since, until)


def write_old(cluster, gib):
    """As fast as one producer can; returns how long it took."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 20, "batch.size": MIB - 4096,
                         "queue.buffering.max.kbytes": 256 << 10, "log_level": 0})
    value, began = os.urandom(100 * RECORD)[:250_000], time.monotonic()
    left = int(gib * (1 << 30)) // len(value)
    while left > 0:
        try:
            producer.produce(OLD, value)
            left -= 1
        except BufferError:
            producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(LIMIT_S) == 0, "not everything was acknowledged"
    return time.monotonic() - began


def end(node, topic):
    try:
        with LogClient(node.port, timeout=5) as client:
            return client.fetch(topic, 0, partition_max_bytes=1)["HighWatermark"]
    except OSError:
        return -1


def catch_up(cluster, options):
    cluster.create_topic(OLD, configs={"retention.bytes": -1})
    cluster.create_topic(LIVE)
    away = cluster.node(3)
    away.kill()
    took = write_old(cluster, options.gib)
    size = options.gib * (1 << 30) / MB
    print(f"{size:.0f} MB were written with two nodes at {size / took:.0f} MB/s")
    shutil.rmtree(away.data)
    away.data.mkdir()
    live = Foreground(cluster)
    live.start()
    time.sleep(5)
    calm = time.monotonic()
    time.sleep(options.calm)
    began = time.monotonic()
    away.start()
    wanted = max(end(node, OLD) for node in cluster.others(away))
    cluster.wait("the node has everything", lambda: end(away, OLD) >= wanted, LIMIT_S)
    done = time.monotonic()
    live.stopping.set()
    live.join()
    before, during = live.p99_ms(calm, began), live.p99_ms(began, done)
    speed = size / (done - began)
    print(f"an empty node had {size:.0f} MB after {done - began:.1f} s: {speed:.0f} MB/s (wanted {CATCH_UP_MB_S})")
    print(f"p99 of {FOREGROUND_MB_S} MB/s in records of {RECORD} bytes: {before:.1f} ms before, {during:.1f} ms meanwhile, "
          f"{during / before:.1f}x (wanted {SLOWER:.0f}x); {live.failed} failed")
    return speed >= CATCH_UP_MB_S and during <= SLOWER * before and not live.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=["idle", "catch-up"])
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--calm", type=float, default=20, help="seconds of the foreground alone")
    parser.add_argument("--directory", type=Path, default=CACHE / "figures")
    options = parser.parse_args()
    cluster = Cluster(options.directory)
    try:
        cluster.start()
        met = (idle if options.figure == "idle" else catch_up)(cluster, options)
        print(f"{'met' if met else 'MISSED'}; load of the machine {os.getloadavg()[0]:.1f}")
    except BrokerError as error:
        sys.exit(f"not measured: {error}")
    finally:
        cluster.discard()
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
