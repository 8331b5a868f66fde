"""Three nodes in network namespaces, and broken links between them: a majority goes on, and nobody acknowledges alone."""

import pytest
from conftest import RUN
from harness.cluster import Cluster
from harness.network import Network
from harness.paths import CONTROL

pytestmark = pytest.mark.skipif(CONTROL, reason="the nodes are ours")
DOWN = "event=session_down"


@pytest.fixture(scope="module")
def remote():
    """A machine that can make no namespaces fails these tests: what they show is not shown then."""
    network = Network(3)
    nodes = Cluster(RUN / "network", network=network)
    try:
        yield nodes.start()
    finally:
        nodes.discard()
        network.remove()


@pytest.fixture
def cluster(remote):
    yield remote
    remote.heal()


def check_others_go_on(ledger, leader, rest):
    """While the leader is cut off, the others acknowledge; it does not; and afterwards all hold the same."""
    assert not ledger.try_append(leader, "alone"), "a leader that reaches no majority acknowledged"
    ledger.append("meanwhile", 5, among=rest)
    ledger.cluster.heal()
    ledger.append("after", 5)
    ledger.await_whole()


def test_a_leader_that_clients_reach_and_nodes_do_not(cluster, ledger):
    leader, rest = ledger.leader_and_rest()
    cluster.network.part([leader.node_id], [node.node_id for node in rest])
    check_others_go_on(ledger, leader, rest)


def test_a_leader_that_nobody_reaches(cluster, ledger):
    leader, rest = ledger.leader_and_rest()
    cluster.network.part([leader.node_id], [None, *(node.node_id for node in rest)])
    check_others_go_on(ledger, leader, rest)


def test_a_leader_that_hears_and_is_not_heard(cluster, ledger):
    leader, rest = ledger.leader_and_rest()
    for node in rest:
        cluster.network.cut(leader.node_id, node.node_id)
    check_others_go_on(ledger, leader, rest)


def test_a_leader_that_is_heard_and_does_not_hear(cluster, ledger):
    leader, rest = ledger.leader_and_rest()
    for node in rest:
        cluster.network.cut(node.node_id, leader.node_id)
    check_others_go_on(ledger, leader, rest)


def test_one_broken_link_stops_nobody(cluster, ledger):
    leader, (one, _) = ledger.leader_and_rest()
    seen = [(node, node.new_log().count(DOWN)) for node in (leader, one)]
    cluster.network.part([leader.node_id], [one.node_id])
    while not all(node.new_log().count(DOWN) > before for node, before in seen):
        ledger.append("meanwhile", 1)
    ledger.append("noticed", 20)
    cluster.heal()
    ledger.append("after", 5)
    ledger.await_whole()


def test_no_majority_acknowledges_nothing_and_comes_back(cluster, ledger):
    numbers = [node.node_id for node in cluster.nodes]
    for number in numbers:
        cluster.network.part([number], [other for other in numbers if other != number])
    for node in cluster.nodes:
        assert not ledger.try_append(node, f"alone-{node.node_id}"), f"node {node.node_id} acknowledged alone"
    cluster.heal()
    ledger.append("after", 5)
    ledger.await_whole()
