"""A raw Kafka client: one socket, requests written by the schemas, answers checked against them."""

import itertools
import socket
import struct

from .schema import by_key, covers, load


class RawClient:
    """One connection. Every wait has a deadline."""

    def __init__(self, port, timeout=20.0, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ids = itertools.count(1)
        self.last_size = 0

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send_frame(self, payload):
        self.sock.sendall(struct.pack(">i", len(payload)) + payload)

    def read_exact(self, n):
        parts = bytearray()
        while len(parts) < n:
            piece = self.sock.recv(n - len(parts))
            if not piece:
                raise ConnectionResetError("closed by the broker")
            parts += piece
        return bytes(parts)

    def read_frame(self):
        size = struct.unpack(">i", self.read_exact(4))[0]
        assert 0 <= size < 1 << 30, f"frame of {size} bytes"
        self.last_size = size
        return self.read_exact(size)

    def request(self, name, version, values, client_id="raw"):
        """The bytes of one request without the length, and its correlation id."""
        schema = load()[name + "Request"]
        correlation = next(self.ids)
        return correlation, frame(schema.key, version, correlation, client_id,
                                  covers(schema.flexible, version), schema.encode(version, values))

    def send(self, name, version, values):
        correlation, payload = self.request(name, version, values)
        self.send_frame(payload)
        return correlation

    def receive(self, name, version, correlation):
        data = self.read_frame()
        got = struct.unpack(">i", data[:4])[0]
        assert got == correlation, f"answer to request {got} instead of {correlation}"
        return parse_response(name, version, data)

    def parse_next(self, name, version):
        """The next answer, whatever its correlation id."""
        return parse_response(name, version, self.read_frame())

    def call(self, name, version, **values):
        return self.receive(name, version, self.send(name, version, values))

    def closed_by_peer(self):
        """Waits until the broker closes the connection; returns what it sent before."""
        rest = bytearray()
        try:
            while piece := self.sock.recv(65536):
                rest += piece
        except ConnectionError:
            pass
        return bytes(rest)


def frame(key, version, correlation, client_id, flexible, body):
    name = client_id.encode()
    head = struct.pack(">hhih", key, version, correlation, len(name)) + name
    return head + (b"\0" if flexible else b"") + body


def parse_response(name, version, data):
    schema = load()[name + "Response"]
    at = 4
    if covers(schema.flexible, version) and name != "ApiVersions":
        assert data[at] == 0, "tagged fields in the response header"
        at += 1
    return schema.decode(version, data[at:])


def latest(name):
    """The highest version of an API in the schemas that every broker of that release serves."""
    return by_key()[load()[name + "Request"].key][0].versions()[-1]
