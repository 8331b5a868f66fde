"""Cold reads: how fast they are beside local ones and beside plain GETs, and what they cost in requests. Measured by hand.

    tools/build_rdkafka_performance.sh
    python -m tier_speed --mib 1024 --rounds 3

One node, one partition, incompressible records in batches of 1 MiB, segments of the default size, and a store in memory which
answers each request after --wait-ms. librdkafka's performance program reads everything from the beginning: from the local
disk, whose pages are dropped from the cache first; then from the store, once the local disk has the tail alone, with empty
caches. Beside it, threads get the same objects in ranges, as many at a time and as large as the node asks for (8 of
16 MiB). The first byte is a fetch of one batch out of a segment that nobody has read, against a GET of 64 KiB.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType,
)
from harness.admin import create_topic
from harness.batch import simple
from harness.broker import Broker, free_port
from harness.log_client import LogClient
from harness.paths import CACHE
from harness.s3 import CREDENTIALS, S3
from harness.tier import edges, settled, status, wait_for

MIB, MB = 1 << 20, 1_000_000
TOPIC, LIMIT_S = "cold", 600
CALLS, CALL_BYTES = 8, 16 * MIB
# What a topic takes by default, with the bytes that a batch has beside its records.
BATCH = MIB - 1024
TICK = os.sysconf("SC_CLK_TCK")
SPEED = re.compile(r"([\d.]+) msgs/s\D+([\d.]+) MB/s")


def cpu_seconds(broker):
    with open(f"/proc/{broker.pid}/stat") as f:
        cells = f.read().rsplit(")", 1)[1].split()
    return (int(cells[11]) + int(cells[12])) / TICK


def read_all(broker, end, options):
    """Reads everything below `end` with librdkafka; MB/s, and CPU seconds of the node for a GB."""
    cpu = cpu_seconds(broker)
    argv = [options.tool, "-C", "-b", broker.bootstrap, "-t", TOPIC, "-p", "0", "-c", str(end), "-o", "beginning",
            "-X", "fetch.message.max.bytes=10000000"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    _, mb_s = SPEED.findall(done.stdout + done.stderr)[-1]
    return float(mb_s), (cpu_seconds(broker) - cpu) / (end * BATCH / 1e9)


def drop_pages(directory):
    for root, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(root, name), "rb") as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def get(port, key, first, last):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/{key}", headers={"Range": f"bytes={first}-{last}"})
    size = len(connection.getresponse().read())
    connection.close()
    return size


def raw(port, objects):
    """MB/s of parallel GETs of everything."""
    spans = [(key, at, min(at + CALL_BYTES, size) - 1) for key, size in objects for at in range(0, size, CALL_BYTES)]
    began = time.monotonic()
    with ThreadPoolExecutor(CALLS) as pool:
        size = sum(pool.map(lambda span: get(port, *span), spans))
    return size / (time.monotonic() - began) / MB


def first_bytes(broker, port, objects):
    """Milliseconds of a fetch out of each segment that nobody read, and of a GET."""
    fetches, gets = [], []
    with LogClient(broker.port) as log:
        for key, _ in objects:
            start = int(key.rsplit("/", 1)[1].split("-")[0])
            began = time.monotonic()
            log.fetch(TOPIC, start, max_bytes=1, partition_max_bytes=1, max_wait_ms=1000)
            fetches.append((time.monotonic() - began) * 1000)
            began = time.monotonic()
            get(port, key, 0, (1 << 16) - 1)
            gets.append((time.monotonic() - began) * 1000)
    return statistics.median(fetches), statistics.median(gets)


def objects_of(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/chronik-e2e?list-type=2&prefix=speed")
    text = connection.getresponse().read().decode()
    cells = [row.split("</Key><Size>") for row in text.split("<Key>")[1:]]
    found = [(f"chronik-e2e/{key}", int(size.split("<")[0])) for key, size in cells]
    return [(key, size) for key, size in found if key.endswith(".seg")]


def fill(broker, mib):
    noise = os.urandom(64 * MIB)
    with LogClient(broker.port) as log:
        for number in range(mib):
            at = number * 7919 % (63 * MIB)
            log.append(TOPIC, simple([noise[at:at + BATCH]]))


def measure(broker, port, options):
    create_topic(broker, TOPIC, configs={"segment.bytes": options.segment_mib * MIB})
    began, cpu = time.monotonic(), cpu_seconds(broker)
    fill(broker, options.mib)
    end = wait_for("everything is uploaded", lambda: settled(broker, TOPIC), LIMIT_S)
    spent = time.monotonic() - began
    gib = sum(size for _, size in objects_of(port)) / (1 << 30)
    puts = status(broker)["requests"]["puts"]
    cost = (cpu_seconds(broker) - cpu) / (options.mib * MIB / 1e9)
    print(f"written and uploaded: {options.mib * MIB / spent / MB:.0f} MB/s, {cost:.2f} CPU-s/GB in all, "
          f"{puts / gib:.0f} PUT/GiB in {len(objects_of(port))} objects", flush=True)
    local = []
    for _ in range(options.rounds):
        broker.restart()
        drop_pages(broker.data)
        local.append(read_all(broker, end, options))
    shorten(broker)
    wait_for("old segments are in the store alone", lambda: edges(broker, TOPIC)[1] >= end, LIMIT_S)
    for number in range(options.rounds):
        broker.restart()
        before = status(broker)["requests"]
        tiered, cpu = read_all(broker, end, options)
        after = status(broker)["requests"]
        gets = (after["gets"] - before["gets"]) / gib
        plain = raw(port, objects_of(port))
        broker.restart()
        fetch_ms, get_ms = first_bytes(broker, port, objects_of(port))
        print(f"round {number + 1}: tiered {tiered:.0f} MB/s ({cpu:.2f} CPU-s/GB, {gets:.0f} GET/GiB); local {local[number][0]:.0f} "
              f"MB/s, share {tiered / local[number][0]:.2f}; parallel GETs {plain:.0f} MB/s, share {tiered / plain:.2f}; first "
              f"byte {fetch_ms:.0f} ms, {fetch_ms / get_ms:.1f} GETs of {get_ms:.0f} ms", flush=True)


def shorten(broker):
    """Local retention as short as can be."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    entry = ConfigEntry("local.retention.bytes", "1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(60)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--segment-mib", type=int, default=128)
    parser.add_argument("--wait-ms", type=float, default=30)
    parser.add_argument("--tool", default=CACHE / "bin/rdkafka_performance", help="rdkafka_performance")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.update(CREDENTIALS)
    directory = CACHE / "tier-speed"
    directory.mkdir(parents=True, exist_ok=True)
    broker, port = Broker(directory), free_port()
    broker.discard()
    broker.data.mkdir()
    broker.log_path.unlink(missing_ok=True)
    store = subprocess.Popen([sys.executable, "-m", "harness.fast_store", str(port), str(options.wait_ms)])
    try:
        text = S3.format(folder="speed", port=port).replace('topics.local_retention_bytes = "2MiB"\n', "")
        config = directory / "node.toml"
        config.write_text(text + "tier.cache_bytes = 0\ntier.upload_interval_ms = 100\n")
        broker.extra_args = ["--config", str(config), "--admin-port", "0"]
        wait_for("the store listens", lambda: listens(port))
        broker.start()
        measure(broker, port, options)
    finally:
        broker.discard()
        store.kill()
        store.wait()


def listens(port):
    try:
        return get(port, "chronik-e2e/none", 0, 0) >= 0
    except OSError:
        return False


if __name__ == "__main__":
    main()
