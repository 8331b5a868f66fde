"""Requests that fit Kafka's schemas and hold what no client would send: limits of every type, names that exist and names
that do not, the same thing twice."""

import uuid

from .batch import RECENT, build, simple
from .schema import INTS, covers, default_of, fields_of, load

EXTREMES = {"int8": (-128, 127), "int16": (-(1 << 15), (1 << 15) - 1), "uint16": (0, (1 << 16) - 1),
            "int32": (-(1 << 31), (1 << 31) - 1), "uint32": (0, (1 << 32) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
# Nobody waits for what these requests wait for; zero is where most waits end at once.
WAITS = {"TimeoutMs", "timeoutMs", "MaxWaitMs", "SessionTimeoutMs", "RebalanceTimeoutMs", "TransactionTimeoutMs"}
DEPTH_MAX = 4


class Generator:
    """Draws requests about these topics, their ids and these groups."""

    def __init__(self, rng, topics, ids, groups, members):
        self.rng, self.topics, self.ids, self.groups, self.members = rng, topics, ids, groups, members

    def request(self, name, version):
        """The values of a request, for `RawClient.send`."""
        schema = load()[name + "Request"]
        return self.struct(schema, schema.fields, version, 0)

    def struct(self, schema, fields, version, depth):
        return {f["name"]: self.field(schema, f, version, depth) for f in fields
                if covers(f["versions"], version) and self.rng.random() < 0.95}

    def field(self, schema, f, version, depth):
        kind, may_be_null = f["type"], covers(f.get("nullableVersions"), version)
        # What asks for transactions is refused as a whole.
        if may_be_null and self.rng.random() < (0.8 if f["name"] == "TransactionalId" else 0.15):
            return None
        if self.rng.random() < 0.1 and not (may_be_null and default_of(f, schema, version) is None):
            return default_of(f, schema, version)
        if kind.startswith("[]"):
            return self.many(schema, f, kind[2:], version, depth)
        return self.one(schema, f, kind, version, depth)

    def many(self, schema, f, kind, version, depth):
        count = 0 if depth > DEPTH_MAX else self.rng.choice((0, 1, 1, 2, 2, 3, 8))
        items = [self.one(schema, f, kind, version, depth) for _ in range(count)]
        return items + items[:1] if self.rng.random() < 0.2 else items

    def one(self, schema, f, kind, version, depth):
        rng = self.rng
        if kind in INTS and kind != "float64":
            return self.number(f["name"], kind)
        if kind == "bool":
            return rng.random() < 0.5
        if kind == "uuid":
            return rng.choice([*self.ids, uuid.UUID(int=0), uuid.UUID(int=rng.getrandbits(128))])
        if kind == "string":
            return self.text(f)
        if kind == "bytes":
            return rng.choice((b"", b"x", rng.randbytes(40)))
        if kind == "records":
            return self.records()
        if kind == "float64":
            return rng.choice((0.0, -1.0, float("inf"), float("nan")))
        return self.struct(schema, fields_of(f, schema, kind), version, depth + 1)

    def number(self, name, kind):
        rng, (low, high) = self.rng, EXTREMES[kind]
        if name in WAITS:
            return rng.choice((0, 0, 0, 1, 20, -1, low, high, 6000))
        if name == "Acks":
            return rng.choice((-1, -1, -1, 1, 1, 0, 2, low, high))
        if name in ("Index", "Partition", "PartitionIndex", "PartitionIndexes", "Partitions") and rng.random() < 0.8:
            return rng.randrange(8)
        if name in ("ReplicationFactor", "NumPartitions", "Count"):
            return rng.choice((-1, 0, 1, 2, 3, low, high))
        drawn = rng.choice((0, 0, 0, 1, 1, 2, 3, 5, -1, -1, -2, -3, -4, -5, low, high, high - 1, rng.randrange(50)))
        return min(max(drawn, low), high)

    def text(self, f):
        rng = self.rng
        if f.get("entityType") == "topicName" or "opic" in f["name"]:
            return rng.choice([*self.topics] * 4 + ["no-such-topic", "", ".", "..", "x" * 300, "__consumer_offsets", "a b"])
        if f.get("entityType") == "groupId" or "roup" in f["name"]:
            return rng.choice([*self.groups] * 4 + ["", "no-such-group"])
        if f["name"] in ("MemberId", "Leader"):
            return rng.choice([*self.members, "", "nobody"])
        return rng.choice((*self.topics, *self.groups, "", "1", "consumer", "range", "retention.ms", "cleanup.policy",
                           "segment.bytes", "-1", "9" * 40, "\u00fc\0\n", "x" * 1000))

    def records(self):
        rng = self.rng
        batch = rng.choice((
            *[lambda: simple([b"v"] * rng.choice((1, 3, 50)))] * 4,
            lambda: build([(RECENT + at, b"k", b"v" * 100) for at in range(20)], rng.choice(("gzip", "lz4", "snappy", "zstd"))),
            lambda: simple([b"a"]) + simple([b"b"]),
            lambda: b"",
            lambda: rng.randbytes(rng.choice((1, 11, 61, 80)))))()
        if batch and rng.random() < 0.1:
            batch = bytearray(batch)
            batch[rng.randrange(len(batch))] ^= 1 << rng.randrange(8)
        return bytes(batch)
