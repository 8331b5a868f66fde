"""What goes wrong with single objects while the cluster lives, over HTTP: it is told, once, and holds up nothing else."""

import random
import shutil
import threading

import pytest
from harness.admin import create_topic
from harness.batch import simple
from harness.log_client import LogClient
from harness.paths import CONTROL
from harness.s3 import BUCKET, CREDENTIALS, S3, S3Server
from harness.store_proxy import Refusal, StoreProxy
from harness.tier import configure, edges, place, run_tool, settled, small_topic, status, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")
COPY = "f/b/metadata"
DAMAGE = b"what somebody else put there"


@pytest.fixture
def node(own_broker, monkeypatch):
    for name, secret in CREDENTIALS.items():
        monkeypatch.setenv(name, secret)
    own_broker.discard()
    own_broker.data.mkdir(exist_ok=True)
    server = S3Server(own_broker.directory)
    own_broker.store, own_broker.proxy = server, StoreProxy(server.port)
    text = S3.format(folder="f", port=own_broker.proxy.port) + 'node.cluster_id = "prod"\n'
    own_broker.config = configure(own_broker, text)
    own_broker.start()
    yield own_broker
    own_broker.kill()
    own_broker.proxy.close()
    server.close()


def fill(node, topic, count, partition=0):
    rng = random.Random(13)
    with LogClient(node.port) as log:
        for _ in range(count):
            log.append(topic, simple([rng.randbytes(100_000)]), partition)


def read(node, topic, partition=0):
    with LogClient(node.port) as log:
        return [record[0] for record in log.records(topic, partition)]


def delete_topic(node, topic):
    with LogClient(node.port) as log:
        answer = log.call("DeleteTopics", 5, TopicNames=[topic], TimeoutMs=30000)
        assert answer["Responses"][0]["ErrorCode"] == 0, answer


def restorable(node, topic):
    """Whether the bucket's copy of the metadata knows the topic."""
    new = node.directory / "unused"
    config = node.directory / "other.toml"
    config.write_text(node.config.read_text().replace('node.cluster_id = "prod"\n', ""))
    code, said = run_tool("restore", "--from", f"s3://{BUCKET}/f", "--config", str(config), "--data-dir", str(new),
                          "--node-id", "1", "--dry-run")
    return code == 0 and f"{topic}-0 " in said


def events(node, event):
    return [line for line in node.new_log().splitlines() if f"event={event} " in line]


def damage(node):
    assert node.store.object("PUT", COPY, DAMAGE)[0] == 200


def objects_of(node, folder):
    return [key for key in node.store.keys() if folder in key]


def test_a_metadata_copy_that_is_damaged_while_the_cluster_lives_is_put_aside_once(node, topic):
    small_topic(node, topic)
    wait_for("the metadata is copied", lambda: restorable(node, topic))
    damage(node)
    # It is met when there is something to copy.
    small_topic(node, f"{topic}-2")
    wait_for("it is written anew", lambda: restorable(node, f"{topic}-2"))
    told = events(node, "tier_backup_damaged")
    assert len(told) == 1 and "kept_as=b/metadata.damaged" in told[0], told
    assert not events(node, "tier_backup_failed") and status(node)["failures"] == []
    assert node.store.object("GET", f"{COPY}.damaged") == (200, DAMAGE.decode())
    # So it is by a node that starts and finds it so: it cannot see whose it is, and has to keep all that is in the bucket.
    fill(node, topic, 30)
    wait_for("it is uploaded", lambda: settled(node, topic))
    folder = objects_of(node, ".seg")[0].split("/seg/")[0]
    node.kill()
    damage(node)
    node.start()
    wait_for("it is written anew", lambda: restorable(node, topic))
    assert len(events(node, "tier_backup_damaged")) == 1
    wait_for("no task has failed", lambda: status(node)["failures"] == [])
    assert read(node, topic) == list(range(30))
    # What is deleted now is known to be this cluster's.
    delete_topic(node, topic)
    wait_for("nothing of a deleted topic stays", lambda: not objects_of(node, folder))


def test_a_cluster_with_the_id_of_a_lost_one_whose_copy_is_damaged_deletes_nothing_of_it(node, topic):
    small_topic(node, topic)
    fill(node, topic, 30)
    wait_for("it is uploaded", lambda: settled(node, topic))
    wait_for("the metadata is copied", lambda: restorable(node, topic))
    kept = objects_of(node, ".seg")
    node.kill()
    shutil.rmtree(node.data)
    node.data.mkdir()
    damage(node)
    node.start()
    other = f"{topic}-2"
    small_topic(node, other)
    wait_for("the new cluster's metadata is copied", lambda: restorable(node, other))
    assert node.store.object("GET", f"{COPY}.damaged") == (200, DAMAGE.decode())
    # Its own deleted topics go, twice over the time after which garbage does; the lost cluster's stay.
    for number in range(2):
        gone = f"{topic}-gone-{number}"
        small_topic(node, gone)
        fill(node, gone, 30)
        wait_for("it is uploaded", lambda gone=gone: settled(node, gone))
        new = set(objects_of(node, ".seg")) - set(kept)
        delete_topic(node, gone)
        wait_for("nothing of a deleted topic stays", lambda new=new: not new & set(node.store.keys()))
    assert set(kept) <= set(node.store.keys())


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_segment_that_cannot_be_uploaded_holds_up_nothing_else(node, topic, how):
    """Each of two partitions, as many as there are uploads at a time, has one segment that the store does not take."""
    create_topic(node, topic, 4, {"segment.bytes": 1 << 20})
    victims, over, lock = {}, threading.Event(), threading.Lock()

    def refuse(method, path):
        if method != "PUT" or ".seg" not in path:
            return None
        partition = path.split("/seg/")[0]
        with lock:
            if partition not in victims and len(victims) < 2:
                victims[partition] = path.split("?")[0]
        if victims.get(partition) != path.split("?")[0] or over.is_set():
            return None
        if how == "silent":
            over.wait()
            return None
        return Refusal(500, "InternalError")

    node.proxy.refuse = refuse
    try:
        for partition in range(4):
            fill(node, topic, 30, partition)

        def others():
            done = [partition for partition in range(4) if settled(node, topic, partition)]
            return len(done) == 2 and done
        done = wait_for(lambda: f"others wait: {status(node)['partitions']}", others)
        stuck = [partition for partition in range(4) if partition not in done]
        if how == "refused":
            told = [wait_for("it is told", lambda p=p: place(node, topic, p)["failure"]) for p in stuck]
            assert all("InternalError" in why and ".seg" in why for why in told), told
        # Records are taken everywhere; others' go to the bucket and from the disk, those of the stuck ones stay on it.
        for partition in range(4):
            fill(node, topic, 60, partition)
        for partition in done:
            wait_for(lambda p=partition: f"local data stays: {edges(node, topic, p)}",
                     lambda p=partition: settled(node, topic, p) and edges(node, topic, p)[1] > 40)
        for partition in stuck:
            one = place(node, topic, partition)
            assert one["local_start_offset"] == 0 and one["lag_bytes"] > 5 << 20, one
        assert all(read(node, topic, partition) == list(range(90)) for partition in range(4))
    finally:
        over.set()
    for partition in range(4):
        wait_for("what waited is uploaded", lambda p=partition: settled(node, topic, p))
        assert read(node, topic, partition) == list(range(90))
    code, said = run_tool("tier", "verify", "--config", str(node.config))
    assert code == 0 and "nothing wrong" in said, said
