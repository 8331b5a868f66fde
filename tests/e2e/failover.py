"""How long a partition takes no writes when its leader dies, stands still or leaves.

    python -m failover --rounds 30 --how kill,stop,leave

Three nodes on loopback, one partition that all of them hold. For each node a thread writes one small record at a time to
it, with acks=all, over a connection of its own, and tries again PAUSE_S later whatever the answer: there is no back-off, no
metadata and no request time-out of a client in the figures, and their resolution is about PAUSE_S. The three are the light
load as well. The time of a round is that from the signal to the leader to the first acknowledgement by another node; when a
leader leaves (SIGTERM), it is from the last acknowledgement by the old leader to the first by a new one.
"""

import argparse
import os
import random
import re
import signal
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

from harness.batch import simple
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CACHE

TOPIC = "failover"
PAUSE_S = 0.005
LIMIT_S = 60
# What the product promises: the median and the 99th percentile, in milliseconds.
TARGETS = {"kill": (1000, 2000), "stop": (None, 3000), "leave": (None, 200)}
TOLD = re.compile(r"event=(election|leading|led|session_down|session_up|peer_lost|goodbye|stopping|leaders_moved)\b")


class Prober(threading.Thread):
    """Writes to one node over and over. `acked` has the times at which it acknowledged."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.acked, self.stopping = node, [], threading.Event()
        self.batch = simple([b"x" * 100])

    def run(self):
        client = None
        while not self.stopping.wait(PAUSE_S):
            try:
                client = client or LogClient(self.node.port, timeout=LIMIT_S)
                if client.produce(TOPIC, self.batch, timeout_ms=30_000)["ErrorCode"] == 0:
                    self.acked.append(time.monotonic())
            except OSError:
                if client is not None:
                    client.close()
                client = None


class Rounds:
    """One cluster, and the rounds on it."""

    def __init__(self, cluster, rng):
        self.cluster, self.rng = cluster, rng
        cluster.create_topic(TOPIC)
        self.probers = {node.node_id: Prober(node) for node in cluster.nodes}
        for prober in self.probers.values():
            prober.start()

    def writes(self, since, but=None):
        """The first acknowledgement after a moment, by another node than this."""
        found = [at for number, prober in self.probers.items() if number != but
                 for at in prober.acked[-2000:] if at > since]
        return min(found, default=None)

    def end(self, node):
        with LogClient(node.port, timeout=5) as client:
            return client.fetch(TOPIC, 0, partition_max_bytes=1)["HighWatermark"]

    def settle(self):
        """Everybody is there, follows, and has been at peace for a moment that differs from round to round."""
        self.cluster.heal()
        leader = self.cluster.wait("somebody leads", lambda: self.cluster.leader(TOPIC), LIMIT_S)
        written = self.end(leader)
        for node in self.cluster.nodes:
            self.cluster.wait(f"node {node.node_id} follows", lambda n=node: self.end(n) >= written, LIMIT_S)
        time.sleep(self.rng.uniform(1, 2))
        return self.cluster.wait("somebody leads", lambda: self.cluster.leader(TOPIC), LIMIT_S)

    def run(self, how):
        """Does one round; returns its time in seconds, and what the nodes said meanwhile."""
        leader = self.settle()
        began, wall = time.monotonic(), time.time()
        os.kill(leader.pid, {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "leave": signal.SIGTERM}[how])
        at = self.cluster.wait("another node acknowledges", lambda: self.writes(began, leader.node_id), LIMIT_S)
        if how == "stop":
            leader.resume()
        if how != "stop":
            leader.process.wait(LIMIT_S)
        if how == "leave":
            began = max((ack for ack in self.probers[leader.node_id].acked if ack < at), default=began)
        return at - began, self.told(wall, leader)

    def told(self, wall, leader):
        """The lines about elections since a moment, each with the milliseconds after it."""
        return [f"{after * 1000:7.0f} ms  node {node.node_id}{' (was leader)' if node is leader else ''}: {text}"
                for after, node, text in elections(self.cluster, wall) if after < LIMIT_S]


def elections(cluster, wall):
    """What the nodes said about elections since a moment: the seconds after it, the node, and the line."""
    lines = []
    for node in cluster.nodes:
        for line in node.log_path.read_text(errors="replace").splitlines():
            stamp = re.match(r"\[(\S+)Z ", line)
            if stamp and TOLD.search(line):
                after = datetime.fromisoformat(stamp[1] + "+00:00").timestamp() - wall
                if after >= 0:
                    lines.append((after, node, line.split("] ", 1)[1][:150]))
    return sorted(lines, key=lambda line: line[0])


def quantile(times, share):
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def measure(rounds, how, count):
    """Does the rounds of one kind and tells them; whether the targets are met."""
    results = []
    for _ in range(count):
        results.append(rounds.run(how))
    times = [seconds * 1000 for seconds, _ in results]
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    wanted50, wanted99 = TARGETS[how]
    met = p99 <= wanted99 and (wanted50 is None or p50 <= wanted50)
    print(f"{how}: {count} rounds, p50 {p50:.0f} ms, p90 {quantile(times, 0.9):.0f} ms, p99 {p99:.0f} ms, "
          f"max {max(times):.0f} ms; wanted p99 {wanted99} ms{f' and p50 {wanted50} ms' if wanted50 else ''}: "
          f"{'met' if met else 'MISSED'}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    print("  all: " + " ".join(f"{ms:.0f}" for ms in times))
    worst = max(results, key=lambda one: one[0])
    print(f"  the longest, {worst[0] * 1000:.0f} ms:")
    for line in worst[1][:40]:
        print("   ", line)
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--how", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--directory", type=Path, default=CACHE / "failover")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    cluster = Cluster(options.directory)
    try:
        cluster.start()
        rounds = Rounds(cluster, random.Random(options.seed))
        met = [measure(rounds, how, options.rounds) for how in options.how]
    finally:
        cluster.discard()
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
