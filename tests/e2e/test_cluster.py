"""Three nodes as processes: joining, leaving, coming back empty, and what is refused with a clear word."""

import json
import shutil
import subprocess
import time

import pytest
from conftest import directory_for
from harness import errors
from harness.batch import simple
from harness.cluster import Cluster, Node
from harness.log_client import LogClient
from harness.paths import CONTROL, SERVER
from harness.raw import RawClient

pytestmark = pytest.mark.skipif(CONTROL, reason="the nodes are ours")
TOPIC = "t"
# How long a node may take to find its place again.
REJOIN_LIMIT_S = 60


@pytest.fixture
def cluster(request):
    nodes = Cluster(directory_for(request), extra_args=["--admin-port", "0"])
    nodes.start()
    yield nodes
    nodes.discard()


def produce(cluster, values, partition=0, limit_s=30):
    """Appends each value with acks=all, wherever the leader is; returns their offsets."""
    offsets = []
    for value in values:
        offsets.append(cluster.wait(f"{value} is acknowledged", lambda v=value: append(cluster, v, partition), limit_s))
    return [offset - 1 for offset in offsets]


def append(cluster, value, partition):
    """The offset after the record, which is never false; nothing where nobody took it."""
    leader = cluster.leader(TOPIC, partition)
    if leader is None or not leader.alive():
        return None
    try:
        with LogClient(leader.port, timeout=5) as client:
            answer = client.produce(TOPIC, simple([value.encode()]), partition, timeout_ms=4000)
    except OSError:
        return None
    return answer["BaseOffset"] + 1 if answer["ErrorCode"] == 0 else None


def values(node, partition=0):
    """What this node's replica holds."""
    with LogClient(node.port) as client:
        return [bytes(record[3]).decode() for record in client.records(TOPIC, partition)]


def brokers(node):
    with RawClient(node.port) as client:
        answer = client.call("Metadata", 8, Topics=[], AllowAutoTopicCreation=False)
    return sorted(broker["NodeId"] for broker in answer["Brokers"])


def identity(node):
    return json.loads((node.data / "node.json").read_text())


def in_step(cluster, expected):
    """Whether every node's replica holds exactly these values."""
    try:
        return all(values(node) == expected for node in cluster.nodes)
    except (OSError, AssertionError):
        return False


def await_in_step(cluster, expected):
    cluster.wait("every replica holds every record", lambda: in_step(cluster, expected), REJOIN_LIMIT_S)


def refusal(*argv, directory):
    """Runs a server that must end by itself; returns what it says."""
    done = subprocess.run([SERVER, *argv], capture_output=True, text=True, timeout=60, cwd=directory)
    assert done.returncode != 0, done
    return done.stdout + done.stderr


def test_nothing_is_lost_by_killing_each_leader_in_turn(cluster):
    cluster.create_topic(TOPIC)
    expected = [f"a{number}" for number in range(20)]
    produce(cluster, expected)
    for round_ in range(3):
        leader = cluster.wait("somebody leads", lambda: cluster.leader(TOPIC))
        leader.kill()
        more = [f"b{round_}-{number}" for number in range(20)]
        produce(cluster, more)
        expected += more
        leader.start()
    await_in_step(cluster, expected)


def test_a_wiped_node_comes_back_as_another_replica_and_founds_no_cluster(cluster):
    cluster.create_topic(TOPIC)
    expected = [f"a{number}" for number in range(20)]
    produce(cluster, expected)
    victim = cluster.node(1)
    assert victim.bootstraps, "the node that may found a cluster is the one that forgets"
    before = identity(victim)
    victim.kill()
    shutil.rmtree(victim.data)
    victim.data.mkdir()
    more = [f"b{number}" for number in range(20)]
    produce(cluster, more)
    victim.start()
    await_in_step(cluster, expected + more)
    after = identity(victim)
    assert after["incarnation"] != before["incarnation"]
    assert after["cluster"] == before["cluster"]
    # It counts again: the cluster survives the loss of another one.
    cluster.wait("the new replica votes", lambda: membership_changes(cluster) == 2, REJOIN_LIMIT_S)
    cluster.node(2).kill()
    produce(cluster, ["last"])


def membership_changes(cluster):
    """How many changes of the partition's voters were committed: a new replica learns first, and then votes."""
    logs = (node.log_path.read_text(errors="replace") for node in cluster.nodes)
    return sum(log.count(f"event=membership_changed partition={TOPIC}-0") for log in logs)


def test_a_node_that_stops_in_order_hands_over_first(cluster):
    cluster.create_topic(TOPIC, partitions=6)
    leaders = [cluster.wait("led", lambda p=p: cluster.leader(TOPIC, p)) for p in range(6)]
    leaving = leaders[0]
    began = time.monotonic()
    assert leaving.terminate() == 0
    assert "event=leaders_moved" in leaving.new_log()
    left = [cluster.wait("led", lambda p=p: cluster.leader(TOPIC, p), 5) for p in range(6)]
    assert time.monotonic() - began < 10
    assert leaving not in left, "every partition has another leader already"


