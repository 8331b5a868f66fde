"""Faults on the nodes of a cluster, drawn from a seed: one at a time, never more nodes than a majority can spare."""

import time


class Faults:
    """Faults of one sort. `kinds` names the ways to strike; each does one fault and undoes it, and notes both. `skipped` has the
    kinds that this machine can not do, with the reason."""

    def __init__(self, cluster, topic, rng):
        self.cluster, self.topic, self.rng, self.noted = cluster, topic, rng, []
        self.skipped = {}

    def kinds(self):
        raise NotImplementedError

    def note(self, kind, node, **more):
        self.noted.append({"at": time.time(), "kind": kind, "node": node.node_id, **more})

    def any_node(self):
        return self.rng.choice(self.cluster.nodes)

    def some_leader(self):
        partitions = (self.cluster.metadata(self.topic) or {"Partitions": []})["Partitions"]
        leaders = sorted({part["LeaderId"] for part in partitions if part["LeaderId"] > 0})
        return self.cluster.node(self.rng.choice(leaders)) if leaders else self.any_node()

    def minority(self, first):
        """As many nodes as the others can spare, with this one among them."""
        others = self.rng.sample(self.cluster.others(first), (len(self.cluster.nodes) - 1) // 2 - 1)
        return [first, *others]

    def wait(self, low, high):
        time.sleep(self.rng.uniform(low, high))


class Processes(Faults):
    """Nodes that die, stand still, or leave and come back."""

    def kinds(self):
        return [self.kill, self.kill_leader, self.pause, self.pause_leader, self.terminate, self.kill_in_start]

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


class Nemesis:
    """Strikes with every kind of all its faults in turn, in an order of its own each time around."""

    def __init__(self, faults, rng):
        self.faults, self.rng, self.bag = faults, rng, []

    def strike(self):
        if not self.bag:
            self.bag = [kind for one in self.faults for kind in one.kinds()]
            self.rng.shuffle(self.bag)
        self.bag.pop()()

    def noted(self):
        return sorted((note for one in self.faults for note in one.noted), key=lambda note: note["at"])
