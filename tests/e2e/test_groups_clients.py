"""Consumer groups of real clients: 1 -> 3 -> 1 members, static members, mixed clients, and kill -9."""

import time

import pytest
from harness.admin import create_topic
from harness.batch import simple
from harness.groups import ConfluentMember, PythonMember, Record, settle
from harness.log_client import LogClient

PARTITIONS = 6
KINDS = {
    "librdkafka-range": (ConfluentMember, "range"),
    "librdkafka-cooperative": (ConfluentMember, "cooperative-sticky"),
    "kafka-python": (PythonMember, "range"),
}


class Source:
    """Records in every partition, and how many."""

    def __init__(self, broker, topic):
        self.broker, self.topic, self.ends = broker, topic, dict.fromkeys(range(PARTITIONS), 0)
        create_topic(broker, topic, PARTITIONS)

    def add(self, count):
        with LogClient(self.broker.port) as log:
            for partition in self.ends:
                for _ in range(count):
                    log.append(self.topic, simple([b"a", b"b"]), partition)
                self.ends[partition] += 2 * count

    def await_read(self, record, limit_s=60):
        limit = time.monotonic() + limit_s
        while record.gaps(self.ends):
            assert time.monotonic() < limit, f"not read: {record.gaps(self.ends)}, {record.problems}"
            time.sleep(0.02)
        assert not record.problems, "\n".join(record.problems[:10])


@pytest.mark.parametrize("kind", KINDS)
def test_one_to_three_to_one(broker, topic, kind):
    """No gap, and after every change of hands the next owner starts exactly at the committed offset."""
    make, assignor = KINDS[kind]
    source, record = Source(broker, topic), Record()
    source.add(20)
    members = [make(record, f"m{i}", broker, topic, f"g-{topic}", assignor=assignor) for i in range(1)]
    settle(members, PARTITIONS)
    source.await_read(record)
    source.add(20)
    members += [make(record, f"m{i}", broker, topic, f"g-{topic}", assignor=assignor) for i in (1, 2)]
    settle(members, PARTITIONS)
    source.add(20)
    source.await_read(record)
    for member in members[1:]:
        member.stop()
    source.add(20)
    settle(members[:1], PARTITIONS)
    source.await_read(record)
    members[0].stop()
    print(f"{record.deliveries} deliveries of {sum(source.ends.values())} records")


@pytest.mark.parametrize("make", [ConfluentMember, PythonMember])
def test_static_members_come_back_without_a_rebalance(broker, topic, make):
    source, record = Source(broker, topic), Record()
    members = [make(record, f"m{i}", broker, topic, f"g-{topic}", instance=f"static-{i}") for i in range(2)]
    settle(members, PARTITIONS)
    source.add(10)
    source.await_read(record)
    counts, share = members[0].rebalances, set(members[1].assigned)
    members[1].stop()
    members[1] = make(record, "m1-again", broker, topic, f"g-{topic}", instance="static-1")
    settle(members, PARTITIONS)
    assert members[1].assigned == share
    source.add(10)
    source.await_read(record)
    assert members[0].rebalances == counts, "the other member was disturbed"
    for member in members:
        member.stop()


def test_clients_of_different_kinds_share_a_group(broker, topic):
    source, record = Source(broker, topic), Record()
    members = [make(record, f"m{i}", broker, topic, f"g-{topic}") for i, make in
               enumerate((ConfluentMember, PythonMember, ConfluentMember))]
    settle(members, PARTITIONS)
    source.add(20)
    source.await_read(record)
    for member in members:
        member.stop()


@pytest.mark.parametrize("make", [ConfluentMember, PythonMember])
def test_a_live_group_through_two_kills(own_broker, topic, make):
    source, record = Source(own_broker, topic), Record()
    members = [make(record, f"m{i}", own_broker, topic, f"g-{topic}") for i in range(2)]
    settle(members, PARTITIONS)
    for _ in range(2):
        source.add(15)
        own_broker.restart()
        source.add(15)
        source.await_read(record)
    for member in members:
        member.stop()
