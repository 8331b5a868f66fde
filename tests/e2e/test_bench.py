"""`chronik-server bench produce`: its counts are those of the log, and what it could not do it says."""

import json
import subprocess

import pytest
from conftest import directory_for
from harness.admin import create_topic
from harness.broker import free_port
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CONTROL, SERVER

ours = pytest.mark.skipif(CONTROL, reason="about our own nodes")
RECORD = 16384
LIMIT_S = 300


def begin(bootstrap, topic, *arguments):
    argv = [str(SERVER), "bench", "produce", "--bootstrap", bootstrap, "--topic", topic, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Exit code, standard output and standard error."""
    out, complaint = process.communicate(timeout=LIMIT_S)
    print(out, complaint)
    return process.returncode, out, complaint


def bench(bootstrap, topic, *arguments):
    return end(begin(bootstrap, topic, *arguments))


def stored(port, topic):
    with LogClient(port) as client:
        return client.fetch(topic, 0, partition_max_bytes=1)["HighWatermark"]


@pytest.mark.parametrize("acks", ["all", "1"])
def test_what_is_counted_is_what_the_log_has(broker, topic, log, acks):
    create_topic(broker, topic)
    code, out, _ = bench(broker.bootstrap, topic, "--mb-s", "4", "--seconds", "1", "--warm-seconds", "1", "--acks", acks, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["due"] == report["acknowledged"] == 2 * 4_000_000 // RECORD == log.list_offset(topic, -1)["Offset"]
    assert (report["failed"], report["unknown"], report["reason"]) == (0, 0, None)
    assert report["measured"] == report["due"] - -(-4_000_000 // RECORD)
    for figure in ("latency_ms", "wait_ms", "late_ms"):
        assert list(report[figure].values()) == sorted(report[figure].values()), "a higher quantile is not less"
    assert 0 < report["latency_ms"]["p50"] and 0 < report["mb_s"] <= 4.02
    values = {bytes(record[3]) for record in log.records(topic)}
    assert len(values) == 1 and len(values.pop()) == RECORD


def test_records_that_are_due_together_share_a_batch_and_the_report_has_words(broker, topic, log):
    create_topic(broker, topic)
    code, out, _ = bench(broker.bootstrap, topic, "--mb-s", "10", "--record-bytes", "100", "--seconds", "1", "--warm-seconds", "0")
    assert code == 0 and "records: 100000 due, 100000 acknowledged, 0 failed, 0 unknown" in out
    assert len(log.batches(topic)) < log.list_offset(topic, -1)["Offset"] == 100_000


def test_records_that_are_refused_have_failed(broker, topic, log):
    create_topic(broker, topic, configs={"max.message.bytes": 1000})
    code, out, _ = bench(broker.bootstrap, topic, "--mb-s", "1", "--seconds", "1", "--warm-seconds", "0", "--json")
    report = json.loads(out)
    assert code == 1 and report["failed"] == report["due"] == 61 and report["acknowledged"] == 0
    assert report["latency_ms"] is None and "MessageTooLarge" in report["reason"]
    assert log.list_offset(topic, -1)["Offset"] == 0


def test_what_cannot_be_begun_is_said_and_has_exit_codes_of_its_own(broker, topic):
    address = f"127.0.0.1:{free_port()}"
    code, out, complaint = bench(address, topic)
    assert (code, out) == (3, "") and address in complaint and "is a broker listening there" in complaint
    code, out, complaint = bench(broker.bootstrap, "bench-has-no-such-topic")
    assert (code, out) == (1, "") and "UnknownTopicOrPartition" in complaint
    create_topic(broker, topic)
    code, out, complaint = bench(broker.bootstrap, topic, "--partition", "7")
    assert (code, out) == (1, "") and "no partition 7" in complaint
    for wrong in (["--mb-s", "0"], ["--mb-s", "nan"], ["--seconds", "0"], ["--record-bytes", "0"], ["--acks", "0"]):
        assert bench(broker.bootstrap, topic, *wrong)[:2] == (2, ""), wrong


@ours
def test_the_next_leader_gets_what_is_due_when_one_dies(request, topic):
    """Each record has an outcome, and the log has what was acknowledged."""
    cluster = Cluster(directory_for(request), extra_args=["--admin-port", "0"])
    try:
        cluster.start()
        cluster.create_topic(topic)
        leader = cluster.leader(topic)
        # It is told of no other broker than the one that dies.
        load = begin(leader.bootstrap, topic, "--mb-s", "2", "--seconds", "5", "--warm-seconds", "0", "--json")
        cluster.wait("records are stored", lambda: stored(leader.port, topic) >= 20)
        leader.kill()
        code, out, _ = end(load)
        report = json.loads(out)
        assert report["acknowledged"] + report["unknown"] == report["due"] == 5 * 2_000_000 // RECORD
        assert report["failed"] == 0 and report["acknowledged"] > 20
        assert code == (1 if report["unknown"] else 0)
        other = cluster.others(leader)[0]
        cluster.wait("the log has them", lambda: stored(other.port, topic) >= report["acknowledged"])
    finally:
        cluster.discard()
