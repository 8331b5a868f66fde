"""The bucket judged by `chronik-server tier`, with damage made by hand, and settings that cannot work."""

import random
import re
import shutil

import pytest
from harness.batch import simple
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.s3 import CREDENTIALS, S3, S3Server
from harness.tier import LAPTOP, configure, fresh_directory, place, run_tool, settled, small_topic, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")


@pytest.fixture
def node(own_broker):
    own_broker.kill()
    own_broker.bucket = fresh_directory(own_broker.directory / "bucket")
    own_broker.config = configure(own_broker, LAPTOP.format(bucket=own_broker.bucket))
    own_broker.start()
    yield own_broker
    own_broker.kill()
    shutil.rmtree(own_broker.bucket, ignore_errors=True)


def fill(broker, topic, count=60):
    rng = random.Random(11)
    with LogClient(broker.port) as log:
        for _ in range(count):
            log.append(topic, simple([rng.randbytes(100_000)]))


def orphan_beside(segment):
    """An object of the same records under another name, as an upload leaves it that did not come to its end."""
    fields = segment.stem.split("-")
    orphan = segment.with_name("-".join([*fields[:4], "%08x" % (int(fields[4], 16) ^ 1)]) + ".seg")
    orphan.write_bytes(b"left behind")
    return orphan


def test_damage_that_is_made_by_hand_is_found_by_name(node, topic):
    tool = lambda *argv: run_tool("tier", *argv, "--config", str(node.config))  # noqa: E731
    small_topic(node, topic)
    fill(node, topic)
    end = wait_for("the tier rests", lambda: settled(node, topic))
    wait_for("the metadata is copied", lambda: (node.bucket / "b" / "metadata").exists())
    # A segment counts before the manifest names it.
    listed = wait_for("the manifest names all of it", lambda: re.search(rf"^(\S+): offsets 0\.\.{end}, ", tool("ls")[1], re.M))
    partition = listed[1]
    node.kill()
    code, said = tool("ls")
    assert code == 0 and "(claim 1)" in said, said
    code, said = tool("cat", partition, "--from", "5")
    assert code == 0 and f"..{end} epoch" in said.splitlines()[-1], said
    segments = sorted(node.bucket.rglob("*.seg"))
    assert len(segments) >= 3, segments
    middle, manifest = segments[1], segments[0].parent.parent / "manifest"
    for command in ("scrub", "verify"):
        code, said = tool(command)
        assert code == 0 and f"{len(segments)} segments" in said and "nothing wrong: everything" in said, said

    def found(change, command, code, *words):
        """What is said of one change, which is taken back."""
        kept = {path: path.read_bytes() for path in (middle, manifest, node.bucket / "b" / "metadata", node.bucket / "claim")}
        change()
        was, said = tool(command)
        for path, content in kept.items():
            path.write_bytes(content)
        assert was == code and all(word in said for word in words), (command, was, said)

    def flip(path, at):
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    orphan = orphan_beside(middle)
    code, said = tool("scrub")
    assert code == 0 and f"orphan: p/" in said and orphan.name in said and "1 orphans: everything" in said, said
    cut = lambda: middle.write_bytes(middle.read_bytes()[:-1])  # noqa: E731
    found(cut, "scrub", 1, "damaged", middle.name, "NOT everything")
    found(lambda: flip(middle, 4000), "scrub", 0, "everything can be read")
    found(lambda: flip(middle, 4000), "verify", 1, "damaged", middle.name, "NOT everything")
    found(middle.unlink, "scrub", 1, "missing", middle.name, "NOT everything")
    found(lambda: flip(manifest, 40), "scrub", 1, "damaged", "manifest")
    found(lambda: flip(manifest, 40), "ls", 1, "(claim 1)", f"{partition}: damaged: object p/", "manifest")
    found(lambda: flip(node.bucket / "b" / "metadata", 40), "verify", 1, "b/metadata")
    found(lambda: flip(node.bucket / "claim", 40), "verify", 1, "claim", "1 damaged", "NOT everything")
    found(lambda: flip(node.bucket / "claim", 40), "scrub", 1, "claim", "1 damaged", "NOT everything")
    found(lambda: flip(node.bucket / "claim", 40), "ls", 1, "object claim is damaged", f"{partition}: offsets 0..{end}")
    middle.rename(node.bucket / "aside")
    assert tool("cat", partition)[0] in (1, 3)
    (node.bucket / "aside").rename(middle)
    # Nothing of this changed the bucket, and a place where nothing is is no bucket.
    assert sorted(node.bucket.rglob("*.seg")) == sorted([*segments, orphan])
    assert tool("verify")[0] == 0
    away = node.bucket.with_name("mistyped")
    node.config.write_text(node.config.read_text().replace(f"file://{node.bucket}", f"file://{away}"))
    for command in ("ls", "scrub", "verify"):
        code, said = tool(command)
        assert code == 1 and "check tier.url" in said, said
    assert not away.exists()


