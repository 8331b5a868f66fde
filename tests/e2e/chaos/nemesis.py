"""Faults on the nodes of a cluster, drawn from a seed: one at a time, never more nodes than a majority can spare."""

import time


class Nemesis:
    """`strike` does one fault and undoes it; `faults` notes what was done when."""

    def __init__(self, cluster, topic, rng):
        self.cluster, self.topic, self.rng, self.faults = cluster, topic, rng, []
        self.kinds = [self.kill, self.kill_leader, self.pause, self.pause_leader, self.terminate, self.kill_in_start]

    def note(self, kind, node, **more):
        self.faults.append({"at": time.time(), "kind": kind, "node": node.node_id, **more})

    def any_node(self):
        return self.rng.choice(self.cluster.nodes)

    def some_leader(self):
        partitions = (self.cluster.metadata(self.topic) or {"Partitions": []})["Partitions"]
        leaders = sorted({part["LeaderId"] for part in partitions if part["LeaderId"] > 0})
        return self.cluster.node(self.rng.choice(leaders)) if leaders else self.any_node()

    def wait(self, low, high):
        time.sleep(self.rng.uniform(low, high))

    def strike(self):
        self.rng.choice(self.kinds)()

    def down(self, node, kind):
        node.kill()
        self.note(kind, node)
        self.wait(0, 3)
        node.start()
        self.note("start", node, ready_ms=round((time.monotonic() - node.began) * 1000))

    def kill(self):
        self.down(self.any_node(), "kill")

    def kill_leader(self):
        self.down(self.some_leader(), "kill-leader")

    def hold(self, node, kind):
        node.pause()
        self.note(kind, node)
        self.wait(0.2, 5)
        node.resume()
        self.note("resume", node)

    def pause(self):
        self.hold(self.any_node(), "pause")

    def pause_leader(self):
        self.hold(self.some_leader(), "pause-leader")

    def terminate(self):
        node = self.any_node()
        status = node.terminate()
        self.note("terminate", node, status=status)
        assert status == 0, f"node {node.node_id} ended with {status} after SIGTERM"
        node.start()

    def kill_in_start(self):
        node = self.any_node()
        node.kill()
        self.note("kill-in-start", node)
        for _ in range(self.rng.randrange(1, 4)):
            node.start_and_kill_within(self.rng.uniform(0, 0.4))
        node.start()
