"""The two consensus engines side by side through Kafka, measured by hand, since a shared machine says little.

    tools/build_rdkafka_performance.sh
    python -m engines --rounds 5

Each round starts three nodes on loopback with the one engine, then with the other: the rounds are interleaved, so that
what the machine does besides meets both. On one partition that all three hold, with acks=all, a round measures

- bulk: how fast rdkafka_performance writes --records records of --size bytes, in batches of up to 1 MB,
- one: the latency of a small record at a time over one connection, of --singles of them.

The last lines have the medians, and async-raft's share of raft-rs. What no network and no client has a part in is measured
by `cargo bench -p chronik-server --bench engines`.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from harness import perf
from harness.batch import simple
from harness.broker import BrokerError
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CACHE

ENGINES = ("raft-rs", "async-raft")
TOPIC = "engines"


def one_at_a_time(cluster, options):
    """The median and the 99th percentile in milliseconds."""
    leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
    batch, took = simple([b"x" * 16]), []
    with LogClient(leader.port, timeout=60) as client:
        for _ in range(options.singles):
            began = time.monotonic()
            assert client.produce(TOPIC, batch, timeout_ms=30_000)["ErrorCode"] == 0
            took.append((time.monotonic() - began) * 1000)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def round_of(engine, options):
    directory = options.directory / engine
    directory.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(directory, backend=engine, extra_args=["--admin-port", "0"])
    try:
        cluster.start()
        cluster.create_topic(TOPIC)
        p50, p99 = one_at_a_time(cluster, options)
        _, speed = perf.run(options.tool, "-P", cluster.bootstrap, TOPIC, options.size, options.records)
    finally:
        cluster.discard()
    print(f"{engine:10}  bulk {speed:7.1f} MB/s   one p50 {p50:6.2f} ms, p99 {p99:6.2f} ms   "
          f"load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    return speed, p50, p99


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--singles", type=int, default=1000)
    parser.add_argument("--tool", type=Path, default=perf.TOOL, help="rdkafka_performance")
    parser.add_argument("--directory", type=Path, default=CACHE / "engines")
    options = parser.parse_args()
    found = {engine: [] for engine in ENGINES}
    try:
        for _ in range(options.rounds):
            for engine in ENGINES:
                found[engine].append(round_of(engine, options))
    except BrokerError as error:
        sys.exit(f"not measured: {error}")
    medians = {engine: [statistics.median(column) for column in zip(*rows)] for engine, rows in found.items()}
    for engine, (speed, p50, p99) in medians.items():
        print(f"median of {options.rounds}: {engine:10}  bulk {speed:7.1f} MB/s   one p50 {p50:6.2f} ms, p99 {p99:6.2f} ms")
    ours, other = medians[ENGINES[1]], medians[ENGINES[0]]
    print("async-raft / raft-rs:  bulk {:.2f}   one p50 {:.2f}, p99 {:.2f}".format(*(a / b for a, b in zip(ours, other))))


if __name__ == "__main__":
    main()
