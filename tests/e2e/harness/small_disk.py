"""A broker on a small disk of its own, and filling it."""

import os
import subprocess
import time
from contextlib import contextmanager

from . import errors
from .batch import simple

MIB = 1 << 20
LIMIT_S = 60
# Copies from the journal take a fraction of this.
CALM_S = 2
DISK_MIB = 96
RECORD_BYTES = 200_000


@contextmanager
def small_disk(broker):
    """Gives a stopped broker a file system in memory. Mounting needs root, which the tests have."""
    broker.discard()
    broker.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", broker.data], check=True)
    # The store gets a directory of its own, so that there is room for something else beside it.
    broker.ballast = broker.data / "ballast"
    broker.data = broker.data / "store"
    try:
        yield
    finally:
        broker.kill()
        broker.data = broker.directory / "data"
        subprocess.run(["umount", broker.data], check=True)


def free_mib(broker):
    stat = os.statvfs(broker.data)
    return stat.f_bavail * stat.f_frsize / MIB


def numbered(number):
    return b"%08d" % number + b"x" * RECORD_BYTES


def fill(log, topic, first=0):
    """Produces until the disk is full; returns how many records were acknowledged.

    What was refused may fit a moment later, when what waits in the journal has been copied: the disk is full once
    nothing more was taken for a while.
    """
    number, refused_since = first, None
    while True:
        assert number < 10 * DISK_MIB, "the disk does not fill"
        answer = log.produce(topic, simple([numbered(number)]))
        code = answer["ErrorCode"]
        if not code:
            number, refused_since = number + 1, None
            continue
        assert code == errors.KAFKA_STORAGE_ERROR, answer
        refused_since = refused_since or time.monotonic()
        if time.monotonic() - refused_since > CALM_S:
            return number
        time.sleep(0.02)


def write_again(log, topic, limit_s=LIMIT_S):
    limit = time.monotonic() + limit_s
    while True:
        answer = log.produce(topic, simple([b"again"]))
        if answer["ErrorCode"] == 0:
            return answer["BaseOffset"]
        assert answer["ErrorCode"] == errors.KAFKA_STORAGE_ERROR and time.monotonic() < limit, answer
        time.sleep(0.05)
