"""Hostile bytes: every answer is an error or a closed connection, memory stays bounded, and the broker lives."""

import gzip
import os
import socket
import struct
import time

import cramjam
import lz4.frame
import pytest
import zstandard
from harness.admin import create_topic, topic_id
from harness.batch import blob, encode_record, simple, varint
from harness.log_client import LogClient, fetch_values, produce_values
from harness.paths import CONTROL
from harness.raw import RawClient, frame
from harness.schema import load
from test_api_versions import SERVED, expected_range, request_values

MIB = 1024
SLACK_KIB = 32 * MIB
BLOCKING = {"Fetch", "JoinGroup"}


class Watch:
    """Memory and health of the broker around a test: the growth of the peak is bounded."""

    def __init__(self, broker, allowed_kib):
        self.broker, self.allowed = broker, allowed_kib

    def __enter__(self):
        self.broker.reset_peak()
        self.before = self.broker.rss_kib()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        assert self.broker.alive(), "the broker died"
        with RawClient(self.broker.port) as client:
            assert client.call("ApiVersions", 0)["ErrorCode"] == 0
        grown = self.broker.peak_kib() - self.before
        print(f"peak grew by {grown / MIB:.1f} MiB, allowed {self.allowed / MIB:.0f}")
        assert CONTROL or grown <= self.allowed, f"the peak grew by {grown} KiB"


@pytest.fixture
def one(broker, topic):
    create_topic(broker, topic)
    return topic


def outcome(client, wait=5.0):
    """What comes back after the client has ended its side: bytes, then the end of the connection."""
    client.sock.settimeout(wait)
    try:
        client.sock.shutdown(socket.SHUT_WR)
    except OSError:
        return b""
    return client.closed_by_peer()


@pytest.mark.parametrize("size", [-1, -(1 << 31), 0, 1, 3, 7, (1 << 31) - 1, 1 << 30, (100 << 20) + 1])
def test_lying_frame_sizes_close_the_connection(broker, size):
    with Watch(broker, SLACK_KIB), RawClient(broker.port) as client:
        client.sock.sendall(struct.pack(">i", size) + b"\0" * max(0, min(size, 7)))
        assert outcome(client) == b""


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, b"\xff" * 4096,
    b"\0" * 4096, b"\x80" * 4096])
def test_other_protocols_are_closed(broker, data):
    with Watch(broker, SLACK_KIB), RawClient(broker.port) as client:
        try:
            client.sock.sendall(data)
        except ConnectionError:
            pass
        outcome(client)


def good_request(client, name, topic):
    version = expected_range(name)[1]
    schema = load()[name + "Request"]
    values = request_values(name, version, topic, topic_id(client, topic))
    flexible = schema.flexible != "none"
    return frame(schema.key, version, 1, "raw", flexible, schema.encode(version, values))


@pytest.mark.parametrize("name", SERVED)
def test_requests_cut_anywhere(broker, one, name):
    """A frame that ends early, with an honest size: never a hang, never a crash."""
    with Watch(broker, SLACK_KIB):
        with RawClient(broker.port) as client:
            whole = good_request(client, name, one)
        for cut in range(len(whole)):
            with RawClient(broker.port, timeout=10) as client:
                client.send_frame(whole[:cut])
                outcome(client)


@pytest.mark.parametrize("name", SERVED)
def test_requests_with_lying_counts(broker, one, name):
    """Every position in turn becomes a huge or negative count, in both encodings of lengths."""
    lies = [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\x0f", b"\xff" * 10]
    with Watch(broker, SLACK_KIB):
        with RawClient(broker.port) as client:
            whole = good_request(client, name, one)
        for at in range(8, len(whole)):
            for lie in lies[:2] if at % 3 else lies:
                with RawClient(broker.port, timeout=10) as client:
                    client.send_frame(whole[:at] + lie + whole[at + len(lie):])
                    if name not in BLOCKING:
                        outcome(client)


def test_random_mutations(broker, one, rng):
    with Watch(broker, SLACK_KIB):
        with RawClient(broker.port) as client:
            wholes = {name: good_request(client, name, one) for name in SERVED}
        waiting = 0
        for _ in range(1500):
            name = rng.choice(SERVED)
            data = bytearray(wholes[name])
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(2, len(data))] = rng.randrange(256)
            with RawClient(broker.port, timeout=10) as client:
                client.send_frame(bytes(data))
                try:
                    outcome(client, 1.0)
                except TimeoutError:
                    waiting += 1
    print(f"{waiting} mutations made a request that waits")


