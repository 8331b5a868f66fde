"""Whether anybody loses the lead for no reason: three nodes under full load, and every election meanwhile.

    tools/build_rdkafka_performance.sh
    python -m elections --minutes 60

librdkafka's own performance program writes records of 1 KiB, with acks=all and as fast as they are taken, from several
processes to partitions that all three nodes hold, while retention deletes. Nobody is killed or held up. Printed are what was
acknowledged, and every line of the nodes about elections and about sessions between them, with its time: there should be
none. The exit code is 1 where there is one.
"""

import argparse
import os
import sys
import threading
import time
from pathlib import Path

from failover import elections
from harness import perf
from harness.cluster import Cluster
from harness.paths import CACHE

TOPIC, SIZE, RECORDS = "full-load", 1024, 100_000
RETAIN = {"retention.bytes": 64 << 20, "segment.bytes": 16 << 20}
SETTLE_S = 10


class Writer(threading.Thread):
    """Writes to one partition, run after run, until the end. `mb` is what was acknowledged."""

    def __init__(self, options, bootstrap, partition, end):
        super().__init__()
        self.options, self.bootstrap, self.partition, self.end = options, bootstrap, partition, end
        self.mb, self.error = 0.0, None

    def run(self):
        try:
            while time.monotonic() < self.end:
                perf.run(self.options.tool, "-P", self.bootstrap, TOPIC, SIZE, RECORDS, self.partition)
                self.mb += SIZE * RECORDS / 1e6
        except Exception as error:
            self.error = error


def load(cluster, options):
    """Writes for so long; returns the MB that were acknowledged, and what went wrong."""
    end = time.monotonic() + options.minutes * 60
    writers = [Writer(options, cluster.bootstrap, number, end) for number in range(options.producers)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return sum(writer.mb for writer in writers), [writer.error for writer in writers if writer.error]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--producers", type=int, default=4, help="each with a partition of its own")
    parser.add_argument("--tool", type=Path, default=perf.TOOL, help="rdkafka_performance")
    parser.add_argument("--directory", type=Path, default=CACHE / "elections")
    options = parser.parse_args()
    cluster = Cluster(options.directory)
    try:
        cluster.start()
        cluster.create_topic(TOPIC, options.producers, configs=RETAIN)
        time.sleep(SETTLE_S)
        began, wall = time.monotonic(), time.time()
        mb, errors = load(cluster, options)
        spent, lines = time.monotonic() - began, elections(cluster, wall)
    finally:
        cluster.discard()
    print(f"{mb / 1000:.1f} GB acknowledged in {spent / 60:.1f} minutes, {mb / spent:.0f} MB/s; {len(errors)} producers failed; "
          f"{len(lines)} lines about elections and sessions; load of the machine {os.getloadavg()[0]:.1f}")
    for error in errors:
        print("  failed:", str(error)[:300])
    for after, node, text in lines[:200]:
        print(f"  {after:8.1f} s  node {node.node_id}: {text}")
    sys.exit(1 if errors or lines else 0)


if __name__ == "__main__":
    main()
