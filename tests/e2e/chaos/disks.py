"""Disks that are full, fail, or take their time, and clocks that jump."""

import re

from .nemesis import Faults

# How long a node under load may take to notice that its syncs fail.
NOTICE_LIMIT_S = 60
MIB = 1 << 20
FULL, SPACE = "full=true", "full=false"


def says_full(node):
    """What it said last. It may have said so before the fault: a replica that is behind keeps logs long."""
    log = node.new_log()
    return log.rfind(FULL) > log.rfind(SPACE)


class Disks(Faults):
    """Needs a cluster whose nodes have disks of their own."""

    def kinds(self):
        return [self.fill, self.fill_leader, self.fill_and_kill, self.fail_syncs, self.fail_syncs_of_leader,
                self.slow_syncs_of_leader, self.clock_jump]

    def hold(self, node, kind, low=0.5, high=6, **more):
        self.note(kind, node, **more)
        self.wait(low, high)
        node.cure()
        self.note("cure", node)

    def fill_disk(self, node, kind):
        # Some of what the store keeps free for itself, or nothing at all.
        left = self.rng.choice([0, 4 * MIB])
        node.disk.fill(left)
        self.cluster.wait(f"node {node.node_id} says that its disk is full", lambda: says_full(node), NOTICE_LIMIT_S)
        self.hold(node, kind, left=left)

    def fill(self):
        self.fill_disk(self.any_node(), "full-disk")

    def fill_leader(self):
        self.fill_disk(self.some_leader(), "full-disk-of-leader")

    def fill_and_kill(self):
        """The start may find the disk full, and then it may fail; with room it does not."""
        node = self.any_node()
        node.disk.fill()
        self.note("full-disk-and-kill", node)
        self.wait(0, 2)
        node.kill()
        node.start_and_kill_within(self.rng.uniform(0, 1))
        node.cure()
        self.note("cure", node)
        node.start()

    def fail(self, node, kind):
        """A node whose sync fails says so and ends, whatever the next sync would say; it comes back on a good disk."""
        node.faults.fail_syncs()
        self.note(kind, node)
        self.cluster.wait(f"node {node.node_id} ends after a failed sync", lambda: not node.alive(), NOTICE_LIMIT_S)
        assert node.process.returncode != 0, f"node {node.node_id} calls a failed sync a success"
        assert re.search(r"poisoned.*f(data)?sync", node.new_log()), node.new_log()[-2000:]
        self.note("ended", node)
        node.cure()
        node.start()

    def fail_syncs(self):
        self.fail(self.any_node(), "failed-sync")

    def fail_syncs_of_leader(self):
        self.fail(self.some_leader(), "failed-sync-of-leader")

    def slow_syncs_of_leader(self):
        leader, seconds = self.some_leader(), self.rng.choice([0.02, 0.2, 1.5])
        leader.faults.slow_syncs(seconds)
        self.hold(leader, "slow-syncs-of-leader", seconds=seconds)

    def clock_jump(self):
        """Less than an hour back, which is how far ahead of the broker's clock a record may be."""
        node, seconds = self.some_leader(), self.rng.choice([-3000, -5, 5, 3000, 86400])
        node.faults.shift_clock(seconds)
        self.hold(node, "clock-jump", seconds=seconds)
