"""What happened: every send with its outcome, every poll, and the logs of all replicas at the end.

Values are unique in a run, so that a value names its send. A history can be written to a file and read again.
"""

import json
from dataclasses import asdict, dataclass, field

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


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
class History:
    """`logs` has one log for each replica of each partition: {partition: {node: [(offset, value)]}}; `complete` names the
    replicas that had everything by the time their log was read."""

    sends: list = field(default_factory=list)
    polls: list = field(default_factory=list)
    logs: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)

    def dump(self, path):
        with open(path, "w") as f:
            for send in self.sends:
                f.write(json.dumps({"send": asdict(send)}) + "\n")
            for poll in self.polls:
                f.write(json.dumps({"poll": asdict(poll)}) + "\n")
            for partition, nodes in self.logs.items():
                for node, records in nodes.items():
                    f.write(json.dumps({"log": [partition, node, records]}) + "\n")
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
                else:
                    history.faults.append(value)
        return history
