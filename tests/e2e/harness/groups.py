"""Live group members of real clients on threads, and the record of what each was given and committed."""

import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka import KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as PythonPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaConnectionError, KafkaError

SESSION_MS, BEAT_MS = 10000, 300


class Record:
    """What all members of one group saw, in one order."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = {}
        self.committed = {}
        self.unsure = {}
        self.problems = []
        self.deliveries = 0

    def delivered(self, member, partition, offset):
        with self.lock:
            self.deliveries += 1
            self.seen.setdefault(partition, set()).add(offset)
            expected = member.expected.get(partition)
            if expected is None:
                # The first record after an assignment: exactly where the last commit left off. A commit whose answer was
                # lost may have counted or not.
                expected = self.committed.get(partition, 0)
                if offset in self.unsure.get(partition, ()):
                    expected = offset
            if offset != expected:
                self.problems.append(f"{member.name}: partition {partition} gave {offset} instead of {expected}")
            member.expected[partition] = offset + 1

    def note_commit(self, offsets):
        with self.lock:
            self.committed.update(offsets)

    def note_unsure(self, offsets):
        with self.lock:
            for partition, offset in offsets.items():
                self.unsure.setdefault(partition, set()).add(offset)

    def gaps(self, ends):
        return {p: sorted(set(range(end)) - self.seen.get(p, set()))[:5] for p, end in ends.items()
                if set(range(end)) - self.seen.get(p, set())}


class Member(threading.Thread):
    """A member that polls until it is told to stop, and commits every few records."""

    def __init__(self, record, name, broker, topic, group, instance=None, assignor="range"):
        super().__init__(name=name, daemon=True)
        self.record, self.topic, self.broker, self.group = record, topic, broker, group
        self.instance, self.assignor = instance, assignor
        self.assigned, self.expected, self.rebalances = set(), {}, 0
        self.stopping, self.leaving = threading.Event(), True
        self.start()

    def on_assigned(self, partitions):
        """Adds partitions; a position starts anew."""
        for partition in partitions:
            self.expected.pop(partition, None)
        self.assigned |= set(partitions)
        self.rebalances += 1

    def on_revoked(self, partitions):
        self.assigned -= set(partitions)

    def run(self):
        try:
            self.open()
            while not self.stopping.is_set():
                due = {}
                for partition, offset in self.poll():
                    self.record.delivered(self, partition, offset)
                    due[partition] = offset + 1
                if due:
                    self.commit(due)
            self.close()
        except Exception as error:
            self.record.problems.append(f"{self.name}: {error!r}")

    def stop(self, leave=True):
        self.leaving = leave
        self.stopping.set()
        self.join(30)
        assert not self.is_alive(), f"{self.name} does not end"


class ConfluentMember(Member):
    """librdkafka."""

    def open(self):
        config = {"bootstrap.servers": self.broker.bootstrap, "group.id": self.group, "enable.auto.commit": False,
                  "auto.offset.reset": "earliest", "session.timeout.ms": SESSION_MS, "log_level": 0,
                  "heartbeat.interval.ms": BEAT_MS, "partition.assignment.strategy": self.assignor,
                  "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "fetch.wait.max.ms": 100}
        if self.instance:
            config["group.instance.id"] = self.instance
        self.consumer = Consumer(config)
        self.consumer.subscribe([self.topic], on_assign=self.assign, on_revoke=self.revoke, on_lost=self.revoke)

    def assign(self, consumer, partitions):
        if self.assignor == "cooperative-sticky":
            consumer.incremental_assign(partitions)
        self.on_assigned([p.partition for p in partitions])

    def revoke(self, consumer, partitions):
        if self.assignor == "cooperative-sticky":
            consumer.incremental_unassign(partitions)
        self.on_revoked([p.partition for p in partitions])

    def poll(self):
        messages = self.consumer.consume(20, 0.1)
        return [(m.partition(), m.offset()) for m in messages if not m.error()]

    def commit(self, due):
        try:
            done = self.consumer.commit(offsets=[TopicPartition(self.topic, p, o) for p, o in due.items()],
                                        asynchronous=False)
        except KafkaException:
            self.record.note_unsure(due)
            return
        self.record.note_commit({p.partition: p.offset for p in done if not p.error})

    def close(self):
        self.consumer.close()


class PythonMember(Member):
    """kafka-python."""

    def open(self):
        from kafka.coordinator.assignors.range import RangePartitionAssignor
        self.consumer = KafkaConsumer(
            bootstrap_servers=self.broker.bootstrap, group_id=self.group, enable_auto_commit=False,
            auto_offset_reset="earliest", session_timeout_ms=SESSION_MS, heartbeat_interval_ms=BEAT_MS,
            group_instance_id=self.instance, partition_assignment_strategy=[RangePartitionAssignor],
            max_poll_records=20, reconnect_backoff_ms=10, reconnect_backoff_max_ms=200, fetch_max_wait_ms=100)
        member = self

        class Listener(ConsumerRebalanceListener):
            def on_partitions_revoked(self, revoked):
                member.on_revoked([p.partition for p in revoked])

            def on_partitions_assigned(self, assigned):
                member.on_assigned([p.partition for p in assigned])

        self.consumer.subscribe([self.topic], listener=Listener())

    def poll(self):
        try:
            polled = self.consumer.poll(timeout_ms=100)
        except KafkaConnectionError:
            # This client lets the loss of the coordinator out of poll; the next one goes on.
            return []
        return [(m.partition, m.offset) for records in polled.values() for m in records]

    def commit(self, due):
        try:
            self.consumer.commit({PythonPartition(self.topic, p): OffsetAndMetadata(o, "", -1) for p, o in due.items()})
        except KafkaError:
            self.record.note_unsure(due)
            return
        self.record.note_commit(due)

    def close(self):
        self.consumer.close()


def settle(members, partitions, limit_s=40):
    """Waits until the members share all partitions without overlap, evenly."""
    limit = time.monotonic() + limit_s
    while True:
        shares = [set(m.assigned) for m in members]
        union = set().union(*shares)
        if len(union) == partitions and sum(map(len, shares)) == partitions and all(shares):
            return
        assert time.monotonic() < limit, f"the group does not settle: {[sorted(s) for s in shares]}"
        time.sleep(0.02)
