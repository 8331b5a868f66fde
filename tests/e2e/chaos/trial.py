"""One chaos run: load, faults, heal, read every replica, judge.

    python -m chaos.trial --minutes 60 --seed 7     a long run by hand; prints the counts and the anomalies
    ... --nodes 5 --faults processes,links          five nodes, each on a link of its own that is broken as well
"""

import argparse
import collections
import contextlib
import random
import sys
import time
from pathlib import Path

from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.network import Network
from harness.paths import CACHE

from .checker import Checker
from .history import OK, History, ends_of_epochs, writings_of_repeats
from .disks import Disks
from .java import JavaProducing
from .links import Links
from .nemesis import Nemesis, Processes
from .workload import Consuming, Producing, decode

TOPIC, PARTITIONS = "chaos", 3
FAULTS = {"processes": Processes, "links": Links, "disks": Disks}
# Small journals, so that disks of moderate size are enough. The load of a run takes about a megabyte a second.
STORE = '[storage]\njournal_file_bytes = "5MiB"\nmax_journal_files = 2\nrecycled_bytes = 0\n'
# After the last fault, how long clients and replicas may take to come to rest.
REST_LIMIT_S = 120
# When a batch behind one that failed is refused as out of order, librdkafka numbers what is in flight on all partitions anew,
# in a new epoch, and may write it twice (librdkafka 4953). Leaders of async-raft come and go often enough for that.
ONE_IN_FLIGHT = {"max.in.flight.requests.per.connection": 1}


def high_watermarks(node):
    with LogClient(node.port, timeout=5, host=node.host) as client:
        return [client.fetch(TOPIC, 0, partition)["HighWatermark"] for partition in range(PARTITIONS)]


def at_rest(cluster):
    """Whether all nodes answer and show the same ends."""
    try:
        ends = [high_watermarks(node) for node in cluster.nodes]
    except (OSError, AssertionError):
        return False
    return ends[0] if all(end == ends[0] for end in ends) and -1 not in ends[0] else False


def replica_logs(cluster):
    """The log of every replica, how those records were written that are in one more than once, and the ends of the epochs."""
    logs, writings, ends = {}, {}, {}
    for node in cluster.nodes:
        with LogClient(node.port, timeout=60, host=node.host) as client:
            for partition in range(PARTITIONS):
                batches = client.batches(TOPIC, partition)
                log = [(r[0], decode(bytes(r[3]))) for batch in batches for r in batch.records()]
                logs.setdefault(partition, {})[node.node_id] = log
                writings.setdefault(partition, {}).update(writings_of_repeats(batches, log))
                ends.setdefault(partition, {}).update(ends_of_epochs(batches))
    return {"logs": logs, "writings": writings, "ends": ends}


def finish(workers):
    for one in workers:
        one.worker.stopping.set()
    for one in workers:
        one.worker.join(120)
        assert not one.worker.is_alive(), f"{one.name} does not end"
        assert one.worker.problem is None, one.worker.problem


def progress(producers, before):
    """Whether each producer had more records acknowledged than before."""
    return all(producer.acked > acked + 10 for producer, acked in zip(producers, before, strict=True))


