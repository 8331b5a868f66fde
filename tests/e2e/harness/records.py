"""The records that drivers write and read, and the comparison of what was acknowledged with what is read."""

import base64
import random

from .batch import RECENT

KB = 1024


def b64(data):
    return None if data is None else base64.b64encode(data).decode()


def raw(text):
    return None if text is None else base64.b64decode(text)


def record(partition, key, value, headers=(), ts=0):
    return {"p": partition, "k": b64(key), "v": b64(value), "h": [[n, b64(v)] for n, v in headers], "ts": ts}


def sample(tag, partitions, seed):
    """The record set of one producer and codec: every odd shape, then text, then incompressible bytes."""
    rng = random.Random(f"{seed}/{tag}")
    base = RECENT + rng.randrange(100_000)
    mark = tag.encode()
    shapes = [
        (mark, b"plain", []),
        (None, mark + b" without a key", []),
        (mark, None, []),
        (None, None, [("only", b"a header")]),
        (mark, b"", []),
        (b"", mark + b" with an empty key", []),
        (mark, b"headers", [("a", b"1"), ("b", b"2"), ("c", b"")]),
        (mark, b"duplicate names", [("dup", b"first"), ("dup", b"second"), ("other", b"x")]),
        (mark, b"null header", [("null", None), ("full", b"y")]),
        (bytes(range(1, 256)), bytes(range(256)), [("binary", bytes(range(128, 256)))]),
        ("Schl\u00fcssel".encode(), "Wert \u20ac".encode(), [("nam\u00e9", "w\u00e9rt".encode())]),
    ]
    out = [record(i % partitions, k, v, h, base + i) for i, (k, v, h) in enumerate(shapes)]
    for i in range(12):
        value = b"%s %d " % (mark, i) + b"compressible " * 40
        out.append(record(i % partitions, b"k%d" % i, value, [], base + 100 - i))
    out.append(record(0, b"large", rng.randbytes(40 * KB), [], base + 200))
    out.append(record(partitions - 1, b"large", b"z" * 100 * KB, [], base + 201))
    return out


def group_by_name(headers):
    """Headers in the order that clients with one list per name can tell: by first appearance of the name."""
    order = list(dict.fromkeys(name for name, _ in headers))
    return [[name, value] for wanted in order for name, value in headers if name == wanted]


class Ledger:
    """What was acknowledged: (partition, offset) to record, with the number of the send."""

    def __init__(self):
        self.acked = {}

    def add(self, tag, sent, acks):
        """Enters the acknowledgements of one producer run; returns the complaints."""
        complaints = []
        if sorted(a["ack"] for a in acks) != list(range(len(sent))):
            complaints.append(f"{len(acks)} acknowledgements for {len(sent)} records")
        last = {}
        for a in sorted(acks, key=lambda a: a["ack"]):
            place = (a["p"], a["o"])
            if place in self.acked:
                complaints.append(f"{place} acknowledged twice, before for {self.acked[place]['tag']}")
            if a["p"] != sent[a["ack"]]["p"]:
                complaints.append(f"record {a['ack']} went to partition {a['p']}")
            if last.get(a["p"], -1) >= a["o"]:
                complaints.append(f"record {a['ack']}: offset {a['o']} after {last[a['p']]}")
            last[a["p"]] = a["o"]
            self.acked[place] = dict(sent[a["ack"]], tag=tag, acked_ts=a["ts"])
        return complaints

    def ends(self):
        ends = {}
        for partition, offset in self.acked:
            ends[partition] = max(ends.get(partition, 0), offset + 1)
        return ends

    def compare(self, read, fold=lambda headers: headers):
        """Complaints by tag about what a consumer read; `fold` maps headers to what that consumer can tell."""
        complaints, seen, last = {}, set(), {}
        for r in read:
            place = (r["p"], r["o"])
            want = self.acked.get(place)
            tag = want["tag"] if want else "unknown"
            wrong = complaints.setdefault(tag, []) if want else complaints.setdefault("unknown", [])
            if want is None:
                wrong.append(f"{place} was never acknowledged")
                continue
            if place in seen or last.get(r["p"], -1) >= r["o"]:
                wrong.append(f"{place} read after {last.get(r['p'])}")
            seen.add(place)
            last[r["p"]] = max(r["o"], last.get(r["p"], -1))
            wrong.extend(difference(place, want, r, fold))
        for place in self.acked.keys() - seen:
            complaints.setdefault(self.acked[place]["tag"], []).append(f"{place} is missing")
        return {tag: wrong for tag, wrong in complaints.items() if wrong}


def difference(place, want, got, fold):
    for field, name in (("k", "key"), ("v", "value")):
        if want[field] != got[field]:
            yield f"{place} {name}: wrote {str(want[field])[:60]}, read {str(got[field])[:60]}"
    if want["ts"] is not None and want["ts"] != got["ts"]:
        yield f"{place} timestamp: wrote {want['ts']}, read {got['ts']}"
    if fold(want["h"]) != fold(got["h"]):
        yield f"{place} headers: wrote {fold(want['h'])}, read {fold(got['h'])}"
