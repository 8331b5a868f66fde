"""Nodes with an object tier: their configuration, their bucket, and what the command line says of it."""

import shutil
import subprocess
import time

from .admin import create_topic
from .log_client import LogClient
from .operator import admin_port, get_json
from .paths import SERVER

MIB = 1 << 20
LIMIT_S = 120
EARLIEST, LATEST, EARLIEST_LOCAL, LATEST_TIERED = -2, -1, -4, -5
# What makes a test short: small files, and rounds that come often.
SHORT = """
tier.upload_interval_ms = 50
tier.backup_interval_ms = 100
tier.delete_grace_ms = 0
tier.scrub_interval_ms = 3600000
topics.retention_check_interval_ms = 100
storage.journal_file_bytes = "8MiB"
storage.max_journal_files = 2
storage.recycled_bytes = 0
"""
# What a laptop user writes.
LAPTOP = """
tier.url = "file://{bucket}"
topics.remote_storage_enable = true
topics.local_retention_bytes = "2MiB"
"""


def wait_for(what, condition, limit_s=LIMIT_S):
    limit = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < limit, what() if callable(what) else what
        time.sleep(0.05)
    return found


def run_tool(*argv):
    """Runs `chronik-server ...`; returns its exit code and everything that it said."""
    done = subprocess.run([SERVER, *argv], capture_output=True, text=True, timeout=LIMIT_S)
    return done.returncode, done.stdout + done.stderr


def configure(broker, text):
    """Gives a broker that does not run a configuration of its own."""
    path = broker.directory / "node.toml"
    path.write_text(text + SHORT)
    broker.extra_args = ["--config", str(path), "--admin-port", "0"]
    return path


def fresh_directory(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def edges(broker, topic, partition=0):
    """Log start, first local offset, last tiered offset, log end."""
    with LogClient(broker.port) as log:
        times = (EARLIEST, EARLIEST_LOCAL, LATEST_TIERED, LATEST)
        return tuple(log.offset_at(topic, time_, partition)[0] for time_ in times)


def status(broker):
    """What the node says of its tier."""
    code, report = get_json(admin_port(broker), "/v1/tier")
    assert code == 200, report
    return report


def place(broker, topic, partition=0):
    """What the node says of one partition's place in the tier."""
    for one in status(broker)["partitions"]:
        if (one["topic"], one["partition"]) == (topic, partition):
            return one
    return None


def settled(broker, topic, partition=0):
    """The end of the tier, once every sealed segment is in it and published."""
    one = place(broker, topic, partition)
    done = one and one["leading"] and one["lag_bytes"] == 0 and one["published"] and one["failure"] is None
    return done and one["tiered_end_offset"]


def small_topic(broker, topic, partitions=1, **configs):
    create_topic(broker, topic, partitions, {"segment.bytes": MIB, **configs})