def test_a_leader_deletes_what_nothing_refers_to(node, topic):
    small_topic(node, topic)
    fill(node, topic, 40)
    end = wait_for("the tier rests", lambda: settled(node, topic))
    node.kill()
    segments = sorted(node.bucket.rglob("*.seg"))
    orphan = orphan_beside(segments[0])
    node.config.write_text(node.config.read_text().replace("scrub_interval_ms = 3600000", "scrub_interval_ms = 200"))
    node.start()
    wait_for("the orphan goes", lambda: not orphan.exists())
    assert sorted(node.bucket.rglob("*.seg")) == segments
    assert place(node, topic)["tiered_end_offset"] == end
    code, said = run_tool("tier", "verify", "--config", str(node.config))
    assert code == 0 and "nothing wrong" in said, said


def check_serves(broker, topic, *words):
    """A broker whose bucket cannot be used says which setting is to blame, and serves clients all the same."""
    broker.start()
    small_topic(broker, topic)
    fill(broker, topic, 30)
    why = wait_for("it says why", lambda: (place(broker, topic) or {}).get("failure"))
    assert all(word in why for word in words), why
    with LogClient(broker.port) as log:
        assert len(log.records(topic)) == 30


def test_a_store_that_refuses_is_told_with_the_setting(own_broker, topic, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    own_broker.kill()
    server = S3Server(own_broker.directory, guarded=True)
    try:
        wrong = (("chronik-e2e", ("InvalidAccessKeyId", "check the tier's credentials")),)
        for bucket, words in wrong:
            config = configure(own_broker, S3.format(folder="a", port=server.port).replace("chronik-e2e", bucket))
            for argv in (("tier", "ls"), ("restore", "--from", f"s3://{bucket}/a", "--data-dir", str(own_broker.data))):
                code, said = run_tool(*argv, "--config", str(config))
                assert code == 3 and all(word in said for word in words), said
            check_serves(own_broker, topic, *words)
    finally:
        own_broker.kill()
        server.close()


def test_a_bucket_that_is_missing_is_told_with_the_setting(own_broker, topic, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    own_broker.kill()
    server = S3Server(own_broker.directory)
    try:
        words = ("NoSuchBucket", "create the bucket, or correct tier.url")
        config = configure(own_broker, S3.format(folder="a", port=server.port).replace("chronik-e2e", "no-such"))
        for argv in (("tier", "ls"), ("restore", "--from", "s3://no-such/a", "--data-dir", str(own_broker.data))):
            code, said = run_tool(*argv, "--config", str(config))
            assert code == 3 and all(word in said for word in words), said
        check_serves(own_broker, topic, *words)
    finally:
        own_broker.kill()
        server.close()


def test_a_cluster_founded_with_the_id_of_a_lost_one_touches_nothing_of_its_bucket(own_broker, topic):
    own_broker.kill()
    bucket = fresh_directory(own_broker.directory / "bucket")
    configure(own_broker, LAPTOP.format(bucket=bucket) + 'node.cluster_id = "prod"\n')
    own_broker.discard()
    own_broker.data.mkdir(exist_ok=True)
    own_broker.start()
    small_topic(own_broker, topic)
    fill(own_broker, topic)
    wait_for("the tier rests", lambda: settled(own_broker, topic))
    copied = lambda: topic.encode() in (bucket / "b" / "metadata").read_bytes()  # noqa: E731
    wait_for("the metadata is copied", copied)
    own_broker.discard()
    objects = lambda: {path: path.read_bytes() for path in bucket.rglob("*") if path.is_file()}  # noqa: E731
    before = objects()
    # Every disk is gone, and somebody starts what the configuration says.
    own_broker.data.mkdir(exist_ok=True)
    own_broker.start()
    events = ("tier_sweep_failed", "tier_backup_failed what=metadata")
    log = lambda: own_broker.log_path.read_bytes()[own_broker.seen:].decode()  # noqa: E731
    # Rounds come every 50 ms: longer than what is deleted is left for those who may still read it.
    wait_for("it refuses, again and again", lambda: all(log().count(event) > 120 for event in events))
    assert "restore from the bucket, or give this cluster a tier.url or a node.cluster_id of its own" in log()
    own_broker.kill()
    assert objects() == before
    shutil.rmtree(bucket)
