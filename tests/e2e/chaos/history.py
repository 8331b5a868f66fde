"""What happened: every send with its outcome, every poll, and the logs of all replicas at the end.

Values are unique in a run, so that a value names its send. A history can be written to a file and read again.
"""

import json
from bisect import bisect_right
from dataclasses import asdict, dataclass, field

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# The batches that an idempotent producer has under way to a partition at most.
IN_FLIGHT = 5


@dataclass
class Send:
    """One record handed to a producer. `failed` only where it surely never appears; whatever else is `unknown`. An
    acknowledgement without an offset has -1."""

    producer: str
    partition: int
    value: str
    outcome: str
    offset: int = -1
    began: float = 0.0
    ended: float = 0.0
    idempotent: bool = True


@dataclass
class Poll:
    """What one consumer got from one partition, in order. `fresh` where the consumer was placed anew before: by a seek,
    an assignment or a rebalance. Members of a group name it: a partition goes from one to the other."""

    consumer: str
    partition: int
    records: list  # (offset, value)
    fresh: bool = False
    group: str = ""


@dataclass
class Epoch:
    """A client said that it begins a new epoch of its producer id: it numbers anew, and sends again, what it has in flight.
    `refused` has the batches that were refused as out of order before, by partition and first sequence number."""

    producer: str
    producer_id: int
    epoch: int
    why: str = ""
    at: float = 0.0
    refused: list = field(default_factory=list)


@dataclass
class Writing:
    """How a stored record was written: its number in an epoch of a producer id, and how many batches of that epoch lie before
    its own in the log, and behind it; counted up to IN_FLIGHT."""

    producer_id: int
    epoch: int
    sequence: int
    before: int
    after: int


@dataclass
class History:
    """`logs` has one log for each replica of each partition: {partition: {node: [(offset, value)]}}; `writings` has those of the
    records that are there more than once: {partition: {offset: Writing}}; `ends` has the last sequence number of each epoch:
    {partition: {(producer id, epoch): sequence}}."""

    sends: list = field(default_factory=list)
    polls: list = field(default_factory=list)
    logs: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)
    epochs: list = field(default_factory=list)
    writings: dict = field(default_factory=dict)
    ends: dict = field(default_factory=dict)

    def dump(self, path):
        with open(path, "w") as f:
            for send in self.sends:
                f.write(json.dumps({"send": asdict(send)}) + "\n")
            for poll in self.polls:
                f.write(json.dumps({"poll": asdict(poll)}) + "\n")
            for partition, nodes in self.logs.items():
                for node, records in nodes.items():
                    f.write(json.dumps({"log": [partition, node, records]}) + "\n")
            for partition, writings in self.writings.items():
                for offset, writing in writings.items():
                    f.write(json.dumps({"writing": [partition, offset, asdict(writing)]}) + "\n")
            for partition, ends in self.ends.items():
                for of, sequence in ends.items():
                    f.write(json.dumps({"end": [partition, of, sequence]}) + "\n")
            for epoch in self.epochs:
                f.write(json.dumps({"epoch": asdict(epoch)}) + "\n")
            for fault in self.faults:
                f.write(json.dumps({"fault": fault}) + "\n")

    @classmethod
    def load(cls, path):
        history = cls()
        with open(path) as f:
            for line in f:
                ((kind, value),) = json.loads(line).items()
                if kind == "send":
                    history.sends.append(Send(**value))
                elif kind == "poll":
                    value["records"] = [tuple(record) for record in value["records"]]
                    history.polls.append(Poll(**value))
                elif kind == "log":
                    partition, node, records = value
                    history.logs.setdefault(partition, {})[node] = [tuple(record) for record in records]
                elif kind == "writing":
                    partition, offset, writing = value
                    history.writings.setdefault(partition, {})[offset] = Writing(**writing)
                elif kind == "end":
                    partition, of, sequence = value
                    history.ends.setdefault(partition, {})[tuple(of)] = sequence
                elif kind == "epoch":
                    value["refused"] = [tuple(one) for one in value["refused"]]
                    history.epochs.append(Epoch(**value))
                else:
                    history.faults.append(value)
        return history


def ends_of_epochs(batches):
    """The last sequence number of each epoch in a log."""
    return {(batch.producer_id, batch.producer_epoch): batch.sequence + batch.last_delta for batch in batches
            if batch.producer_id >= 0}


def writings_of_repeats(batches, log):
    """How those records of a log were written that are in it more than once, by offset. `batches` are the log's."""
    seen, repeated = set(), set()
    for _, value in log:
        (repeated if value in seen else seen).add(value)
    bases = [batch.base_offset for batch in batches] if repeated else []
    writings = {}
    for offset, value in log:
        if value in repeated:
            at = bisect_right(bases, offset) - 1
            batch = batches[at]
            writings[offset] = Writing(batch.producer_id, batch.producer_epoch, batch.sequence + offset - batch.base_offset,
                                       count_of_epoch(batch, reversed(batches[:at])), count_of_epoch(batch, batches[at + 1:]))
    return writings


def count_of_epoch(one, batches):
    """How many batches are of the same epoch as one, up to IN_FLIGHT."""
    count = 0
    for batch in batches:
        count += (batch.producer_id, batch.producer_epoch) == (one.producer_id, one.producer_epoch)
        if count == IN_FLIGHT:
            break
    return count
