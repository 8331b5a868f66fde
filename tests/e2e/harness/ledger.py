"""Records appended one at a time to one partition, with what became of them, and what each replica holds."""

from .batch import simple
from .log_client import LogClient


class Ledger:
    """`acked` has the values that were acknowledged, in order; `unsure` those of which nobody can say."""

    def __init__(self, cluster, topic, partition=0):
        self.cluster, self.topic, self.partition = cluster, topic, partition
        self.acked, self.unsure = [], set()
        self.tries = 0

    def leader_and_rest(self):
        leader = self.cluster.wait("somebody leads", lambda: self.cluster.leader(self.topic))
        return leader, self.cluster.others(leader)

    def try_append(self, node, value, timeout_ms=4000):
        """Whether a node acknowledged the value, as kept by a majority."""
        try:
            with LogClient(node.port, timeout=timeout_ms / 1000 + 2, host=node.host) as client:
                answer = client.produce(self.topic, simple([value.encode()]), self.partition, timeout_ms=timeout_ms)
        except OSError:
            self.unsure.add(value)
            return False
        if answer["ErrorCode"] != 0:
            self.unsure.add(value)
            return False
        self.acked.append(value)
        return True

    def append(self, prefix, count, among=None, limit_s=90):
        """Appends values wherever the leader is, as the nodes `among` which it is looked for say. Each try has a value
        of its own, because it is not known what became of the one before."""

        def done():
            self.tries += 1
            leader = self.cluster.leader(self.topic, self.partition, among)
            if leader is None or leader not in (among or self.cluster.running()):
                return False
            return self.try_append(leader, f"{prefix}-{self.tries}")

        for number in range(count):
            self.cluster.wait(f"record {number} of {prefix} is acknowledged", done, limit_s)

    def values(self, node):
        """What this node's replica holds."""
        with LogClient(node.port, timeout=20, host=node.host) as client:
            return [bytes(record[3]).decode() for record in client.records(self.topic, self.partition)]

    def complaint(self):
        """What is wrong with the replicas, or nothing. They may be behind: then it is asked again."""
        try:
            logs = [self.values(node) for node in self.cluster.nodes]
        except (OSError, AssertionError) as error:
            return f"a node does not answer: {error!r}"
        if any(log != logs[0] for log in logs):
            return f"replicas differ: {logs}"
        kept = [value for value in logs[0] if value not in self.unsure]
        if kept != self.acked:
            return f"acknowledged were {self.acked}, kept are {kept}"
        return None

    def await_whole(self, limit_s=90):
        """Every replica comes to hold every acknowledged record, once and in order, and the same otherwise."""
        said = []

        def whole():
            said[:] = [self.complaint()]
            return said[0] is None

        try:
            self.cluster.wait("every replica is whole", whole, limit_s)
        except Exception as error:
            raise AssertionError(f"{error}: {said[0]}") from error
