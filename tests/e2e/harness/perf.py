"""librdkafka's own performance program (tools/build_rdkafka_performance.sh)."""

import re
import subprocess

from .paths import CACHE

TOOL = CACHE / "bin/rdkafka_performance"
BULK = ("linger.ms=5", "batch.size=1000000", "queue.buffering.max.messages=500000")
READ = ("fetch.message.max.bytes=10000000",)
SPEED = re.compile(r"([\d.]+) msgs/s\D+([\d.]+) MB/s")
LIMIT_S = 600


def run(tool, mode, bootstrap, topic, size, count, partition=0):
    """Writes (-P, acks=all) or reads (-C) so many records of a partition; records and MB a second, as it counts them."""
    words = [word for setting in (BULK if mode == "-P" else READ) for word in ("-X", setting)]
    argv = [str(tool), mode, "-b", bootstrap, "-t", topic, "-p", str(partition), "-c", str(count), *words]
    argv += ["-s", str(size), "-a", "-1"] if mode == "-P" else ["-o", "beginning"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    told = done.stdout + done.stderr
    assert mode == "-C" or (f"{count} delivered" in told and ", 0 failed" in told), told[-2000:]
    return [float(cell) for cell in SPEED.findall(told)[-1]]