def test_floods_of_tags(broker, one):
    """A million tagged fields, each of length 0, are skipped or refused without being kept."""
    tags = b"".join(varuint(tag) + b"\0" for tag in range(1_000_000))
    body = load()["MetadataRequest"].encode(12, {"Topics": []})
    with Watch(broker, len(tags) // 1024 * 2 + SLACK_KIB):
        for flood in (varuint(1_000_000) + tags, varuint((1 << 32) - 1) + tags[:1000], varuint(5) + varuint(1 << 31)):
            with RawClient(broker.port, timeout=30) as client:
                client.send_frame(struct.pack(">hhih", 3, 12, 1, -1) + flood + body)
                outcome(client, 30)
            with RawClient(broker.port, timeout=30) as client:
                client.send_frame(struct.pack(">hhih", 3, 12, 1, -1) + b"\0" + body[:-1] + flood)
                outcome(client, 30)


def varuint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bombs():
    """Payloads of about 1 MB at most that unpack to hundreds of MiB, or claim to."""
    zeros = b"\0" * (64 << 20)
    yield "gzip", gzip.compress(zeros) * 16
    yield "zstd", zstandard.ZstdCompressor(level=3).compress(zeros) * 16
    yield "zstd", zstandard.ZstdCompressor(level=3).compress(b"\0" * (512 << 20))
    yield "lz4", lz4.frame.compress(zeros)
    yield "snappy", b"\xff\xff\xff\xff\x0f" + b"\0" * 100
    xerial = bytes(cramjam.snappy.compress_raw(zeros[:1 << 20]))
    yield "snappy", b"\x82SNAPPY\0\0\0\0\1\0\0\0\1" + (struct.pack(">i", len(xerial)) + xerial) * 16
    yield "snappy", b"\x82SNAPPY\0\0\0\0\1\0\0\0\1\x7f\xff\xff\xff"


@pytest.mark.skipif(CONTROL, reason="Kafka unpacks them for minutes")
def test_decompression_bombs(broker, one):
    """Each is refused, and memory never follows what they claim."""
    with Watch(broker, 64 * MIB), LogClient(broker.port, timeout=60) as log:
        for codec, payload in bombs():
            answer = log.produce(one, simple([b"x"], codec, payload=payload))
            assert answer["ErrorCode"] != 0, f"{codec}: {answer}"
        assert log.append(one, simple([b"good"])) == 0


def test_a_compressed_batch_of_one_huge_record_is_bounded(broker, one):
    """Well formed, small on the wire, 256 MiB inside: accepted or refused, but not unpacked whole in memory."""
    payload = zstandard.ZstdCompressor().compress(encode_record(0, 0, None, b"\0" * (256 << 20)))
    with Watch(broker, 64 * MIB), LogClient(broker.port, timeout=60) as log:
        print(log.produce(one, simple([b"x"], "zstd", payload=payload)))


RECORDS = {
    "length beyond the batch": varint(1 << 20) + b"\0" * 20,
    "negative length": varint(-5) + b"\0" * 20,
    "varint without an end": b"\xff" * 20,
    "key beyond the record": varint(8) + b"\0\0\0" + varint(1 << 30) + b"\0" * 8,
    "negative header count": varint(6) + b"\0\0\0" + blob(None) + blob(None) + varint(-1),
    "huge header count": varint(10) + b"\0\0\0" + blob(None) + blob(None) + varint((1 << 31) - 1),
    "null header name": varint(8) + b"\0\0\0" + blob(None) + blob(None) + varint(1) + blob(None) + blob(None),
    "bytes after the headers": varint(9) + b"\0\0\0" + blob(None) + blob(None) + varint(0) + b"\0\0\0",
    "bytes after the last record": encode_record(0, 0, None, b"x") + b"\0\0\0\0",
    "no record": b"",
}


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("name", RECORDS)
def test_lying_records_are_refused(broker, log, one, name, codec):
    payload = gzip.compress(RECORDS[name]) if codec == "gzip" else RECORDS[name]
    with Watch(broker, SLACK_KIB):
        answer = log.produce(one, simple([b"x"], codec, payload=payload))
        assert answer["ErrorCode"] != 0, answer
        huge = log.produce(one, simple([b"x"], codec, payload=payload, count=(1 << 31) - 1, last_delta=(1 << 31) - 2))
        assert huge["ErrorCode"] != 0, huge
    assert log.append(one, simple([b"good"])) == 0


@pytest.mark.parametrize("length", [-1, 0, 10, 48, 1 << 20, (1 << 31) - 1])
def test_lying_batch_lengths_are_refused(log, one, length):
    assert log.produce(one, simple([b"x"], length=length))["ErrorCode"] != 0
    assert log.produce(one, b"\0" * 40)["ErrorCode"] != 0
    assert log.append(one, simple([b"good"])) == 0


@pytest.mark.skipif(CONTROL, reason="Kafka allocates what is announced")
def test_stalls_in_mid_frame_hold_no_memory_and_nobody_else(broker, log, one):
    """Fifty clients announce 90 MB each, send a little, and stop."""
    with Watch(broker, SLACK_KIB):
        stalled = [RawClient(broker.port) for _ in range(50)]
        for client in stalled:
            client.sock.sendall(struct.pack(">ihhih", 90 << 20, 0, 9, 1, 3) + b"raw\0" + b"\0" * 1000)
        for i in range(20):
            assert log.append(one, simple([b"%d" % i])) == i
        for client in stalled:
            client.close()


def test_clients_that_never_read_hold_bounded_memory(broker, log, one):
    """Twenty clients ask for 200 x 1 MB each and read nothing."""
    for _ in range(4):
        log.append(one, simple([os.urandom(1000_000)], ts=int(time.time() * 1000)))
    ask = {(one, 0): (0, 1 << 20)}
    with Watch(broker, 160 * MIB):
        deaf = [LogClient(broker.port, timeout=2) for _ in range(20)]
        try:
            for client in deaf:
                for _ in range(200):
                    client.send("Fetch", 12, fetch_values(ask))
        except TimeoutError:
            pass
        log.append(one, simple([b"others are served"]))
        for client in deaf:
            client.close()


def test_many_large_requests_at_once_hold_bounded_memory(broker, one):
    """Thirty clients send all but the end of a 20 MB frame: a budget bounds what is held."""
    payload = frame(0, 9, 1, "raw", True, load()["ProduceRequest"].encode(9, produce_values(one, b"\0" * (20 << 20))))
    data = struct.pack(">i", len(payload)) + payload[:-10]
    with Watch(broker, 640 * MIB):
        clients = [RawClient(broker.port, timeout=2) for _ in range(30)]
        for client in clients:
            try:
                client.sock.sendall(data)
            except (TimeoutError, ConnectionError):
                pass
        for client in clients:
            client.close()


def test_connections_come_and_go(broker):
    """Two thousand short connections leave no file behind."""
    files = broker.open_files()
    with Watch(broker, SLACK_KIB):
        for i in range(2000):
            with RawClient(broker.port) as client:
                if i % 3 == 0:
                    client.call("ApiVersions", 0)
                elif i % 3 == 1:
                    client.sock.sendall(b"\0\0")
    limit = time.monotonic() + 30
    while broker.open_files() > files + 10:
        assert time.monotonic() < limit, f"{broker.open_files()} files open, before {files}"
        time.sleep(0.05)


