"""kill -9 at random moments under load: nothing that was acknowledged is lost, changed, moved or doubled."""

import os
import time

import pytest
from harness.admin import create_topic
from harness.broker import BrokerError
from harness.load import Load, Shadow
from harness.log_client import LogClient
from harness.paths import CONTROL

ROUNDS = int(os.environ.get("CHRONIK_E2E_KILL_ROUNDS", 3 if CONTROL else 50))
ROUNDS_A_SET = 100
SHAPES = [("lz4", True), ("none", True), ("zstd", False)]


def start_loads(broker, number):
    loads = []
    for codec, idempotent in SHAPES:
        topic = f"load-{number}-{codec}-{'idempotent' if idempotent else 'plain'}"
        create_topic(broker, topic, 3)
        loads.append(Load(broker, topic, 3, codec, idempotent))
    return loads


def check(broker, shadows, look):
    with LogClient(broker.port, timeout=60) as client:
        for shadow in shadows:
            wrong = look(shadow, client)
            assert not wrong, f"{shadow.load.topic}: {len(wrong)} complaints\n" + "\n".join(wrong[:20])
            assert not shadow.load.errors, f"{shadow.load.topic}: " + "\n".join(shadow.load.errors[:20])


def strike(broker, rng):
    """Ends the broker at a random moment and brings it back; tells how."""
    time.sleep(rng.uniform(0.005, 0.25))
    if rng.random() < 0.1:
        assert broker.terminate() == 0
        how = "term"
    else:
        broker.kill()
        how = "kill"
    while not CONTROL and rng.random() < 0.2:
        broker.start_and_kill_within(rng.uniform(0, 0.06))
        how += "+start"
    broker.start()
    return how


def one_set(broker, rng, number, rounds):
    """A set of rounds over one group of topics; returns (records acknowledged, records read, slowest start in ms)."""
    loads = start_loads(broker, number)
    shadows = [Shadow(load) for load in loads]
    slowest = 0
    for round_ in range(rounds):
        before = sum(len(load.acked) for load in loads)
        limit = time.monotonic() + 60
        for load in loads:
            load.resume()
        while sum(len(load.acked) for load in loads) < before + 50:
            assert time.monotonic() < limit, f"no progress in round {round_} of set {number}"
            time.sleep(0.005)
        try:
            how = strike(broker, rng)
        except BrokerError as error:
            raise AssertionError(f"round {round_} of set {number}: {error}") from error
        slowest = max(slowest, broker.started_in_ms)
        for load in loads:
            load.pause()
        check(broker, shadows, Shadow.catch_up)
        if round_ % 10 == 9:
            print(f"set {number} round {round_} {how}: {sum(len(s.seen) for s in shadows)} records, "
                  f"start {broker.started_in_ms:.0f} ms, slowest {slowest:.0f} ms")
    for load in loads:
        load.finish()
    check(broker, shadows, Shadow.catch_up)
    broker.restart()
    check(broker, shadows, Shadow.reread)
    return sum(len(load.acked) for load in loads), sum(len(s.seen) for s in shadows), slowest


@pytest.mark.slow
def test_nothing_is_lost_through_kill_9(own_broker, rng):
    acked = seen = slowest = done = 0
    while done < ROUNDS:
        rounds = min(ROUNDS_A_SET, ROUNDS - done)
        a, s, t = one_set(own_broker, rng, done // ROUNDS_A_SET, rounds)
        acked, seen, slowest, done = acked + a, seen + s, max(slowest, t), done + rounds
    print(f"{done} rounds, {acked} records acknowledged and read back, {seen} read, slowest start {slowest:.0f} ms, "
          f"seed {rng.first_seed}")
    assert done >= ROUNDS
