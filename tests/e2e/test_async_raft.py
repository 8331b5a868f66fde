"""Three nodes with the consensus engine async-raft: what it shares with raft-rs, and what it refuses by name."""

import json
import os
import subprocess

import pytest
from chaos.history import OK
from chaos.trial import ONE_IN_FLIGHT, cluster_for, run
from chaos.workload import IMPATIENT
from confluent_kafka import Consumer, Producer
from conftest import directory_for
from harness.cluster import Cluster
from harness.errors import INVALID_REPLICATION_FACTOR
from harness.paths import CONTROL
from harness.raw import RawClient

pytestmark = pytest.mark.skipif(CONTROL, reason="the nodes are ours")
TOPIC = "t"
SECONDS = float(os.environ.get("CHRONIK_E2E_ASYNC_RAFT_SECONDS", 25))


@pytest.fixture
def cluster(request):
    nodes = Cluster(directory_for(request), backend="async-raft", extra_args=["--admin-port", "0"])
    nodes.start()
    yield nodes
    nodes.discard()


class Writer:
    """A stock producer; `acked` maps what was acknowledged to its offset."""

    def __init__(self, cluster):
        self.acked, self.failed, self.sent = {}, [], 0
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "acks": "all",
                                  "linger.ms": 2, "message.timeout.ms": 120000, **IMPATIENT})

    def send(self, count):
        for _ in range(count):
            name = f"m{self.sent}"
            self.sent += 1
            self.producer.produce(TOPIC, name.encode(), partition=0, on_delivery=self.note(name))
            self.producer.poll(0)

    def note(self, name):
        def delivered(error, message):
            if error is None:
                self.acked[name] = message.offset()
            else:
                self.failed.append(f"{name}: {error}")
        return delivered

    def flush(self):
        assert self.producer.flush(150) == 0
        assert self.failed == []
        assert len(self.acked) == self.sent


def consume(cluster, count):
    """The first `count` values by their offsets, as a stock consumer reads them."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "readers", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, **IMPATIENT})
    consumer.subscribe([TOPIC])
    found = {}

    def read():
        for message in consumer.consume(500, timeout=0.5):
            if message.error() is None:
                found[message.value().decode()] = message.offset()
        return len(found) >= count

    try:
        cluster.wait(f"{count} records are read", read, 120)
    finally:
        consumer.close()
    return found


def test_what_was_acknowledged_survives_its_leader_and_a_restart_of_all_nodes(cluster):
    for node in cluster.nodes:
        assert json.loads((node.data / "node.json").read_text())["cluster"]["engine"] == "async-raft"
    cluster.create_topic(TOPIC)
    writer = Writer(cluster)
    writer.send(500)
    writer.flush()
    leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
    writer.send(200)
    leader.kill()
    writer.send(300)
    writer.flush()
    assert consume(cluster, writer.sent) == writer.acked
    leader.start()
    for node in cluster.nodes:
        node.kill()
    cluster.heal()
    writer.send(100)
    writer.flush()
    assert consume(cluster, writer.sent) == writer.acked


def test_what_it_cannot_do_is_refused_and_names_the_other_engine(cluster, tmp_path):
    with RawClient(cluster.node(1).port) as client:
        topic = {"Name": "pairs", "NumPartitions": 1, "ReplicationFactor": 2, "Configs": []}
        answer = client.call("CreateTopics", 4, Topics=[topic], timeoutMs=20000, validateOnly=False)["Topics"][0]
    assert answer["ErrorCode"] == INVALID_REPLICATION_FACTOR
    assert "raft-rs" in answer["ErrorMessage"]
    # A node of the other engine neither takes over a directory of this cluster nor joins it with a new one.
    three = cluster.node(3)
    three.kill()
    other = tmp_path / "other.toml"
    other.write_text('[consensus]\nbackend = "raft-rs"\n')
    argv = [str(other) if word.endswith("cluster.toml") else word for word in three.argv()]
    before = (three.data / "node.json").read_bytes()
    for _ in ("its own directory", "an empty one"):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode != 0
        assert "consensus.backend" in done.stderr + done.stdout, done
        argv[argv.index("--data-dir") + 1] = str(tmp_path / "data")
    assert (three.data / "node.json").read_bytes() == before
    three.start()
    cluster.create_topic(TOPIC)


@pytest.mark.slow
def test_no_anomaly_through_kills_and_pauses(request, rng):
    with cluster_for(directory_for(request), 3, ["processes"], SECONDS, "async-raft") as cluster:
        history, anomalies = run(cluster, SECONDS, rng, client=ONE_IN_FLIGHT)
    assert anomalies == []
    assert sum(send.outcome == OK for send in history.sends) > 1000
    assert history.faults, "no fault was done"
