"""What the tier costs beside reads, measured by hand.

    python -m tier_costs restore --partitions 1000   how long the metadata of so many partitions takes to be restored
    python -m tier_costs upload --rounds 3           CPU seconds of the node for a GB of uploads beside 100 MB/s of produce
    python -m tier_costs beside --rounds 3           p99 of a producer while everything cold is read, and while nothing is

One node, and a store in memory on the same machine which answers each request after --wait-ms. `upload` writes the same
bytes to a topic that goes to the tier and to one that does not, in turns, and tells the difference. `beside` writes 10 MB/s
in an open loop to one topic, while librdkafka's performance program (`tools/build_rdkafka_performance.sh`) reads another
one, of --mib, out of the store, with empty caches.
"""

import argparse
import os
import subprocess
import sys
import time

from confluent_kafka import Producer
from figures import LIVE, Foreground
from harness.admin import create_topic
from harness.batch import simple
from harness.broker import Broker, free_port
from harness.log_client import LogClient
from harness.paths import CACHE
from harness.s3 import CREDENTIALS, S3
from harness.tier import edges, run_tool, settled, status, wait_for
from tier_speed import LIMIT_S, MB, MIB, TOPIC, cpu_seconds, fill, listens, read_all, shorten

LIVE_MB_S, QUIET_S = 10, 20
RECORD = 64 << 10


def all_settled(broker):
    """Whether every partition that has records was published."""
    return all(one["leading"] and one["lag_bytes"] == 0 and one["published"] and one["tiered_end_offset"] and one["failure"] is None
               for one in status(broker)["partitions"])


def restore(broker, options):
    topics = (options.partitions + 99) // 100
    for number in range(topics):
        create_topic(broker, f"t{number}", 100, {"segment.ms": 1000, "remote.storage.enable": "true"})
    with LogClient(broker.port) as log:
        for _ in range(2):
            for number in range(topics):
                for partition in range(100):
                    log.append(f"t{number}", simple([b"record"]), partition)
            time.sleep(1.5)
    wait_for("every partition is published", lambda: all_settled(broker), LIMIT_S)
    config = broker.directory / "node.toml"
    broker.kill()
    url = "s3://chronik-e2e/speed"
    for number in range(options.rounds):
        for what, more in (("read", ["--dry-run"]), ("restored", [])):
            began = time.monotonic()
            code, said = run_tool("restore", "--from", url, "--config", str(config), "--node-id", "1", "--data-dir",
                                  str(broker.directory / f"new{number}"), *more)
            assert code == 0, said
            print(f"round {number + 1}: {topics * 100} partitions {what} in {time.monotonic() - began:.1f} s", flush=True)


def paced(broker, topic, mib, mb_s):
    """Writes at that rate; CPU seconds of the node until everything was acknowledged."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "linger.ms": 5, "batch.size": MIB - 4096,
                         "queue.buffering.max.kbytes": 256 << 10, "log_level": 0})
    value, count = os.urandom(RECORD), mib * MIB // RECORD
    began = time.monotonic()
    for number in range(count):
        while (left := began + number * RECORD / (mb_s * MB) - time.monotonic()) > 0:
            producer.poll(left)
        while True:
            try:
                producer.produce(topic, value)
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(LIMIT_S) == 0
    return mib * MIB / (time.monotonic() - began) / MB


def upload(broker, options):
    for topic, tiered in (("local", "false"), ("tiered", "true")):
        create_topic(broker, topic, 1, {"remote.storage.enable": tiered, "retention.bytes": 512 * MIB,
                                        "local.retention.bytes": 256 * MIB})
    gb = options.mib * MIB / 1e9
    for number in range(options.rounds):
        spent = {}
        for topic in ("local", "tiered"):
            cpu = cpu_seconds(broker)
            speed = paced(broker, topic, options.mib, 100)
            if topic == "tiered":
                wait_for("everything is uploaded", lambda: settled(broker, topic), LIMIT_S)
            spent[topic] = (cpu_seconds(broker) - cpu) / gb
            print(f"round {number + 1}: {topic} {speed:.0f} MB/s, {spent[topic]:.2f} CPU-s/GB", flush=True)
        print(f"round {number + 1}: uploads {spent['tiered'] - spent['local']:.2f} CPU-s/GB (wanted below 1)", flush=True)


def beside(broker, options):
    create_topic(broker, TOPIC, configs={"segment.bytes": 128 * MIB})
    create_topic(broker, LIVE, configs={"remote.storage.enable": "false", "retention.bytes": 512 * MIB})
    fill(broker, options.mib)
    end = wait_for("everything is uploaded", lambda: settled(broker, TOPIC), LIMIT_S)
    shorten(broker)
    wait_for("old segments are in the store alone", lambda: edges(broker, TOPIC)[1] >= end, LIMIT_S)
    for number in range(options.rounds):
        broker.restart()
        live = Foreground(broker, LIVE_MB_S)
        live.start()
        time.sleep(5)
        quiet = time.monotonic()
        time.sleep(QUIET_S)
        began = time.monotonic()
        speed, _ = read_all(broker, end, options)
        done = time.monotonic()
        live.stopping.set()
        live.join()
        before, during = live.p99_ms(quiet, began), live.p99_ms(began, done)
        print(f"round {number + 1}: p99 of {LIVE_MB_S} MB/s {before:.1f} ms quiet, {during:.1f} ms beside a cold read of "
              f"{speed:.0f} MB/s, {during / before:.1f} times (wanted 2); {live.failed} failed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["restore", "upload", "beside"])
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--wait-ms", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tool", default=CACHE / "bin/rdkafka_performance", help="rdkafka_performance")
    options = parser.parse_args()
    os.environ.update(CREDENTIALS)
    directory = CACHE / "tier-costs"
    directory.mkdir(parents=True, exist_ok=True)
    broker, port = Broker(directory), free_port()
    broker.discard()
    broker.data.mkdir()
    broker.log_path.unlink(missing_ok=True)
    store = subprocess.Popen([sys.executable, "-m", "harness.fast_store", str(port), str(options.wait_ms)])
    try:
        text = S3.format(folder="speed", port=port)
        text = text.replace('topics.local_retention_bytes = "2MiB"\n', "")
        if options.what != "beside":
            text = text.replace("topics.remote_storage_enable = true\n", "")
        config = directory / "node.toml"
        config.write_text(text + "tier.cache_bytes = 0\ntier.upload_interval_ms = 100\n"
                          "topics.retention_check_interval_ms = 1000\n")
        broker.extra_args = ["--config", str(config), "--admin-port", "0"]
        wait_for("the store listens", lambda: listens(port))
        broker.start()
        {"restore": restore, "upload": upload, "beside": beside}[options.what](broker, options)
    finally:
        broker.discard()
        store.kill()
        store.wait()


if __name__ == "__main__":
    main()
