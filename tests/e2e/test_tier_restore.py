"""A new cluster out of the bucket alone: the same bytes, groups where they were, and an old cluster that cannot write."""

import random
import re
import shutil
import time

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition
from conftest import directory_for
from harness.batch import RECENT, simple
from harness.cluster import Cluster
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.rebuild import Old, batches, says
from harness.records import record
from harness.s3 import BUCKET, CREDENTIALS, S3, S3Server
from harness.tier import (
    LAPTOP, LIMIT_S, MIB, SHORT, configure, fresh_directory, place, run_tool, settled, small_topic, wait_for,
)

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")
GROUP = "readers"
CODECS = {"t-plain": ["none"], "t-mixed": ["gzip", "snappy", "lz4", "zstd"]}


@pytest.fixture
def on_files(own_broker):
    bucket = fresh_directory(own_broker.directory / "bucket")
    pair = Old(own_broker, LAPTOP.format(bucket=bucket), f"file://{bucket}")
    pair.bucket = bucket
    yield pair
    pair.close()
    shutil.rmtree(bucket, ignore_errors=True)


@pytest.fixture
def on_s3(own_broker, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = S3Server(own_broker.directory)
    pair = Old(own_broker, S3.format(folder="a/b", port=server.port), f"s3://{BUCKET}/a/b")
    yield pair
    pair.close()
    server.close()


def fill(broker, drivers, topic, codec, rng, count=300):
    records = [record(number % 2, b"k%d" % number, rng.randbytes(20_000), [("n", b"%d" % number)], RECENT + number)
               for number in range(count)]
    acks = drivers["confluent-kafka"].produce(broker, topic, records, codec, idempotent=True)
    assert len(acks) == len(records)


def consumer(broker, group=GROUP):
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "auto.offset.reset": "error",
                     "enable.auto.commit": False})


def committed(broker, wanted, group=GROUP):
    one = consumer(broker, group)
    try:
        places = [TopicPartition(topic, partition) for topic, partition in wanted]
        return {(p.topic, p.partition): p.offset for p in one.committed(places, timeout=30)}
    finally:
        one.close()


def commit(broker, offsets, group=GROUP):
    one = consumer(broker, group)
    try:
        one.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in offsets.items()], asynchronous=False)
    finally:
        one.close()


def go_on(broker, topic, ends):
    """The first offset of each partition that a member of the group gets."""
    one, first, limit = consumer(broker), {}, time.monotonic() + LIMIT_S
    one.subscribe([topic])
    try:
        while len(first) < len(ends):
            assert time.monotonic() < limit, first
            message = one.poll(0.5)
            if message is not None:
                assert message.error() is None, message.error()
                first.setdefault(message.partition(), message.offset())
    finally:
        one.close()
    return first


def tier_ends(broker, places):
    return {(t, p): wait_for("the tier rests", lambda t=t, p=p: settled(broker, t, p)) for t, p in places}


def await_copies(pair, group_offsets):
    """Waits until the bucket has the metadata, and what the group committed."""
    said = ""

    def copied():
        nonlocal said
        code, said = pair.restore("--dry-run")
        return code == 0 and f"group {GROUP}: {group_offsets} committed offsets" in said
    wait_for(lambda: f"the copies are not complete: {said}", copied)
    assert "nothing was changed" in said and not (pair.new.data / "node.json").exists(), said


def same(broker, before):
    for at, batches_ in before.items():
        assert [batch.raw for batch in batches(broker, *at)] == [batch.raw for batch in batches_], at


