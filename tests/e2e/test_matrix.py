"""Every producer client with every codec into one topic; every consumer client reads everything."""

import base64
import time

import pytest
from harness.admin import create_topic
from harness.batch import CODECS as BATCH_CODECS
from harness.drivers import CODECS, COMMANDS
from harness.log_client import LogClient
from harness.paths import BROKER_KIND, CACHE
from harness.records import Ledger, group_by_name, raw, sample

PARTITIONS = 3
CLIENTS = list(COMMANDS)


def can_send(client, record):
    """What a client's own interface cannot express is left out of its set, and said here."""
    if client in ("kafka-python", "kafkajs") and any(value is None for _, value in record["h"]):
        return False
    if client == "kafka-python":
        return record["k"] is not None or record["v"] is not None
    if client == "kcat":
        # It skips messages without key and content, and takes an empty key beside a null value for null.
        return not (record["k"] is None and not record["v"]) and not (record["k"] == "" and record["v"] is None)
    return True


def as_sent(client, record):
    sent = dict(record)
    if client == "kafkajs":
        sent["h"] = group_by_name(record["h"])
    if client == "kcat":
        sent["ts"] = None
    return sent


def kcat_headers(headers):
    cells = [name.encode() + b"=" + (b"NULL" if v is None else raw(v)) for name, v in headers]
    return [["kcat", base64.b64encode(b",".join(cells)).decode()]]


def folding(client):
    """How a consumer reports headers: kafkajs as lists by name, kcat as one line of text."""
    if client == "kafkajs":
        return group_by_name
    return lambda headers: headers


class Matrix:
    """The results of one run."""

    def __init__(self):
        self.ledger, self.produced, self.consumed, self.seconds = Ledger(), {}, {}, {}

    def produce(self, drivers, broker, topic, client, codec):
        tag = f"{client}/{codec}"
        sent = [as_sent(client, r) for r in sample(tag, PARTITIONS, "matrix") if can_send(client, r)]
        begin = int(time.time() * 1000)
        try:
            acks = drivers[client].produce(broker, topic, sent, codec)
        except Exception as error:
            self.produced[tag] = [str(error)]
            return
        self.produced[tag] = self.ledger.add(tag, sent, acks)
        for place, r in self.ledger.acked.items():
            if r["tag"] == tag and r["ts"] is None:
                r["between"] = (begin, int(time.time() * 1000))

    def consume(self, drivers, broker, topic, client):
        begin = time.monotonic()
        try:
            read = drivers[client].consume(broker, topic, self.ledger.ends())
        except Exception as error:
            self.consumed[client] = {"all": [str(error)]}
            return
        if client == "kcat":
            for r in read:
                r["h"] = [["kcat", r["kcat_h"]]]
            complaints = self.ledger.compare(read, lambda h: h if h and h[0][0] == "kcat" else kcat_headers(h))
        else:
            complaints = self.ledger.compare(read, folding(client))
        for r in read:
            want = self.ledger.acked.get((r["p"], r["o"]), {})
            low, high = want.get("between", (0, 1 << 62))
            if not low <= r["ts"] <= high:
                complaints.setdefault(want["tag"], []).append(f"timestamp {r['ts']} outside {low}..{high}")
        self.consumed[client] = complaints
        self.seconds[client] = time.monotonic() - begin

    def cell(self, tag, consumer):
        if self.produced.get(tag):
            return "not produced"
        wrong = self.consumed.get(consumer, {"all": 1})
        return "**no**" if tag in wrong or "all" in wrong else "yes"

    def table(self):
        lines = [f"# Client x codec matrix ({BROKER_KIND})", "",
                 "| producer | codec | records | " + " | ".join(CLIENTS) + " |",
                 "|---|---|---|" + "---|" * len(CLIENTS)]
        for client in CLIENTS:
            for codec in CODECS:
                tag = f"{client}/{codec}"
                count = sum(1 for r in self.ledger.acked.values() if r["tag"] == tag)
                cells = " | ".join(self.cell(tag, consumer) for consumer in CLIENTS)
                lines.append(f"| {client} | {codec} | {count} | {cells} |")
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def matrix(drivers, shared_broker):
    result = Matrix()
    create_topic(shared_broker, "matrix", PARTITIONS)
    for client in CLIENTS:
        begin = time.monotonic()
        for codec in CODECS:
            result.produce(drivers, shared_broker, "matrix", client, codec)
        print(f"produced with {client} in {time.monotonic() - begin:.1f} s")
    for client in CLIENTS:
        result.consume(drivers, shared_broker, "matrix", client)
        print(f"consumed with {client} in {result.seconds.get(client, -1):.1f} s")
    table = result.table()
    print(table)
    CACHE.joinpath("matrix.md").write_text(table)
    return result


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", CLIENTS)
def test_every_record_is_acknowledged_once_at_rising_offsets(matrix, client, codec):
    wrong = matrix.produced[f"{client}/{codec}"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_acknowledged_is_what_is_read(matrix, client):
    wrong = matrix.consumed[client]
    assert not wrong, "\n".join(f"{tag}: {line}" for tag, lines in wrong.items() for line in lines[:3])


def test_each_codec_reached_the_log(matrix, shared_broker):
    """Clients drop a codec silently when the broker seems too old for it; the stored batches tell."""
    used = {}
    with LogClient(shared_broker.port) as log:
        for partition in range(PARTITIONS):
            for batch in log.batches("matrix", partition):
                want = matrix.ledger.acked.get((partition, batch.base_offset))
                if want:
                    used.setdefault(want["tag"], set()).add(batch.codec)
    for tag, found in used.items():
        assert BATCH_CODECS[tag.rsplit("/", 1)[1]] in found, f"{tag} was stored with codecs {found}"
