"""Broken links between nodes, with clients on either side of them."""

from .nemesis import Faults


class Links(Faults):
    """Needs a cluster on a network of its own."""

    def __init__(self, cluster, topic, rng):
        super().__init__(cluster, topic, rng)
        self.network = cluster.network
        self.shapes = self.network.shapes()
        if not self.shapes:
            self.skipped["slow-link"] = "the kernel has neither netem nor tbf"

    def kinds(self):
        kinds = [self.lose_leader, self.lose_minority, self.mute, self.deaf, self.break_link, self.flap]
        return kinds + ([self.slow, self.slow_leader] if self.shapes else [])

    def hold(self, kind, nodes, low=0.5, high=6, **more):
        for node in nodes:
            self.note(kind, node, **more)
        self.wait(low, high)
        self.network.heal()
        self.note("heal", nodes[0])

    def rest(self, nodes):
        return [node.node_id for node in self.cluster.nodes if node not in nodes]

    def lose_leader(self):
        """Clients still reach the leader, and may be told that it is one."""
        leader = self.some_leader()
        self.network.part([leader.node_id], self.rest([leader]))
        self.hold("lose-leader", [leader])

    def lose_minority(self):
        """As many nodes as can be spared, a leader among them, out of reach for all others and for clients."""
        nodes = self.minority(self.some_leader())
        self.network.part([node.node_id for node in nodes], [None, *self.rest(nodes)])
        self.hold("lose-minority", nodes)

    def mute(self):
        leader = self.some_leader()
        for other in self.rest([leader]):
            self.network.cut(leader.node_id, other)
        self.hold("mute-leader", [leader])

    def deaf(self):
        leader = self.some_leader()
        for other in self.rest([leader]):
            self.network.cut(other, leader.node_id)
        self.hold("deaf-leader", [leader])

    def break_link(self):
        leader = self.some_leader()
        other = self.rng.choice(self.cluster.others(leader))
        self.network.part([leader.node_id], [other.node_id])
        self.hold("broken-link", [leader], other=other.node_id)

    def flap(self):
        node = self.any_node()
        self.note("flap", node)
        for _ in range(self.rng.randrange(3, 9)):
            self.network.part([node.node_id], self.rest([node]))
            self.wait(0.05, 0.6)
            self.network.heal()
            self.wait(0.05, 0.6)
        self.note("heal", node)

    def slow(self):
        self.slow_down(self.any_node(), "slow-link")

    def slow_leader(self):
        self.slow_down(self.some_leader(), "slow-link-of-leader")

    def slow_down(self, node, kind):
        shape = self.rng.choice(sorted(self.shapes))
        self.network.slow(node.node_id, self.shapes[shape])
        self.hold(kind, [node], shape=shape)