def test_a_cluster_is_built_from_its_bucket_and_the_old_one_is_shut_out(on_files, drivers):
    old, new, rng = on_files.broker, on_files.new, random.Random(9)
    places = [(topic, partition) for topic in CODECS for partition in (0, 1)]
    for topic, codecs in CODECS.items():
        small_topic(old, topic, partitions=2, **{"retention.ms": -1})
        for codec in codecs:
            fill(old, drivers, topic, codec, rng, 300 // len(codecs))
    ends = tier_ends(old, places)
    assert all(end >= 40 for end in ends.values()), ends
    before = {at: [b for b in batches(old, *at) if b.next_offset <= ends[at]] for at in places}
    # One group stands in the middle; in one partition it is past what is in the bucket.
    with LogClient(old.port) as client:
        past = client.append("t-mixed", simple([b"on local disks alone"])) + 1
    offsets = {("t-plain", 0): 7, ("t-plain", 1): 30, ("t-mixed", 0): past, ("t-mixed", 1): 11}
    assert ends["t-mixed", 0] < past
    commit(old, offsets)
    await_copies(on_files, 4)
    old.kill()
    # The old cluster's own id would leave it its right to write.
    config, said = on_files.config.read_text(), on_files.tool("ls")[1]
    on_files.config.write_text(f'{config}\nnode.cluster_id = "{said.split()[1]}"\n')
    code, said = on_files.restore()
    assert code == 1 and "node.cluster_id" in said, said
    on_files.config.write_text(config)
    code, said = on_files.restore()
    assert code == 0, said
    assert all(says(said, *at, 0, end) for at, end in ends.items()), said
    assert f"t-mixed-0 from {past} to {ends['t-mixed', 0]}" in said, said
    code, again = on_files.restore()
    assert code == 1 and "empty directory" in again, again
    new.start()
    same(new, before)
    assert committed(new, places) == {at: min(offset, ends[at]) for at, offset in offsets.items()}
    with LogClient(new.port) as client:
        described = client.call("DescribeConfigs", 4, IncludeSynonyms=False, IncludeDocumentation=False, Resources=[
            {"ResourceType": 2, "ResourceName": "t-plain", "ConfigurationKeys": ["retention.ms"]}])
        assert described["Results"][0]["Configs"][0]["Value"] == "-1"
        # It goes on: new records follow the old ones, in a later epoch, and reach the tier.
        for partition in (0, 1):
            at = client.append("t-plain", simple([b"after"]), partition)
            assert at == ends["t-plain", partition]
        last = batches(new, "t-plain", 0)
        assert last[-1].leader_epoch > max(batch.leader_epoch for batch in last[:-1])
    assert go_on(new, "t-plain", (0, 1)) == {0: 7, 1: 30}
    fill(new, drivers, "t-mixed", "zstd", rng)
    wait_for("the new cluster uploads", lambda: (settled(new, "t-mixed", 0) or 0) > ends["t-mixed", 0])
    # The old cluster wakes up: it serves what it has, and changes nothing in the bucket.
    old.start()
    fill(old, drivers, "t-plain", "none", rng)
    wait_for("it is told whose the bucket is", lambda: "belongs to cluster" in (failure(old, "t-plain") or ""))
    code, said = on_files.tool("verify")
    assert code == 0, said
    new.restart()
    after = batches(new, "t-plain", 0)
    assert [batch.raw for batch in after[:-1]] == [batch.raw for batch in before["t-plain", 0]]


def failure(broker, topic):
    one = place(broker, topic)
    return one and one["failure"]


def test_what_is_damaged_is_all_named_and_can_be_left_out(on_files, drivers):
    old, new, rng = on_files.broker, on_files.new, random.Random(15)
    small_topic(old, "t", partitions=4, **{"retention.ms": -1})
    fill(old, drivers, "t", "none", rng, 300)
    with LogClient(old.port) as client:
        for partition in (2, 3):
            for _ in range(60):
                client.append("t", simple([rng.randbytes(60_000)]), partition)
    ends = tier_ends(old, [("t", partition) for partition in range(4)])
    before = {("t", p): [b for b in batches(old, "t", p) if b.next_offset <= ends["t", p]] for p in (0, 3)}
    commit(old, {("t", 0): 7, ("t", 1): 9})
    await_copies(on_files, 2)
    [kept] = on_files.bucket.glob("b/offsets-*")
    commit(old, {("t", 0): 5}, "others")
    copy = wait_for("the other group's copy is made", lambda: next(iter({*on_files.bucket.glob("b/offsets-*")} - {kept}), None))
    # A segment counts before the manifest names it.
    wait_for("the manifests name all of it", lambda: all(
        f"/{p}: offsets 0..{ends['t', p]}, " in on_files.tool("ls")[1] for p in range(4)))
    old.kill()
    copied = damage(copy)
    manifests = {int(path.parent.name): path for path in on_files.bucket.rglob("manifest")}
    there, claim = segments(on_files.bucket), (on_files.bucket / "claim").read_bytes()
    damaged = damage(manifests[1])
    manifests[2].unlink()
    code, said = on_files.tool("ls")
    assert code == 1 and "/1: damaged: object p/" in said and "/2: no manifest" in said, said
    assert all(f"/{p}: offsets 0..{ends['t', p]}, " in said for p in (0, 3)), said
    for argv in (["--dry-run"], []):
        code, said = on_files.restore(*argv)
        assert code == 1 and "--skip-damaged" in said, said
        assert "t-1: " in said and "t-2: " in said and "t-0" not in said and "t-3" not in said, said
        assert f"object b/{copy.name} is damaged" in said and f"b/{kept.name}" not in said, said
    assert (on_files.bucket / "claim").read_bytes() == claim, "nothing was claimed"
    code, said = on_files.restore("--dry-run", "--skip-damaged")
    assert code == 0 and "left out: t-1: " in said and "left out: t-2: " in said, said
    code, said = on_files.restore("--skip-damaged")
    assert code == 0 and "left out: t-1: " in said and "left out: t-2: " in said, said
    assert all(says(said, "t", p, 0, ends["t", p]) for p in (0, 3)), said
    assert "t-1 from 9 to 0" in said, said
    assert f"object b/{copy.name} is damaged" in said and "group others" not in said, said
    assert re.search(r"group readers: 2 committed offsets as of 1\d{12} ms", said), said
    assert manifests[1].with_name("manifest.damaged").read_bytes() == damaged
    assert copy.with_name(f"{copy.name}.damaged").read_bytes() == copied
    anew = copy.read_bytes()
    new.start()
    same(new, before)
    assert committed(new, [("t", 0), ("t", 1)]) == {("t", 0): 7, ("t", 1): 0}
    assert committed(new, [("t", 0)], "others") == {("t", 0): OFFSET_INVALID}
    commit(new, {("t", 0): 3}, "others")
    wait_for("the copy is made again", lambda: copy.read_bytes() != anew)
    with LogClient(new.port) as client:
        assert [client.offset_at("t", -1, p)[0] for p in (1, 2)] == [0, 0]
        for _ in range(60):
            client.append("t", simple([rng.randbytes(60_000)]), 1)
    wait_for("what was left out begins anew", lambda: settled(new, "t", 1))
    assert set(there) <= set(segments(on_files.bucket)), "what could not be read is kept"
    code, said = on_files.tool("verify")
    assert code == 0, said


def damage(path):
    """Changes one bit of an object; returns what it is now."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    return content


def test_a_cluster_is_built_from_s3_after_every_disk_is_gone(on_s3, drivers):
    old, new, rng = on_s3.broker, on_s3.new, random.Random(10)
    small_topic(old, "t", partitions=2)
    fill(old, drivers, "t", "gzip", rng, 600)
    commit(old, {("t", 0): 5, ("t", 1): 40})
    with LogClient(old.port) as log:
        # What was deleted stays so, as far as its segments went.
        answer = log.call("DeleteRecords", 2, TimeoutMs=30000, Topics=[{
            "Name": "t", "Partitions": [{"PartitionIndex": 0, "Offset": 130}]}])
        assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, answer
    wait_for("deleted records leave the tier", lambda: place(old, "t")["tiered_start_offset"] > 0)
    ends = tier_ends(old, [("t", 0), ("t", 1)])
    start = place(old, "t")["tiered_start_offset"]
    before = {("t", p): [b for b in batches(old, "t", p, 130 if p == 0 else 0) if b.next_offset <= ends["t", p]]
              for p in (0, 1)}
    await_copies(on_s3, 2)
    on_s3.destroy()
    code, said = on_s3.restore()
    assert code == 0 and says(said, "t", 0, start, ends["t", 0]) and says(said, "t", 1, 0, ends["t", 1]), said
    new.start()
    with LogClient(new.port) as log:
        assert log.offset_at("t", -2)[0] == start
    assert [b.raw for b in batches(new, "t", 0, 130)] == [b.raw for b in before["t", 0]]
    assert [b.raw for b in batches(new, "t", 1)] == [b.raw for b in before["t", 1]]
    assert committed(new, [("t", 0), ("t", 1)]) == {("t", 0): 5, ("t", 1): 40}
    assert on_s3.tool("verify")[0] == 0


def test_three_nodes_are_built_from_a_bucket_that_leaders_left_in_disorder(request):
    directory = directory_for(request)
    cluster = Cluster(directory)
    bucket = fresh_directory(directory / "bucket")
    text, config = LAPTOP.format(bucket=bucket), directory / "tier.toml"
    config.write_text(text + SHORT)
    for node in cluster.nodes:
        node.extra_args = ["--config", str(config), "--admin-port", "0"]
    try:
        cluster.start()
        rebuilt_after_leader_changes(cluster, bucket, config)
    finally:
        cluster.discard()
        shutil.rmtree(bucket, ignore_errors=True)


def write(cluster, count):
    """Records that were acknowledged, whoever leads meanwhile."""
    for _ in range(count):
        def acknowledged():
            leader = cluster.leader("t")
            try:
                with LogClient(leader.port, timeout=10) as client:
                    return client.produce("t", simple([random.randbytes(60_000)]), timeout_ms=8000)["ErrorCode"] == 0
            except (AttributeError, OSError):
                return False
        cluster.wait("a record is acknowledged", acknowledged, LIMIT_S)


def segments(bucket):
    return sorted(bucket.rglob("*.seg"))


def rebuilt_after_leader_changes(cluster, bucket, config):
    cluster.create_topic("t", configs={"segment.bytes": MIB, "local.retention.bytes": MIB})
    for _ in range(2):
        # The leader goes while segments are sealed and on their way.
        before = len(segments(bucket))
        while len(segments(bucket)) == before:
            write(cluster, 5)
        leader = cluster.wait("somebody leads", lambda: cluster.leader("t"))
        leader.kill()
        write(cluster, 30)
        leader.start()
    leader = cluster.wait("somebody leads", lambda: cluster.leader("t"))
    end = wait_for("the tier rests", lambda: settled(leader, "t"))
    kept = [batch.raw for batch in batches(leader, "t", 0) if batch.next_offset <= end]
    # What uploads leave that did not come to their end: objects that nothing refers to, of the same offsets.
    victim = segments(bucket)[-1]
    fields = victim.stem.split("-")
    victim.with_name("-".join([*fields[:4], "%08x" % (int(fields[4], 16) ^ 1)]) + ".seg").write_bytes(b"left behind")
    said = ""

    def copied():
        nonlocal said
        said = run_tool("restore", "--from", f"file://{bucket}", "--config", str(config), "--node-id", "1",
                        "--data-dir", str(config.parent / "unused"), "--dry-run")[1]
        return says(said, "t", 0, 0, end)
    wait_for(lambda: said, copied)
    for node in cluster.nodes:
        node.kill()
        shutil.rmtree(node.data)
    code, said = run_tool("restore", "--from", f"file://{bucket}", "--config", str(config), "--node-id", "1",
                          "--data-dir", str(cluster.node(1).data), "--nodes", "1,2,3")
    assert code == 0 and says(said, "t", 0, 0, end), said
    for node in cluster.nodes:
        node.data.mkdir(exist_ok=True)
        node.launch()
    for node in cluster.nodes:
        node.await_ready()
    leader = cluster.wait("somebody leads", lambda: cluster.leader("t"), LIMIT_S)
    assert [batch.raw for batch in batches(leader, "t", 0)] == kept
    # All three hold it again: it can be written and read without the one that was restored.
    cluster.wait("three replicas vote", lambda: membership_changes(cluster) >= 3, LIMIT_S)
    cluster.node(1).kill()
    write(cluster, 3)
    leader = cluster.wait("somebody leads", lambda: cluster.leader("t"), LIMIT_S)
    assert [batch.raw for batch in batches(leader, "t", 0)][:len(kept)] == kept
    code, said = run_tool("tier", "verify", "--config", str(config))
    assert code == 0 and "orphan" in said, said


def membership_changes(cluster):
    """Two replicas learn, and then vote."""
    return sum(node.new_log().count("event=membership_changed partition=t-0") for node in cluster.nodes)
