"""Three nodes, killed and paused at random under load: no client and no replica sees an anomaly."""

import os

import pytest
from chaos.history import OK
from chaos.trial import run
from conftest import directory_for
from harness.cluster import Cluster
from harness.paths import CONTROL

SECONDS = float(os.environ.get("CHRONIK_E2E_CHAOS_SECONDS", 60))


@pytest.mark.slow
@pytest.mark.skipif(CONTROL, reason="the nodes are ours")
def test_no_anomaly_through_kills_and_pauses(request, rng):
    cluster = Cluster(directory_for(request))
    cluster.start()
    try:
        history, anomalies = run(cluster, SECONDS, rng)
    finally:
        for node in cluster.nodes:
            node.kill()
    assert anomalies == []
    assert sum(send.outcome == OK for send in history.sends) > 1000
    assert history.faults, "no fault was done"
