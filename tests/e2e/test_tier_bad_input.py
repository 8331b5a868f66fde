"""A bucket that refuses, and a cache disk without room: found at once, told with the setting, and nothing is lost.

Credentials that nobody knows, a bucket that is missing and a bucket of another cluster: test_tier_tools.py and test_tier.py.
"""

import random
import subprocess

import pytest
from conftest import directory_for
from harness.batch import simple
from harness.broker import free_port, new_broker
from harness.log_client import LogClient
from harness.operator import admin_port, metrics, value
from harness.paths import CONTROL
from harness.s3 import CREDENTIALS, S3, S3Server
from harness.store_proxy import Refusal, StoreProxy
from harness.tier import configure, edges, place, run_tool, settled, small_topic, status, wait_for

pytestmark = pytest.mark.skipif(CONTROL, reason="the tier is ours")
REGION = "eu-central-1"
ELSEWHERE = Refusal(400, "AuthorizationHeaderMalformed", f"<Region>{REGION}</Region>", {"x-amz-bucket-region": REGION})
DENIED = Refusal(403, "AccessDenied")
# What a store answers, and what an operator is told of it.
REFUSALS = {
    "wrong region": (ELSEWHERE, ("tier.s3_region", REGION)),
    "wrong secret": (Refusal(403, "SignatureDoesNotMatch"), ("AWS_SECRET_ACCESS_KEY", "tier.s3_credentials_file")),
    "expired credentials": (Refusal(400, "ExpiredToken"), ("have expired", "tier.s3_credentials_file")),
    "skewed clock": (Refusal(403, "RequestTimeTooSkewed"), ("set this machine's clock",)),
    "no permission to write": (DENIED, ("the bucket's policy", "s3:PutObject")),
}


@pytest.fixture(scope="module")
def node(request):
    """One node for all of this file. Its store is behind a proxy, and its cache on a disk that takes hardly anything."""
    patch = pytest.MonkeyPatch()
    for name, secret in CREDENTIALS.items():
        patch.setenv(name, secret)
    broker = new_broker(directory_for(request))
    broker.discard()
    broker.data.mkdir()
    cache = broker.directory / "cache"
    cache.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", cache], check=True)
    server = S3Server(broker.directory)
    broker.proxy = StoreProxy(server.port)
    broker.cache = cache
    broker.config = configure(broker, S3.format(folder="f", port=broker.proxy.port)
                              + f'tier.cache_dir = "{cache}"\ntier.memory_cache_bytes = "1MiB"\n')
    broker.start()
    yield broker
    broker.discard()
    broker.proxy.close()
    server.close()
    subprocess.run(["umount", cache], check=True)
    patch.undo()


@pytest.fixture(autouse=True)
def willing(node):
    node.proxy.refuse = None
    yield
    node.proxy.refuse = None


def fill(node, topic, count):
    rng = random.Random(12)
    with LogClient(node.port) as log:
        for _ in range(count):
            log.append(topic, simple([rng.randbytes(100_000)]))


def read(node, topic, start=0):
    with LogClient(node.port) as log:
        return [record[0] for record in log.records(topic, start=start)]


def failure(node, topic, words):
    """Why the topic's rounds fail, once that is told with these words."""
    def told():
        one = place(node, topic)
        return one and one["failure"] and all(word in one["failure"] for word in words)
    return wait_for(lambda: f"{words}: {place(node, topic)}", told)


def failed_rounds(node):
    return value(metrics(admin_port(node))[0], "chronik_tier_rounds_failed_total")


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_is_told_with_its_setting_and_stops_nobody(node, topic, what):
    refusal, words = REFUSALS[what]
    method = "PUT" if refusal is DENIED else None
    before = failed_rounds(node)
    node.proxy.refuse = lambda method_, _: refusal if method in (None, method_) else None
    small_topic(node, topic)
    fill(node, topic, 30)
    failure(node, topic, words)
    assert read(node, topic) == list(range(30)), "what is local is served"
    assert failed_rounds(node) > before and "event=tier_round_failed" in node.new_log()
    code, said = run_tool("tier", "status", "--admin", f"127.0.0.1:{admin_port(node)}")
    assert code == 1 and all(word in said for word in words), said
    node.proxy.refuse = None
    fill(node, topic, 1)
    wait_for("what waited is uploaded", lambda: settled(node, topic))
    assert read(node, topic) == list(range(31)), "nothing is lost"


def test_a_node_says_at_its_start_what_is_wrong(node, topic):
    refusal, words = REFUSALS["wrong secret"]
    node.proxy.refuse = lambda *_: refusal
    node.restart()
    told = wait_for("it is told before any topic is used", lambda: status(node)["failures"])
    assert all(word in " ".join(told) for word in words), told
    wait_for("it is in the log", lambda: "event=tier_backup_failed" in node.new_log())
    node.proxy.refuse = None
    wait_for("it goes away with its cause", lambda: status(node)["failures"] == [])


def test_where_nothing_may_be_deleted_the_local_disk_is_freed_all_the_same(node, topic):
    node.proxy.refuse = lambda method, path: DENIED if method == "DELETE" or "?delete" in path else None
    small_topic(node, topic)
    fill(node, topic, 40)
    wait_for("it is uploaded", lambda: settled(node, topic))
    with LogClient(node.port) as log:
        answer = log.call("DeleteRecords", 2, TimeoutMs=30000, Topics=[{
            "Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": 25}]}])
        assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, answer
    failure(node, topic, ("the bucket's policy", "s3:DeleteObject"))
    fill(node, topic, 60)

    def freed():
        start, local, tiered, end = edges(node, topic)
        return (start, end) == (25, 100) and tiered > 80 and local > 60
    wait_for(lambda: f"local data stays: {edges(node, topic)}", freed)
    assert read(node, topic, 25) == list(range(25, 100))
    assert place(node, topic)["garbage_objects"] > 0
    node.proxy.refuse = None
    wait_for("what was deleted leaves the bucket", lambda: place(node, topic)["garbage_objects"] == 0)
    code, said = run_tool("tier", "verify", "--config", str(node.config))
    assert code == 0 and "nothing wrong" in said, said


def test_a_cache_disk_without_room_costs_requests_alone(node, topic):
    small_topic(node, topic)
    fill(node, topic, 60)
    wait_for("most is in the bucket alone", lambda: edges(node, topic)[1] > 20)
    for _ in range(2):
        assert read(node, topic) == list(range(60))
    wait_for("it is counted", lambda: value(metrics(admin_port(node))[0], "chronik_tier_cache_failures_total") > 0)
    log = node.log_path.read_text(errors="replace")
    warned = [line for line in log.splitlines() if "event=tier_cache_unusable" in line]
    assert warned and all("tier.cache_dir" in line and "tier.cache_bytes" in line for line in warned), warned
    assert len(warned) <= log.count("chronik-server ready"), "a line for each block"


def test_a_store_that_is_not_there_and_credentials_that_are_not_are_told_with_the_setting(node, tmp_path, monkeypatch):
    config = tmp_path / "wrong.toml"
    text = node.config.read_text()
    config.write_text(text.replace(f":{node.proxy.port}", f":{free_port()}"))
    code, said = run_tool("tier", "ls", "--config", str(config))
    assert code == 3 and "tier.s3_endpoint" in said, said
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    # Nobody answers for a role of this machine.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    code, said = run_tool("tier", "ls", "--config", str(node.config))
    assert code == 3 and "AWS_ACCESS_KEY_ID" in said and "tier.s3_credentials_file" in said, said
