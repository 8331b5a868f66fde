"""Several nodes as processes on loopback, started as the deployment guide prints it."""

import os
import signal
import subprocess
import time

from .broker import READY_LIMIT_S, Broker, BrokerError, free_port
from .errors import NONE
from .paths import SERVER
from .raw import RawClient


class Node(Broker):
    """One node of a cluster."""

    def __init__(self, directory, node_id, peers_of):
        super().__init__(directory)
        self.node_id = node_id
        self.raft_port = free_port({self.port})
        self.peers_of = peers_of
        self.bootstraps = node_id == 1
        self.paused = False

    def argv(self):
        peers = ",".join(f"{peer.node_id}@127.0.0.1:{peer.raft_port}" for peer in self.peers_of(self))
        argv = [str(SERVER), "raft-cluster", "--node-id", str(self.node_id), "--raft-addr", f"127.0.0.1:{self.raft_port}",
                "--peers", peers, "--kafka-port", str(self.port), "--data-dir", str(self.data),
                "--bind", "127.0.0.1", "--advertise", "127.0.0.1", *self.extra_args]
        return argv + (["--bootstrap"] if self.bootstraps else [])

    def launch(self):
        """Starts the process and waits for nothing: a node is ready once a majority is up."""
        self.prepare()
        self.seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.began = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.directory, env=self.environment())
        self.paused = False

    def await_ready(self):
        self.wait_ready(self.began + READY_LIMIT_S)
        self.check_identity()

    def start(self):
        self.launch()
        self.await_ready()
        return self

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def kill(self):
        super().kill()
        self.paused = False


class Cluster:
    """Nodes 1 to `count`, each on an empty directory of its own."""

    def __init__(self, directory, count=3, extra_args=()):
        self.nodes = [Node(directory / f"node{number}", number, self.others) for number in range(1, count + 1)]
        for node in self.nodes:
            node.extra_args = list(extra_args)

    def others(self, node):
        return [other for other in self.nodes if other is not node]

    @property
    def bootstrap(self):
        return ",".join(node.bootstrap for node in self.nodes)

    def node(self, node_id):
        return next(node for node in self.nodes if node.node_id == node_id)

    def start(self):
        for node in self.nodes:
            node.discard()
            node.data.mkdir(parents=True, exist_ok=True)
            node.log_path.unlink(missing_ok=True)
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.await_ready()
        return self

    def heal(self):
        """Every node runs and is ready."""
        for node in self.nodes:
            if node.alive() and node.paused:
                node.resume()
        started = [node for node in self.nodes if not node.alive()]
        for node in started:
            node.launch()
        for node in started:
            node.await_ready()

    def discard(self):
        for node in self.nodes:
            node.discard()

    def running(self):
        return [node for node in self.nodes if node.alive() and not node.paused]

    def metadata(self, topic):
        """The topic as some node that answers describes it."""
        for node in self.running():
            try:
                with RawClient(node.port, timeout=2) as client:
                    answer = client.call("Metadata", 8, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)
                    return answer["Topics"][0]
            except OSError:
                continue
        return None

    def leader(self, topic, partition=0):
        """The node that leads a partition, or None."""
        described = self.metadata(topic)
        for part in (described or {}).get("Partitions", []):
            if part["PartitionIndex"] == partition and part["LeaderId"] > 0:
                return self.node(part["LeaderId"])
        return None

    def wait(self, what, condition, limit_s=60):
        limit = time.monotonic() + limit_s
        while not (value := condition()):
            if time.monotonic() > limit:
                raise BrokerError(f"not within {limit_s} s: {what}")
            time.sleep(0.02)
        return value

    def create_topic(self, name, partitions=1, replication=3, configs=None):
        values = [{"Name": name, "NumPartitions": partitions, "ReplicationFactor": replication,
                   "Configs": [{"Name": k, "Value": str(v)} for k, v in (configs or {}).items()]}]

        def created():
            try:
                with RawClient(self.running()[0].port) as client:
                    answer = client.call("CreateTopics", 4, Topics=values, timeoutMs=20000, validateOnly=False)
            except OSError:
                return False
            return answer["Topics"][0]["ErrorCode"] in (NONE, 36)

        self.wait(f"topic {name} is created", created)
        self.wait(f"topic {name} has leaders", lambda: self.led(name) == partitions)

    def led(self, name):
        described = self.metadata(name) or {"Partitions": []}
        return sum(1 for part in described["Partitions"] if part["LeaderId"] > 0 and part["ErrorCode"] == NONE)
