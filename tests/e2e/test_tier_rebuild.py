"""Rebuilt from a bucket: producers that send again, records that retention took, and a restore that is killed half way."""

import random
import shutil
import subprocess
import threading
import time

import pytest
from harness import errors
from harness.batch import simple
from harness.broker import BrokerError
from harness.log_client import LogClient
from harness.paths import CONTROL, SERVER
from harness.rebuild import Old, batches, says
from harness.s3 import BUCKET, CREDENTIALS, S3, S3Server
from harness.store_proxy import StoreProxy
from harness.tier import LAPTOP, LIMIT_S, MIB, fresh_directory, place, settled, small_topic, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")


@pytest.fixture
def on_files(own_broker):
    bucket = fresh_directory(own_broker.directory / "bucket")
    pair = Old(own_broker, LAPTOP.format(bucket=bucket), f"file://{bucket}")
    yield pair
    pair.close()
    shutil.rmtree(bucket, ignore_errors=True)


@pytest.fixture
def behind_proxy(own_broker, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = S3Server(own_broker.directory)
    proxy = StoreProxy(server.port)
    pair = Old(own_broker, S3.format(folder="a", port=proxy.port), f"s3://{BUCKET}/a")
    pair.proxy = proxy
    yield pair
    pair.close()
    proxy.close()
    server.close()


def await_copy(pair, *places):
    """Waits until a restore would give these ends."""
    said = ""

    def copied():
        nonlocal said
        code, said = pair.restore("--dry-run")
        return code == 0 and all(says(said, *at) for at in places)
    wait_for(lambda: f"the bucket is behind: {said}", copied)


def test_producers_that_send_again_are_known_after_the_restore(on_files):
    old, new, rng = on_files.broker, on_files.new, random.Random(13)
    small_topic(old, "t")
    values = [rng.randbytes(60_000) for _ in range(70)]
    now = int(time.time() * 1000)
    with LogClient(old.port) as log:
        early, late = log.new_producer(), log.new_producer()
        sent = [simple([values[0]], producer=early, sequence=0, ts=now)]
        sent += [simple([value], producer=late, sequence=number, ts=now) for number, value in enumerate(values[1:])]
        for number, batch in enumerate(sent):
            assert log.append("t", batch) == number
    end = wait_for("the tier rests", lambda: settled(old, "t"))
    assert 5 < end < len(sent), "some batches are on the local disk alone"
    await_copy(on_files, ("t", 0, 0, end))
    on_files.destroy()
    code, said = on_files.restore()
    assert code == 0, said
    new.start()
    with LogClient(new.port) as log:
        # What was acknowledged and can be had again is answered as before, of the one that wrote long ago as well.
        for number in [0, *range(end - 5, end)]:
            answer = log.produce("t", sent[number])
            assert (answer["ErrorCode"], answer["BaseOffset"]) == (0, number), answer
        # What was lost is missed: the producer is told, and does not write past it.
        ahead = log.produce("t", simple([b"x"], producer=late, sequence=len(sent) + 7, ts=now))
        assert ahead["ErrorCode"] == errors.OUT_OF_ORDER_SEQUENCE_NUMBER, ahead
        for number in range(end, len(sent)):
            assert log.append("t", sent[number]) == number
        assert len(log.records("t")) == len(sent), "no record twice, and none lost that was sent again"
    # Restarted, it knows them still.
    new.restart()
    with LogClient(new.port) as log:
        assert log.append("t", sent[-1]) == len(sent) - 1


def test_what_retention_took_stays_away(on_files):
    old, new, rng = on_files.broker, on_files.new, random.Random(14)
    small_topic(old, "t", **{"retention.bytes": 3 * MIB})
    with LogClient(old.port) as log:
        for _ in range(100):
            log.append("t", simple([rng.randbytes(100_000)]))
    wait_for("retention deletes", lambda: place(old, "t")["tiered_start_offset"] > 30)

    def rests():
        one = place(old, "t")
        return settled(old, "t") and one["garbage_objects"] == 0 and one["tiered_start_offset"]
    wait_for("the tier rests", rests)
    kept = batches(old, "t", 0, place(old, "t")["log_start_offset"])
    on_files.destroy()
    # What the bucket says, counts: retention may have gone on after the last look.
    code, said = on_files.tool("ls")
    line = next(line for line in said.splitlines() if "offsets " in line)
    start, end = map(int, line.split("offsets ")[1].split(",")[0].split(".."))
    assert code == 0 and 30 < start < end, said
    code, said = on_files.restore()
    assert code == 0 and says(said, "t", 0, start, end), said
    new.start()
    with LogClient(new.port) as log:
        assert log.offset_at("t", -2)[0] == start
        assert [record[0] for record in log.records("t", start=start)] == list(range(start, end))
        answer = log.fetch("t", start - 1)
        assert answer["ErrorCode"] == errors.OFFSET_OUT_OF_RANGE, answer
    wanted = [batch.raw for batch in kept if start <= batch.base_offset and batch.next_offset <= end]
    assert [batch.raw for batch in batches(new, "t", 0, start)] == wanted
    code, said = on_files.tool("verify")
    assert code == 0 and "nothing wrong" in said, said


class Stall:
    """Holds requests until they are let go, and says when the first one came."""

    def __init__(self, wanted):
        self.wanted, self.came, self.released = wanted, threading.Event(), threading.Event()

    def __call__(self, method, path):
        if self.wanted(method, path):
            self.came.set()
            self.released.wait(LIMIT_S)


def killed_at(pair, wanted, until=lambda: True):
    """Kills a restore once a request came that is `wanted`, and `until` holds."""
    stall = pair.proxy.refuse = Stall(wanted)
    argv = [SERVER, "restore", "--from", pair.url, "--config", str(pair.config), "--data-dir", str(pair.new.data),
            "--node-id", "1"]
    with open(pair.new.directory / "restore.log", "ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_for("the restore comes to the place", lambda: stall.came.is_set() or process.poll() is not None)
            wait_for("what was before is done", until)
            assert process.poll() is None, "it ended before"
        finally:
            process.kill()
            process.wait()
            pair.proxy.refuse = None
            stall.released.set()


def test_a_restore_that_is_killed_is_run_again(behind_proxy):
    old, new, rng = behind_proxy.broker, behind_proxy.new, random.Random(15)
    small_topic(old, "t", partitions=3)
    with LogClient(old.port) as log:
        for partition in range(3):
            for _ in range(25):
                log.append("t", simple([rng.randbytes(100_000)]), partition)
    ends = [wait_for("the tier rests", lambda p=p: settled(old, "t", p)) for p in range(3)]
    before = [[b.raw for b in batches(old, "t", p) if b.next_offset <= ends[p]] for p in range(3)]
    await_copy(behind_proxy, *(("t", p, 0, ends[p]) for p in range(3)))
    behind_proxy.destroy()
    groups = new.data / "groups"
    # Once when the bucket is claimed and the first manifest is about to be taken over, once when some logs are built.
    killed_at(behind_proxy, lambda method, path: method == "PUT" and path.endswith("/manifest"))
    killed_at(behind_proxy, lambda method, path: method == "GET" and "/2/seg/" in path,
              lambda: groups.exists() and len(list(groups.iterdir())) >= 2)
    with pytest.raises(BrokerError) as refused:
        new.start()
    said = str(refused.value)
    assert "was interrupted" in said and f"restore --from {behind_proxy.url}" in said and str(new.data) in said, said
    note = new.data / "mine.txt"
    note.write_text("not the store's")
    code, said = behind_proxy.restore()
    assert code == 0 and all(says(said, "t", p, 0, ends[p]) for p in range(3)), said
    assert note.read_text() == "not the store's"
    new.start()
    assert [[b.raw for b in batches(new, "t", p)] for p in range(3)] == before
    with LogClient(new.port) as log:
        assert log.append("t", simple([b"after"]), 2) == ends[2]
    new.kill()
    code, said = behind_proxy.restore()
    assert code == 1 and "is in use: restore into an empty directory" in said, said
    code, said = behind_proxy.tool("verify")
    assert code == 0, said
