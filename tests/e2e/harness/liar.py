"""A broker that lies: a proxy in front of a true one that changes its answers, so that a judge can be judged."""

import socket
import struct
import threading

PRODUCE, FETCH, LIST_OFFSETS, HEARTBEAT = 0, 1, 2, 12


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def read_frame(sock):
    length = read_exactly(sock, 4)
    return length and read_exactly(sock, struct.unpack(">i", length)[0])


def end(sock):
    """Ends a connection that another thread reads: to close its file alone would not tell the peer, nor wake the thread."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()


def after_topics(body, at):
    """Where the first partition of an answer begins: after the count of topics, a name, the count of partitions."""
    (count,) = struct.unpack_from(">i", body, at)
    if count < 1:
        return None
    (length,) = struct.unpack_from(">h", body, at + 4)
    partitions = at + 6 + length
    return partitions + 4 if struct.unpack_from(">i", body, partitions)[0] > 0 else None


def add(body, at, form, by):
    value = struct.unpack_from(form, body, at)[0]
    return body[:at] + struct.pack(form, value + by) + body[at + struct.calcsize(form):]


def produced(change):
    """Changes the first partition of a Produce answer: index, error code and base offset follow each other."""
    def lie(key, body):
        at = after_topics(body, 0) if key == PRODUCE else None
        return body if at is None else change(body, at)
    return lie


def listed(change):
    """Changes the first partition of a ListOffsets answer of version 5: index, error code, timestamp, offset."""
    def lie(key, body):
        at = after_topics(body, 4) if key == LIST_OFFSETS else None
        return body if at is None else change(body, at)
    return lie


def fetched(change):
    """Changes the first partition of a Fetch answer of version 11: index, error code, high watermark."""
    def lie(key, body):
        at = after_topics(body, 10) if key == FETCH else None
        return body if at is None else change(body, at)
    return lie


def never_an_error(body, at):
    return body[:at + 4] + b"\0\0" + body[at + 6:]


LIES = {
    "an offset too high": (produced(lambda body, at: add(body, at + 6, ">q", 1)), "KB-PRD-01"),
    "produces never fail": (produced(never_an_error), "KB-PRD-08"),
    "fetches never fail": (fetched(never_an_error), "KB-FET-02"),
    "a high watermark too high": (fetched(lambda body, at: add(body, at + 6, ">q", 1)), "KB-PRD-01"),
    "an end too low": (listed(lambda body, at: add(body, at + 14, ">q", -1)), "KB-LST-02"),
    # Of version 4: tags of the header and the throttle time are before the error code.
    "heartbeats never fail": (lambda key, body: body[:5] + b"\0\0" + body[7:] if key == HEARTBEAT else body, "KB-GRP-05"),
    "a byte too many": (lambda key, body: body + b"\0" if key == PRODUCE else body, "KB-PRD-01"),
}


class Liar:
    """Listens on a port of its own, which the true broker must advertise, so that clients stay with the liar."""

    def __init__(self):
        self.target_port, self.lie = None, lambda key, body: body
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self.target_port))
            keys = {}
            threading.Thread(target=self.requests, args=(client, broker, keys), daemon=True).start()
            threading.Thread(target=self.answers, args=(client, broker, keys), daemon=True).start()

    def requests(self, client, broker, keys):
        try:
            while (frame := read_frame(client)) is not None:
                key, _, correlation = struct.unpack_from(">hhi", frame)
                keys[correlation] = key
                broker.sendall(struct.pack(">i", len(frame)) + frame)
        except OSError:
            pass
        end(broker)

    def answers(self, client, broker, keys):
        try:
            while (frame := read_frame(broker)) is not None:
                (correlation,) = struct.unpack_from(">i", frame)
                body = self.lie(keys.get(correlation), frame[4:])
                client.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)
        except OSError:
            pass
        end(client)

    def close(self):
        self.listener.close()