def test_a_dead_node_is_no_broker_and_a_live_one_is_again(cluster):
    one, two, three = cluster.nodes
    cluster.wait("all know all", lambda: all(brokers(node) == [1, 2, 3] for node in cluster.nodes))
    three.kill()
    cluster.wait("it is gone", lambda: brokers(one) == brokers(two) == [1, 2], 10)
    three.start()
    cluster.wait("it is back", lambda: all(brokers(node) == [1, 2, 3] for node in cluster.nodes), 10)


def test_a_directory_of_another_node_or_cluster_is_refused_by_name(cluster):
    two = cluster.node(2)
    two.kill()
    argv = two.argv()[1:]
    before = (two.data / "node.json").read_bytes()
    place = argv.index("--node-id")
    said = refusal(*argv[:place], "--node-id", "7", *argv[place + 2:], directory=two.directory)
    assert "node.id" in said and "node.data_dir" in said, said
    config = two.directory / "other.toml"
    config.write_text('[node]\ncluster_id = "another"\n')
    said = refusal(*argv, "--config", str(config), directory=two.directory)
    assert "node.cluster_id" in said and "another" in said, said
    assert (two.data / "node.json").read_bytes() == before


def test_what_cannot_work_is_said_and_nothing_is_written(cluster, tmp_path):
    one = cluster.node(1)

    def start(**changes):
        flags = {"--node-id": "9", "--raft-addr": "127.0.0.1:0", "--peers": f"1@127.0.0.1:{one.raft_port}",
                 "--kafka-port": "0", "--admin-port": "0", "--data-dir": str(tmp_path / "data"), **changes}
        argv = [word for pair in flags.items() for word in pair]
        return refusal("raft-cluster", *argv, directory=tmp_path)

    said = start(**{"--raft-addr": f"127.0.0.1:{one.raft_port}"})
    assert "cluster.listen" in said and "--raft-addr" in said, said
    said = start(**{"--kafka-port": str(one.port)})
    assert "--kafka-port" in said, said
    for peers in ("1@localhost", "localhost:5001", "1@h:1,1@h:2", "1@h:1,2@h:1"):
        said = start(**{"--peers": peers})
        assert "cluster.peers" in said and ("help:" in said or "allowed:" in said), said
    said = start(**{"--raft-addr": "127.0.0.1:5999", "--peers": "9@127.0.0.1:5998"})
    assert "cluster.peers" in said and "node.id" in said, said
    assert not (tmp_path / "data").exists()


def test_a_second_node_of_the_same_id_does_not_get_in(cluster, tmp_path):
    two = cluster.node(2)
    peers = f"1@127.0.0.1:{cluster.node(1).raft_port},3@127.0.0.1:{cluster.node(3).raft_port}"
    argv = [SERVER, "raft-cluster", "--node-id", "2", "--raft-addr", "127.0.0.1:0", "--peers", peers, "--kafka-port", "0",
            "--admin-port", "0", "--data-dir", str(tmp_path / "data")]
    with open(tmp_path / "log", "ab") as log:
        twin = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        cluster.wait("it is told why", lambda: "give each node its own id" in (tmp_path / "log").read_text(), 30)
        assert "ready" not in (tmp_path / "log").read_text()
        assert two.alive()
        cluster.create_topic(TOPIC)
        produce(cluster, ["a"])
    finally:
        twin.kill()
        twin.wait()


def test_a_node_of_another_cluster_does_not_get_in(cluster, tmp_path):
    cluster.create_topic(TOPIC)
    stranger = Node(tmp_path / "stranger", 3, lambda _: [])
    stranger.bootstraps = True
    stranger.extra_args = ["--admin-port", "0"]
    stranger.start()
    own = identity(stranger)["cluster"]
    stranger.kill()
    # It comes back at the address of the third node, with that one's id and peers, and the directory of its own cluster.
    three = cluster.node(3)
    three.kill()
    stranger.raft_port, stranger.peers_of = three.raft_port, lambda _: cluster.nodes[:2]
    stranger.launch()
    try:
        names = own["cluster_id"], identity(three)["cluster"]["cluster_id"]
        for node in (stranger, *cluster.nodes[:2]):
            cluster.wait("each side is told", lambda n=node: refused_for(n, names), REJOIN_LIMIT_S)
        produce(cluster, ["a"])
        assert identity(stranger)["cluster"] == own
        with RawClient(stranger.port) as client:
            answer = client.call("Metadata", 8, Topics=[{"Name": TOPIC}], AllowAutoTopicCreation=False)
        assert answer["Topics"][0]["ErrorCode"] == errors.UNKNOWN_TOPIC_OR_PARTITION, "it is another cluster's node still"
    finally:
        stranger.kill()


def refused_for(node, names):
    """Whether a node refused another for these clusters, with what to look at."""
    lines = [line for line in node.new_log().splitlines() if "event=connection_refused" in line]
    return any(all(name in line for name in names) and "cluster.peers" in line and "node.data_dir" in line for line in lines)
