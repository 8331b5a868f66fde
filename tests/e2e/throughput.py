"""What one producer and one consumer reach, what that costs, and how long records wait. Measured by hand.

    tools/build_rdkafka_performance.sh
    python -m throughput --nodes 1
    python -m throughput --nodes 3

librdkafka's own performance program against one node, or three on loopback, over one partition that all of them hold, with
acks=all. For each round: records of 1 KiB and of 100 bytes, then 1 KiB records read from the beginning, once from
the disk, as nobody read them before, and once from the page cache; each with the CPU seconds that all nodes spent for a GB of payload. Then latency in an open loop, by the server's own
`bench produce`: each record has a time at which it is due, and its latency counts from there, at --mb-s in records of 16 KiB
for --seconds, while retention deletes where --retain-mib says how much is kept.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic
from figures import LIVE, cpu_seconds
from harness import perf
from harness.broker import Broker, BrokerError
from harness.cluster import Cluster
from harness.paths import CACHE, SERVER

SEGMENT = 16 << 20


def create(bootstrap, name, options, configs=None):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(name, 1, options.nodes, config=configs or {})
    admin.create_topics([new])[name].result(60)


def throughput(nodes, bootstrap, options, number):
    for size, count in ((1024, options.records), (100, options.records * 4)):
        topic = f"bulk-{size}-{number}"
        create(bootstrap, topic, options)
        steps = [("write", "-P"), ("read", "-C"), ("again", "-C")]
        for verb, mode in steps if size == 1024 else steps[:1]:
            before = sum(cpu_seconds(node) for node in nodes)
            records_s, mb_s = perf.run(options.tool, mode, bootstrap, topic, size, count)
            cost = (sum(cpu_seconds(node) for node in nodes) - before) / (size * count / 1e9)
            print(f"{verb} {size:5} B: {mb_s:7.1f} MB/s, {records_s:9.0f} records/s, {cost:.2f} CPU-s/GB of all nodes", flush=True)


def latency(bootstrap, options):
    configs = {}
    if options.retain_mib:
        configs = {"retention.bytes": str(options.retain_mib << 20), "segment.bytes": str(SEGMENT)}
    create(bootstrap, LIVE, options, configs)
    argv = [str(SERVER), "bench", "produce", "--json", "--bootstrap", bootstrap, "--topic", LIVE,
            "--mb-s", str(options.mb_s), "--seconds", str(options.seconds)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise BrokerError("the open loop could not begin")
    report = json.loads(done.stdout)
    latency_ms, late_ms = report["latency_ms"] or {}, report["late_ms"] or {}
    starved = "" if report["starved_percent"] is None else f", {report['starved_percent']:.1f} % of the time without a core"
    told = ", ".join(f"{name.replace('_', '.')} {ms:.2f} ms" for name, ms in latency_ms.items())
    kept = f", {options.retain_mib} MiB kept" if options.retain_mib else ""
    print(f"latency at {report['mb_s']:.1f} MB/s of {options.mb_s:.1f} in records of 16 KiB{kept}: {told or 'none'}; "
          f"{report['failed']} failed, {report['unknown']} unknown; the generator alone was late by {late_ms.get('p99', 'no')} ms "
          f"at p99{starved}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--mb-s", type=float, default=10)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--retain-mib", type=int, default=64)
    parser.add_argument("--tool", type=Path, default=perf.TOOL, help="rdkafka_performance")
    parser.add_argument("--directory", type=Path, default=CACHE / "throughput")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    arguments = ["--admin-port", "0"]
    subject = Broker(options.directory / "one", arguments) if options.nodes == 1 else Cluster(options.directory, extra_args=arguments)
    nodes = [subject] if options.nodes == 1 else subject.nodes
    try:
        subject.discard()
        subject.start()
        for number in range(options.rounds):
            throughput(nodes, subject.bootstrap, options, number)
        latency(subject.bootstrap, options)
        print(f"RSS of each node {', '.join(f'{node.rss_kib() // 1024} MiB' for node in nodes)}; "
              f"load of the machine {os.getloadavg()[0]:.1f}")
    except BrokerError as error:
        sys.exit(f"not measured: {error}")
    finally:
        subject.discard()


if __name__ == "__main__":
    main()
