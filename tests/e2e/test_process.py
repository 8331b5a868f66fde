"""The broker as a process: ready line, identity, signals, and its lock on the data directory."""

import os
import resource
import signal
import subprocess
import time

import pytest
from harness.admin import create_topic
from harness.batch import simple
from harness.broker import SERVER, listening_inodes
from harness.log_client import LogClient, fetch_values, produce_values
from harness.paths import CONTROL

ours = pytest.mark.skipif(CONTROL, reason="about our own binary")


def test_it_serves_when_it_says_ready(own_broker):
    """The harness has checked the pid behind the port and the hash of the running file already."""
    with LogClient(own_broker.port) as log:
        assert log.call("ApiVersions", 0)["ErrorCode"] == 0
    print(f"ready after {own_broker.started_in_ms:.0f} ms on an empty directory")


@ours
def test_the_ready_line_is_one_line_with_the_address(own_broker):
    lines = own_broker.log_path.read_text().splitlines()
    assert sum(1 for line in lines if own_broker.is_ready(line)) == 1
    assert own_broker.bootstrap in own_broker.is_ready("\n".join(lines))[0]


def test_sigterm_drains_and_exits_0(own_broker, topic):
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as log:
        for i in range(20):
            log.append(topic, simple([b"%d" % i]))
        assert own_broker.terminate() == (143 if CONTROL else 0)
    assert not listening_inodes(own_broker.port)
    own_broker.start()
    with LogClient(own_broker.port) as log:
        assert [r[3] for r in log.records(topic)] == [b"%d" % i for i in range(20)]


@ours
def test_sigterm_ends_in_time_despite_long_polls_and_idle_connections(own_broker, topic):
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as polling, LogClient(own_broker.port) as idle:
        polling.send("Fetch", 12, fetch_values({(topic, 0): (0, 1000)}, max_wait_ms=60000))
        idle.call("ApiVersions", 0)
        assert own_broker.terminate(limit=20) == 0


@ours
def test_answers_owed_at_sigterm_are_sent(own_broker, topic):
    """A produce that was taken in gets its answer, or its connection closes; what was answered is there."""
    create_topic(own_broker, topic)
    acked = []
    with LogClient(own_broker.port) as log:
        sent = [log.send("Produce", 9, produce_values(topic, simple([b"%d" % i]))) for i in range(200)]
        own_broker.process.send_signal(signal.SIGTERM)
        try:
            for i, correlation in enumerate(sent):
                answer = log.receive("Produce", 9, correlation)["Responses"][0]["PartitionResponses"][0]
                if answer["ErrorCode"] == 0:
                    acked.append((answer["BaseOffset"], b"%d" % i))
        except ConnectionError:
            pass
    assert own_broker.process.wait(20) == 0
    own_broker.start()
    with LogClient(own_broker.port) as log:
        stored = {r[0]: r[3] for r in log.records(topic)}
    assert all(stored.get(offset) == value for offset, value in acked), f"{len(acked)} acknowledged"


@ours
def test_a_second_process_on_the_directory_is_refused(own_broker, tmp_path):
    port = own_broker.port
    argv = own_broker.argv()
    argv[argv.index(str(port))] = str(port - 1 if port > 20000 else port + 1)
    second = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert second.returncode != 0 and second.stderr.strip()
    assert own_broker.alive()
    with LogClient(port) as log:
        assert log.call("ApiVersions", 0)["ErrorCode"] == 0


@ours
def test_a_taken_port_is_a_clear_error(own_broker, tmp_path):
    argv = own_broker.argv()
    argv[argv.index(str(own_broker.data))] = str(tmp_path / "other")
    second = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert second.returncode != 0
    assert str(own_broker.port) in second.stderr + second.stdout


@ours
def test_the_sizes_of_an_idle_node(own_broker):
    """At most 25 MiB resident on an empty directory; the binary at most 20 MB."""
    with LogClient(own_broker.port) as log:
        log.call("ApiVersions", 0)
    size, rss = os.path.getsize(SERVER), own_broker.rss_kib()
    print(f"binary {size / 1e6:.1f} MB, idle RSS {rss / 1024:.1f} MiB")
    assert size <= 20e6
    assert rss <= 25 * 1024


@ours
def test_a_thousand_idle_partitions_fit_in_64_mib(own_broker):
    for i in range(10):
        create_topic(own_broker, f"idle-{i}", 100)
    with LogClient(own_broker.port) as log:
        for i in range(10):
            for partition in range(100):
                log.append(f"idle-{i}", simple([b"z" * 1000]), partition)
    own_broker.restart()
    with LogClient(own_broker.port) as log:
        log.call("Metadata", 12, Topics=None)
    print(f"RSS with 1,000 partitions: {own_broker.rss_kib() / 1024:.1f} MiB, start {own_broker.started_in_ms:.0f} ms")
    assert own_broker.rss_kib() <= 64 * 1024


@ours
def test_an_idle_node_uses_next_to_no_cpu(own_broker):
    """Counted in CPU time over a stretch of idleness, so that a busy machine does not matter."""
    create_topic(own_broker, "idle", 100)

    def ticks():
        cells = open(f"/proc/{own_broker.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(cells[11]) + int(cells[12])

    before, begin = ticks(), time.monotonic()
    time.sleep(3)
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin)
    print(f"idle CPU: {used:.2%} of a core")
    assert used < 0.03


@pytest.mark.parametrize("count", [1000])
def test_a_thousand_idle_connections(own_broker, topic, count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    create_topic(own_broker, topic)
    files, rss = own_broker.open_files(), own_broker.rss_kib()
    clients = [LogClient(own_broker.port) for _ in range(count)]
    try:
        for client in clients[::10]:
            assert client.call("ApiVersions", 0)["ErrorCode"] == 0
        assert clients[-1].append(topic, simple([b"x"])) == 0
        grown = own_broker.rss_kib() - rss
        print(f"{count} connections: {grown / count:.1f} KiB each")
        assert CONTROL or grown <= count * 64
    finally:
        for client in clients:
            client.close()
    limit = time.monotonic() + 30
    while own_broker.open_files() > files + 20:
        assert time.monotonic() < limit, "closed connections are kept"
        time.sleep(0.05)


@ours
def test_verify_names_the_file_with_a_flipped_bit(own_broker, topic):
    create_topic(own_broker, topic)
    with LogClient(own_broker.port) as log:
        for i in range(20):
            log.append(topic, simple([b"%d" % i * 1000]))
    assert own_broker.terminate() == 0

    def verify():
        return subprocess.run(
            [SERVER, "verify", "--data-dir", own_broker.data], capture_output=True, text=True, timeout=60
        )

    whole = verify()
    assert whole.returncode == 0, whole
    journal = sorted(own_broker.data.glob("journal/*.jnl"))[0]
    with open(journal, "r+b") as file:
        file.seek(3000)
        byte = file.read(1)[0]
        file.seek(3000)
        file.write(bytes([byte ^ 1]))
    damaged = verify()
    assert damaged.returncode == 1, damaged
    assert journal.name in damaged.stdout
