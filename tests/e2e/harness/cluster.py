"""Several nodes as processes, started as the deployment guide prints it: on loopback, or each in a network namespace;
with directories of the same file system, or each on a disk of its own."""

import os
import signal
import subprocess
import time

from .broker import READY_LIMIT_S, Broker, BrokerError, free_port
from .disk import Disk, Faults
from .errors import NONE
from .paths import SERVER
from .raw import RawClient


class Node(Broker):
    """One node of a cluster, on loopback."""

    def __init__(self, directory, node_id, peers_of):
        super().__init__(directory)
        self.node_id = node_id
        self.raft_port = free_port({self.port})
        self.peers_of = peers_of
        self.bootstraps = node_id == 1
        self.paused = False
        self.disk = self.faults = None

    def argv(self):
        peers = ",".join(f"{peer.node_id}@{peer.host}:{peer.raft_port}" for peer in self.peers_of(self))
        argv = [str(SERVER), "raft-cluster", "--node-id", str(self.node_id), "--raft-addr", f"{self.host}:{self.raft_port}",
                "--peers", peers, "--kafka-port", str(self.port), "--data-dir", str(self.data),
                "--bind", self.host, "--advertise", self.host, *self.extra_args]
        return argv + (["--bootstrap"] if self.bootstraps else [])

    def give_disk(self, mib):
        """A disk of the node's own, which can be filled, and syncs and a clock that can be made to go wrong."""
        self.disk = Disk(self.directory, mib)
        self.data = self.disk.root / "store"
        self.faults = Faults(self.directory / "faults")

    def environment(self):
        return {**super().environment(), **(self.faults.environment() if self.faults else {})}

    def launch(self):
        """Starts the process and waits for nothing: a node is ready once a majority is up."""
        self.prepare()
        self.seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.began = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.directory, env=self.environment())
        self.paused = False

    def await_ready(self):
        self.wait_ready(self.began + READY_LIMIT_S)
        self.check_identity()

    def start(self):
        self.launch()
        self.await_ready()
        return self

    def cure(self):
        """Nothing is wrong with its disk and its clock any more."""
        if self.disk is not None:
            self.disk.relieve()
            self.faults.clear()

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def kill(self):
        super().kill()
        self.paused = False


class RemoteNode(Node):
    """One node of a cluster, with an address and a link of its own."""

    def __init__(self, directory, node_id, peers_of, network):
        super().__init__(directory, node_id, peers_of)
        self.host = network.address(node_id)
        self.enter = network.enter(network.space(node_id))

    def command(self):
        return [*self.enter, *self.argv()]


class Cluster:
    """Nodes 1 to `count`, each on an empty directory of its own; with a network, each on a link of its own; with `disk_mib`,
    each on a disk of that size of its own; with another consensus engine where `backend` names one."""

    def __init__(self, directory, count=3, extra_args=(), network=None, disk_mib=None, backend=None):
        self.network = network
        if backend is not None:
            config = directory / "cluster.toml"
            config.write_text(f'[consensus]\nbackend = "{backend}"\n')
            extra_args = ["--config", str(config), *extra_args]
        self.nodes = [self.new_node(directory / f"node{number}", number) for number in range(1, count + 1)]
        for node in self.nodes:
            node.extra_args = list(extra_args)
            if disk_mib is not None:
                node.give_disk(disk_mib)

    def new_node(self, directory, number):
        if self.network is None:
            return Node(directory, number, self.others)
        return RemoteNode(directory, number, self.others, self.network)

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
        """Every node runs and is ready, on a network that is whole, and with a disk that has room."""
        for node in self.nodes:
            node.cure()
        if self.network is not None:
            self.network.heal()
        for node in self.nodes:
            if node.alive() and node.paused:
                node.resume()
        started = [node for node in self.nodes if not node.alive()]
        for node in started:
            node.launch()
        for node in started:
            node.await_ready()

    def kill(self):
        for node in self.nodes:
            node.kill()

    def discard(self):
        for node in self.nodes:
            node.discard()
        self.unmount()

    def unmount(self):
        """Ends the nodes' own disks, and what is on them."""
        for node in self.nodes:
            if node.disk is not None:
                node.disk.unmount()

    def running(self):
        return [node for node in self.nodes if node.alive() and not node.paused]

    def metadata(self, topic, among=None):
        """The topic as the first node that answers describes it; `among` names the nodes that are asked."""
        return next(self.descriptions(topic, among), None)

    def descriptions(self, topic, among=None):
        for node in among or self.running():
            try:
                with RawClient(node.port, timeout=2, host=node.host) as client:
                    answer = client.call("Metadata", 8, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)
                    yield answer["Topics"][0]
            except OSError:
                continue

    def leader(self, topic, partition=0, among=None):
        """The node that leads a partition, or None. A node that does not hear of the leader knows of none: what the
        newest epoch says counts."""
        said = [(part["LeaderEpoch"], part["LeaderId"])
                for described in self.descriptions(topic, among) for part in described["Partitions"]
                if part["PartitionIndex"] == partition and part["LeaderId"] > 0]
        return self.node(max(said)[1]) if said else None

    def wait(self, what, condition, limit_s=60):
        limit = time.monotonic() + limit_s
        while not (value := condition()):
            if time.monotonic() > limit:
                raise BrokerError(f"not within {limit_s} s: {what}")
            time.sleep(0.02)
        return value

    def create_topic(self, name, partitions=1, replication=3, configs=None, limit_s=60):
        values = [{"Name": name, "NumPartitions": partitions, "ReplicationFactor": replication,
                   "Configs": [{"Name": k, "Value": str(v)} for k, v in (configs or {}).items()]}]

        def created():
            try:
                with RawClient(self.running()[0].port, host=self.running()[0].host) as client:
                    answer = client.call("CreateTopics", 4, Topics=values, timeoutMs=20000, validateOnly=False)
            except OSError:
                return False
            return answer["Topics"][0]["ErrorCode"] in (NONE, 36)

        self.wait(f"topic {name} is created", created, limit_s)
        self.wait(f"topic {name} has leaders", lambda: self.led(name) == partitions, limit_s)

    def led(self, name):
        described = self.metadata(name) or {"Partitions": []}
        return sum(1 for part in described["Partitions"] if part["LeaderId"] > 0 and part["ErrorCode"] == NONE)
