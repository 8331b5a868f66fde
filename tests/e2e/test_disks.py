"""Three nodes on disks of their own: one is full, fails, or is slow, or a clock jumps, and nothing is lost by it."""

import re
import time

import pytest
from chaos.trial import STORE
from conftest import RUN
from harness.cluster import Cluster
from harness.paths import CONTROL

pytestmark = pytest.mark.skipif(CONTROL, reason="the nodes are ours")
DISK_MIB = 384
FULL = "full=true"
# How long a failed disk may stay unnoticed, and how long a node may take to hand over.
NOTICE_LIMIT_S = 60
DAY_S = 86400


@pytest.fixture(scope="module")
def nodes_with_disks():
    directory = RUN / "disks"
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "store.toml"
    config.write_text(STORE)
    nodes = Cluster(directory, extra_args=["--config", str(config)], disk_mib=DISK_MIB)
    try:
        yield nodes.start()
    finally:
        nodes.discard()


@pytest.fixture
def cluster(nodes_with_disks):
    yield nodes_with_disks
    nodes_with_disks.heal()


def fill(ledger, node):
    """Fills the disk, and appends until the node has noticed."""
    before = node.new_log().count(FULL)
    node.disk.fill()
    limit = time.monotonic() + NOTICE_LIMIT_S
    while node.new_log().count(FULL) == before:
        assert time.monotonic() < limit, "the disk is full, and the node does not notice"
        ledger.append("x" * 200_000, 1)


def check_whole(ledger):
    ledger.cluster.heal()
    ledger.append("after", 5)
    ledger.await_whole()


def test_a_follower_with_a_full_disk_holds_nobody_up_and_catches_up(ledger):
    _, (one, _) = ledger.leader_and_rest()
    fill(ledger, one)
    ledger.append("meanwhile", 20)
    assert len(ledger.values(one)) < len(ledger.acked), "the disk is not full"
    check_whole(ledger)


def test_a_leader_with_a_full_disk_leaves_its_place_to_another(ledger):
    leader, rest = ledger.leader_and_rest()
    fill(ledger, leader)
    ledger.append("meanwhile", 20, limit_s=NOTICE_LIMIT_S)
    assert ledger.cluster.leader(ledger.topic) in rest
    check_whole(ledger)


def test_a_node_whose_sync_fails_ends_and_says_why(ledger):
    leader, rest = ledger.leader_and_rest()
    leader.faults.fail_syncs()
    assert not ledger.try_append(leader, "unsynced"), "acknowledged, and the leader's sync failed"
    ledger.cluster.wait("the node ends", lambda: not leader.alive(), NOTICE_LIMIT_S)
    assert leader.process.returncode != 0
    assert re.search(r"poisoned.*f(data)?sync.*Input/output error", leader.new_log()), leader.new_log()[-2000:]
    ledger.append("meanwhile", 5, among=rest)
    check_whole(ledger)


def test_the_slow_disk_of_a_leader_delays_and_loses_nothing(ledger):
    leader, _ = ledger.leader_and_rest()
    leader.faults.slow_syncs(0.3)
    ledger.append("meanwhile", 5)
    check_whole(ledger)


@pytest.mark.parametrize("seconds", [-3000, -5, 5, 3000, DAY_S])
def test_a_clock_that_jumps_loses_nothing_and_moves_no_leader(ledger, seconds):
    leader, _ = ledger.leader_and_rest()
    leader.faults.shift_clock(seconds)
    ledger.append("meanwhile", 5)
    leader.faults.clear()
    ledger.append("again", 5)
    assert ledger.cluster.leader(ledger.topic) is leader
    check_whole(ledger)
