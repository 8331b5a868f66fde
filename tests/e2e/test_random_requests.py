"""Requests that are well formed and senseless: the broker answers by the schema or closes the connection, and lives."""

import os
import socket
import time

from harness.generator import Generator
from harness.members import Member
from harness.raw import RawClient
from harness.schema import SchemaError
from test_api_versions import SERVED, expected_range
from test_groups_wire import await_coordinator

CONNECTIONS = int(os.environ.get("CHRONIK_E2E_CONNECTIONS", 1200))
# Older ones are advertised, as Kafka does it, and not served.
OLDEST = {"Produce": 3}
TOPICS = ["random-a", "random-b"]


def make_topics(broker):
    """The topics that the requests are about; some of the requests delete them, also after their clients have left."""
    limit = time.monotonic() + 60
    with RawClient(broker.port) as client:
        while True:
            client.call("CreateTopics", 4, timeoutMs=20000, validateOnly=False, Topics=[
                {"Name": name, "NumPartitions": 8, "ReplicationFactor": 1} for name in TOPICS])
            found = client.call("Metadata", 12, Topics=[{"Name": name} for name in TOPICS])["Topics"]
            if all(topic["ErrorCode"] == 0 for topic in found):
                return [topic["TopicId"] for topic in found]
            assert time.monotonic() < limit, found


def some_requests(client, generator, rng):
    """Sends a few requests, and reads what is answered before the broker closes the connection."""
    sent = []
    try:
        for _ in range(rng.randrange(1, 6)):
            name = rng.choice(SERVED)
            low, high = expected_range(name)
            version = rng.randint(max(low, OLDEST.get(name, 0)), high)
            values = generator.request(name, version)
            sent.append((name, version, values, None))
            sent[-1] = (name, version, values, client.send(name, version, values))
        client.sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    answered = 0
    try:
        for name, version, values, correlation in sent:
            # With acks = 0 there is no answer.
            if correlation is not None and not (name == "Produce" and values.get("Acks", 0) == 0):
                client.receive(name, version, correlation)
                answered += 1
    except OSError:
        pass
    except (AssertionError, SchemaError) as wrong:
        raise AssertionError(f"{wrong}, after {sent}") from wrong
    return sent, answered


def test_senseless_requests_are_answered_or_refused(own_broker, rng):
    broker, answered = own_broker, 0
    with Member(broker, "random-group") as member:
        await_coordinator(member)
        member.join()
        for number in range(CONNECTIONS):
            if number % 100 == 0:
                ids = make_topics(broker)
            generator = Generator(rng, TOPICS, ids, ["random-group", "random-other"], [member.id])
            with RawClient(broker.port, timeout=2) as client:
                sent, answers = some_requests(client, generator, rng)
            answered += answers
            assert broker.alive(), f"connection {number} ended the broker: {sent}"
    print(f"{answered} requests were answered")
    assert answered > CONNECTIONS
    broker.kill()
    broker.start()
    make_topics(broker)
