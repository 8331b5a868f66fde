"""The deployment guide as printed: three terminals, its ports, its two scripts."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import directory_for
from harness.broker import BrokerError
from harness.cluster import Node
from harness.paths import CONTROL, E2E, SERVER
from harness.raw import RawClient

GUIDE = Path(E2E).parent.parent / "docs/ops/cluster.md"
PORTS = {1: (9092, 5001), 2: (9093, 5002), 3: (9094, 5003)}


class PrintedNode(Node):
    """A node that is started by the words of the guide, in a directory of the test's own."""

    def __init__(self, directory, node_id, command):
        super().__init__(directory, node_id, lambda _: [])
        self.port, self.raft_port = PORTS[node_id]
        self.printed = command

    def argv(self):
        words = shlex.split(self.printed)
        assert words[0] == "./chronik-server"
        return [str(SERVER), *words[1:]]


def printed_commands():
    """The three commands, by node."""
    text = GUIDE.read_text().replace("\\\n", " ")
    commands = re.findall(r"^\./chronik-server raft-cluster.*$", text, re.M)
    return {int(re.search(r"--node-id (\d)", command)[1]): command for command in commands}


@pytest.fixture
def printed(request):
    directory = directory_for(request)
    commands = printed_commands()
    assert sorted(commands) == [1, 2, 3]
    nodes = [PrintedNode(directory, number, command) for number, command in commands.items()]
    for node in nodes:
        node.data = directory / f"data/node{node.node_id}"
        node.log_path = directory / f"node{node.node_id}.log"
        node.discard()
        node.log_path.unlink(missing_ok=True)
    try:
        for node in nodes:
            node.launch()
        for node in nodes:
            node.await_ready()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def run_script(name, *arguments):
    done = subprocess.run([sys.executable, E2E / "guide" / name, *map(str, arguments)], capture_output=True, text=True,
                          timeout=180, check=False)
    assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


def replicas(port, topic):
    with RawClient(port) as client:
        answer = client.call("Metadata", 8, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)
    return [sorted(part["ReplicaNodes"]) for part in answer["Topics"][0]["Partitions"]]


@pytest.mark.skipif(CONTROL, reason="the nodes are ours")
def test_the_guide_runs_as_printed(printed):
    assert "all 100" in run_script("replicate.py")
    assert all(nodes == [1, 2, 3] for nodes in replicas(9093, "test-topic"))
    assert "all 50" in run_script("failover.py", printed[0].pid)
    assert printed[0].process.wait(10) == -9
    printed[0].start()
    assert "all 100" in run_script("replicate.py")
    for node in printed:
        if not node.alive():
            raise BrokerError(f"node {node.node_id} ended")
