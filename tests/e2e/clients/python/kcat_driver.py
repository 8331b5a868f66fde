"""Serves the commands of ../README.md with kcat.

kcat takes the headers once for a whole call and sets no timestamps, so records that agree in partition, headers and in
how an empty value is meant share a call. Read headers come back as kcat prints them, in `kcat_h`.
"""

import itertools
import re
import subprocess

from driver_io import b64, emit, raw, serve

END, KEY = "@@chronik-record@@", "@@chronik-key@@"
DELIVERED = re.compile(rb"Message delivered to partition (\d+) \(offset (\d+)\)")


def sortable(indexed):
    _, r = indexed
    return r["p"], r["h"], r["v"] is None


def produce(c):
    for (partition, headers, nulls), group in itertools.groupby(enumerate(c["records"]), key=sortable):
        group = list(group)
        argv = ["kcat", "-P", "-b", c["bootstrap"], "-t", c["topic"], "-p", str(partition), "-D", END, "-K", KEY, "-vvv",
                "-X", f"compression.codec={c['codec']}", "-X", "max.in.flight=1", "-X", "acks=all",
                "-X", "message.timeout.ms=60000"]
        argv += ["-Z"] if nulls else []
        for name, value in headers:
            argv += ["-H", name.encode() + (b"" if value is None else b"=" + raw(value))]
        pieces = []
        for _, r in group:
            key = b"" if r["k"] is None else raw(r["k"]) + KEY.encode()
            pieces.append(key + (raw(r["v"]) or b"") + END.encode())
        run = subprocess.run(argv, input=b"".join(pieces), capture_output=True, timeout=90)
        acks = DELIVERED.findall(run.stderr)
        if run.returncode or len(acks) != len(group):
            raise RuntimeError(f"kcat: {run.returncode}, {len(acks)} of {len(group)}: {run.stderr[-600:]}")
        for (i, _), (got, offset) in zip(group, acks):
            emit({"ack": i, "p": int(got), "o": int(offset), "ts": None})


def consume(c):
    for partition, end in c["ends"].items():
        if end > 0:
            read(c, partition, end)


def read(c, partition, end):
    argv = ["kcat", "-C", "-q", "-b", c["bootstrap"], "-t", c["topic"], "-p", partition, "-o", "beginning",
            "-c", str(end), "-X", "check.crcs=true", "-D", "", "-f", "%p|%o|%T|%K|%S|%k%s%h" + END]
    run = subprocess.run(argv, capture_output=True, timeout=60)
    if run.returncode:
        raise RuntimeError(f"kcat: {run.returncode}: {run.stderr[-600:]}")
    at, out = 0, run.stdout
    while at < len(out):
        p, o, ts, key_size, value_size, _ = out[at:at + 200].split(b"|", 5)
        at += sum(len(x) + 1 for x in (p, o, ts, key_size, value_size))
        key, at = take(out, at, int(key_size))
        value, at = take(out, at, int(value_size))
        stop = out.index(END.encode(), at)
        emit({"p": int(p), "o": int(o), "ts": int(ts), "k": b64(key), "v": b64(value), "h": [],
              "kcat_h": b64(out[at:stop])})
        at = stop + len(END)


def take(out, at, size):
    return (None, at) if size < 0 else (out[at:at + size], at + size)


serve({"produce": produce, "consume": consume})
