"""Nodes that die, stand still and lose each other at random under load: no client and no replica sees an anomaly."""

import os

import pytest
from chaos.history import OK
from chaos.trial import cluster_for, run
from conftest import directory_for
from harness.paths import CONTROL

SCALE = float(os.environ.get("CHRONIK_E2E_CHAOS_SECONDS", 60)) / 60


@pytest.mark.slow
@pytest.mark.skipif(CONTROL, reason="the nodes are ours")
@pytest.mark.parametrize(("nodes", "sorts", "seconds"), [
    (3, ["processes"], 60), (3, ["links"], 45), (3, ["disks"], 40), (5, ["processes", "links"], 30)])
def test_no_anomaly_through_faults(request, rng, nodes, sorts, seconds):
    with cluster_for(directory_for(request), nodes, sorts, seconds * SCALE) as cluster:
        history, anomalies = run(cluster, seconds * SCALE, rng, sorts)
    history.dump(directory_for(request) / "history.jsonl")
    assert anomalies == []
    assert sum(send.outcome == OK for send in history.sends) > 1000
    assert history.faults, "no fault was done"