def run(cluster, seconds, rng, sorts=("processes",), report=print, client=None):
    """Runs with faults of these sorts, judges, and returns (history, anomalies). Every node has every partition. `client`
    has more settings of librdkafka's producers."""
    cluster.create_topic(TOPIC, PARTITIONS, replication=len(cluster.nodes))
    client = client or {}
    producers = [Producing(cluster, TOPIC, PARTITIONS, f"p{number}", config=client) for number in range(2)]
    producers.append(Producing(cluster, TOPIC, PARTITIONS, "p-zstd", config={"compression.codec": "zstd", **client}))
    producers.append(JavaProducing(cluster, TOPIC, "p-java", cluster.nodes[0].directory))
    consumers = [Consuming(cluster, TOPIC, PARTITIONS, "c0"), Consuming(cluster, TOPIC, PARTITIONS, "g0", group="g"),
                 Consuming(cluster, TOPIC, PARTITIONS, "g1", group="g")]
    faults = [FAULTS[sort](cluster, TOPIC, rng) for sort in sorts]
    nemesis = Nemesis(faults, rng)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = [producer.acked for producer in producers]
        time.sleep(rng.uniform(0.2, 2))
        nemesis.strike()
        cluster.wait("every producer gets on after a fault", lambda: progress(producers, before), REST_LIMIT_S)  # noqa: B023
    cluster.heal()
    finish(producers)
    ends = cluster.wait("all replicas show the same end", lambda: at_rest(cluster), REST_LIMIT_S)
    cluster.wait("the reader has everything", lambda: consumers[0].read >= sum(ends), REST_LIMIT_S)
    finish(consumers)
    history = History(sends=[send for producer in producers for send in producer.sends],
                      polls=[poll for consumer in consumers for poll in consumer.polls],
                      faults=nemesis.noted(), epochs=[epoch for producer in producers for epoch in producer.begun],
                      **replica_logs(cluster))
    problems = [problem for producer in producers for problem in producer.fatal]
    checker = Checker(history)
    anomalies = checker.run() + [("fatal", problem) for problem in problems]
    tell(history, anomalies, report)
    report(f"{len(checker.again)} records written again by their clients, in a new epoch")
    for text in checker.again[:20]:
        report(f"  written again: {text}")
    for kind, reason in [pair for one in faults for pair in one.skipped.items()]:
        report(f"not done: {kind}, because {reason}")
    return history, anomalies


@contextlib.contextmanager
def cluster_for(directory, count, sorts, seconds, backend="raft-rs"):
    """A cluster with this consensus engine that can suffer these sorts of faults for so long."""
    network = Network(count) if "links" in sorts else None
    cluster = None
    try:
        disk_mib = 384 + round(2 * seconds) if "disks" in sorts else None
        config = directory / "store.toml"
        config.write_text(f'[consensus]\nbackend = "{backend}"\n' + (STORE if disk_mib else ""))
        cluster = Cluster(directory, count, ["--config", str(config)], network, disk_mib)
        yield cluster.start()
    finally:
        if cluster is not None:
            cluster.kill()
            cluster.unmount()
        if network is not None:
            network.remove()


def tell(history, anomalies, report):
    outcomes = collections.Counter(send.outcome for send in history.sends)
    faults = collections.Counter(fault["kind"] for fault in history.faults)
    polled = sum(len(poll.records) for poll in history.polls)
    stored = sum(max(map(len, nodes.values())) for nodes in history.logs.values())
    report(f"{len(history.sends)} sends ({outcomes[OK]} acknowledged), {stored} stored, {polled} polled; faults "
           f"{dict(sorted(faults.items()))}; {len(history.epochs)} new epochs; {len(anomalies)} anomalies")
    for name, text in anomalies[:20]:
        report(f"  {name}: {text}")


def main():
    parser = argparse.ArgumentParser(description="Faults under load on a cluster, and a verdict.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--faults", type=lambda text: text.split(","), default=["processes"],
                        help=f"some of {', '.join(FAULTS)}, with commas between them")
    parser.add_argument("--backend", default="raft-rs", help="the consensus engine: raft-rs or async-raft")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--directory", type=Path, default=CACHE / "chaos")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    options.directory.mkdir(parents=True, exist_ok=True)
    seconds = options.minutes * 60
    with cluster_for(options.directory, options.nodes, options.faults, seconds, options.backend) as cluster:
        client = ONE_IN_FLIGHT if options.backend == "async-raft" else None
        history, anomalies = run(cluster, seconds, random.Random(options.seed), options.faults, client=client)
    history.dump(options.directory / "history.jsonl")
    sys.exit(1 if anomalies else 0)


if __name__ == "__main__":
    main()
