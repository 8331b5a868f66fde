"""Three nodes that talk over TLS and admit only each other."""

import re

import pytest
from conftest import directory_for
from harness.certificates import Authority
from harness.cluster import Cluster
from harness.paths import CONTROL

pytestmark = pytest.mark.skipif(CONTROL, reason="the nodes are ours")
LIMIT_S = 60


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path, "ours")


@pytest.fixture
def cluster(request, ours):
    directory = directory_for(request)
    nodes = Cluster(directory)
    for node in nodes.nodes:
        node.config = node.directory / "tls.toml"
        node.config.write_text(ours.settings(f"node{node.node_id}", node.host))
        node.extra_args = ["--config", str(node.config), "--admin-port", "0"]
    try:
        yield nodes.start()
    finally:
        nodes.discard()


def said(node, pattern):
    return re.search(pattern, node.new_log())


def check_kept_out(ledger, settings, told, own):
    """A node that comes back with these settings finds no way in: it and the others say why, and the others go on."""
    cluster, out = ledger.cluster, ledger.cluster.node(3)
    others, before = cluster.others(out), out.config.read_text()
    out.kill()
    out.config.write_text(settings)
    out.launch()
    cluster.wait("the node says why it gets nowhere", lambda: said(out, own), LIMIT_S)
    cluster.wait("the others say why", lambda: all(said(node, told) for node in others), LIMIT_S)
    ledger.append("without", 5, among=others)
    assert out.alive() and not out.is_ready(out.new_log())
    out.kill()
    out.config.write_text(before)
    out.start()
    ledger.append("with", 5)
    ledger.await_whole()


def test_nodes_of_one_authority_form_a_cluster(ledger):
    leader = ledger.cluster.leader(ledger.topic)
    leader.kill()
    ledger.append("meanwhile", 5)
    leader.start()
    ledger.await_whole()


def test_a_certificate_of_another_authority_is_refused(ledger, ours, tmp_path):
    stranger = Authority(tmp_path, "stranger").settings("node3", "127.0.0.1", trusts=ours)
    check_kept_out(ledger, stranger, r"invalid peer certificate.*transport.tls_ca", r"fatal alert.*transport.tls_ca")


def test_a_node_that_trusts_another_authority_refuses_the_others(ledger, ours, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    settings = ours.settings("node3-again", "127.0.0.1", trusts=stranger)
    check_kept_out(ledger, settings, r"fatal alert.*transport.tls_ca", r"invalid peer certificate.*transport.tls_ca")


def test_a_node_without_tls_is_refused(ledger):
    check_kept_out(ledger, "", r"no TLS: .*transport.tls_ca", r"event=peer_unreachable")
