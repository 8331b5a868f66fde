"""What operators see of a node: metrics, health, the state of the cluster, the command line, and hostile HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from harness.admin import create_topic
from harness.batch import simple
from harness.broker import BrokerError, free_port, new_broker
from harness.log_client import LogClient, fetch_values, produce_values
from harness.operator import admin_port, cluster, get, get_json, metrics, raw_connection, read_all, value
from harness.paths import CONTROL, ROOT

pytestmark = pytest.mark.skipif(CONTROL, reason="about our own binary")

LIMIT_S = 20


@pytest.fixture
def make_broker(request, tmp_path):
    """Brokers of the test's own, with arguments or a configuration; the operators' port is a free one."""
    made = []

    def make(*args, config="", port="0"):
        broker = new_broker(tmp_path / f"broker-{len(made)}")
        broker.discard()
        broker.data.mkdir(exist_ok=True)
        if config:
            path = broker.directory / "node.toml"
            path.write_text(config)
            args = ("--config", str(path), *args)
        broker.extra_args = [*args, *(["--admin-port", port] if port is not None else [])]
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.discard()


@pytest.fixture
def node(make_broker):
    broker = make_broker()
    broker.start()
    yield broker
    assert broker.alive()


def documented():
    page = (ROOT / "docs" / "ops" / "metrics.md").read_text()
    return {name: kind for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.M)}


def test_the_page_of_metrics_and_what_is_printed_agree(node, topic):
    create_topic(node, topic)
    _, body = get(admin_port(node), "/metrics")
    assert dict(re.findall(r"^# TYPE (\w+) (\w+)$", body, re.M)) == documented()
    _, families = metrics(admin_port(node))
    assert all(family.type in ("counter", "gauge", "histogram") for family in families.values())
    assert len(documented()) > 50


def test_counters_move_when_clients_work(node, topic):
    port = admin_port(node)
    create_topic(node, topic)
    before, _ = metrics(port)
    with LogClient(node.port) as log:
        for i in range(10):
            log.append(topic, simple([b"x" * 1000]))
        log.call("Fetch", 12, **fetch_values({(topic, 0): (0, 100000)}, max_wait_ms=0))
        log.call("Metadata", 12, Topics=[{"Name": "no/name"}], AllowAutoTopicCreation=False)
        during, _ = metrics(port)
        assert value(during, "chronik_kafka_connections") == 1

    def grew(name, **labels):
        return value(during, name, **labels) - (before.get((name, tuple(sorted(labels.items()))), 0))

    assert grew("chronik_kafka_requests_total", api="Produce") == 10
    assert grew("chronik_kafka_requests_total", api="Fetch") == 1
    assert grew("chronik_kafka_request_seconds_count", api="Produce") == 10
    assert grew("chronik_produce_ack_seconds_count", acks="all") == 10
    assert grew("chronik_kafka_errors_total", api="Metadata", error="INVALID_TOPIC_EXCEPTION") == 1
    assert 10_000 < grew("chronik_kafka_received_bytes_total") < 20_000
    assert 10_000 < grew("chronik_kafka_sent_bytes_total") < 20_000
    assert grew("chronik_kafka_connections_accepted_total") == 1
    # Every acknowledgement waited for a sync, and was not sent before the bytes were in a file.
    assert grew("chronik_fsync_seconds_count", what="data") >= 10
    assert grew("chronik_file_written_bytes_total") > 10_000
    partition = {"topic": topic, "partition": "0"}
    assert value(during, "chronik_partition_high_watermark", **partition) == 10
    assert value(during, "chronik_partition_in_sync_replicas", **partition) == 1
    assert grew("chronik_partition_commit_index", **partition) == 10
    assert value(during, "chronik_partition_apply_lag_entries", **partition) == 0
    assert value(during, "chronik_partitions_under_replicated") == 0
    assert value(during, "chronik_partitions", state="open") == value(during, "chronik_partitions_leading") == 1
    assert value(during, "chronik_limit", key="kafka.max_connections") == 4096
    assert value(during, "chronik_node_ready") == value(during, "chronik_node_healthy") == 1


def test_counted_bytes_and_memory_are_those_of_the_kernel(node, topic):
    port = admin_port(node)
    create_topic(node, topic)
    with LogClient(node.port) as log:
        for _ in range(50):
            log.append(topic, simple([b"x" * 100_000]))
        samples, _ = metrics(port)
    with open(f"/proc/{node.pid}/io") as f:
        written = int(re.search(r"^wchar: (\d+)", f.read(), re.M)[1])
    counted = value(samples, "chronik_file_written_bytes_total") + value(samples, "chronik_kafka_sent_bytes_total")
    assert 0.9 * written < counted < 1.1 * written, (written, counted)
    assert abs(value(samples, "process_resident_memory_bytes") - node.rss_kib() * 1024) < 20 << 20
    assert abs(value(samples, "process_open_fds") - node.open_files()) <= 3
    cells = open(f"/proc/{node.pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")
    assert 0 <= cpu - value(samples, "process_cpu_seconds_total") < 1


def test_partitions_have_metrics_of_their_own_up_to_the_limit(make_broker):
    broker = make_broker(config="[admin]\nmax_partition_metrics = 3\n")
    broker.start()
    port = admin_port(broker)
    for name, count, shown, omitted in [("a", 3, 3, 0), ("b", 1, 0, 4)]:
        create_topic(broker, name, count)
        samples, _ = metrics(port)
        own = [key for key in samples if key[0] == "chronik_partition_term"]
        assert (len(own), value(samples, "chronik_partitions_without_metrics")) == (shown, omitted)


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_lets(make_broker):
    broker = make_broker()
    started = broker.argv
    broker.argv = lambda: ["prlimit", "--nofile=256:5000", *started()]
    broker.start()
    samples, _ = metrics(admin_port(broker))
    assert value(samples, "process_max_fds") == 5000
    assert "event=open_files_limit_low" not in broker.new_log()
    broker.kill()
    broker.argv = lambda: ["prlimit", "--nofile=256:300", *started()]
    broker.start()
    assert "event=open_files_limit_low limit=300" in broker.new_log()


def test_health_tells_its_reasons(node):
    port = admin_port(node)
    for path in ["/livez", "/readyz", "/healthz"]:
        status, report = get_json(port, path)
        assert (status, report["ok"], report["reasons"], report["phase"]) == (200, True, [], "serving")
        assert "checks" not in report
    status, report = get_json(port, "/healthz?verbose")
    names = [check["name"] for check in report["checks"]]
    assert status == 200 and len(names) == len(set(names)) >= 6 and all(check["ok"] for check in report["checks"])


def test_not_ready_while_the_node_starts(make_broker):
    """A start over some data, which takes a moment, is asked from its first moment on."""
    port = free_port()
    broker = make_broker(port=str(port))
    broker.start()
    create_topic(broker, "t", 50)
    with LogClient(broker.port) as log:
        for _ in range(20):
            for partition in range(50):
                log.append("t", simple([b"x" * 20_000]), partition)
    broker.kill()
    broker.seen = broker.log_path.stat().st_size
    with open(broker.log_path, "ab") as out:
        broker.process = subprocess.Popen(broker.argv(), stdout=out, stderr=out, cwd=broker.directory)
    seen, limit = set(), time.monotonic() + LIMIT_S
    while (200, "serving") not in seen:
        assert time.monotonic() < limit, seen
        try:
            status, report = get_json(port, "/readyz")
            live, _ = get(port, "/livez")
        except OSError:
            continue
        assert live == 200 and bool(report["reasons"]) == (status != 200)
        seen.add((status, report["phase"]))
    assert seen == {(503, "starting"), (200, "serving")}
    broker.wait_ready(limit)


def test_not_ready_while_the_node_drains(node, topic):
    """A producer's answer that is owed holds the drain open: the client does not read it."""
    port = admin_port(node)
    create_topic(node, topic)
    with LogClient(node.port) as log:
        log.append(topic, simple([b"x" * 500_000]))
        log.append(topic, simple([b"x" * 500_000]))
        # Answers that nobody reads fill the socket, so that the connection cannot be closed yet.
        for _ in range(60):
            log.send("Fetch", 12, fetch_values({(topic, 0): (0, 1 << 20)}, max_wait_ms=0))
        sent, limit = -1, time.monotonic() + LIMIT_S
        while (now := value(metrics(port)[0], "chronik_kafka_sent_bytes_total")) != sent:
            sent = now
            assert time.monotonic() < limit
            time.sleep(0.2)
        node.process.send_signal(signal.SIGTERM)
        while True:
            status, report = get_json(port, "/readyz")
            if status == 503:
                break
            assert time.monotonic() < limit
        assert report["phase"] == "draining" and report["reasons"] == ["the node was told to stop"]
        assert get(port, "/livez")[0] == 200
    assert node.process.wait(LIMIT_S) == 0
    node.start()


def test_the_state_of_the_cluster_is_the_live_one(node, topic):
    port = admin_port(node)
    create_topic(node, topic, 2)
    with LogClient(node.port) as log:
        for _ in range(7):
            log.append(topic, simple([b"x"]), 1)
    _, status = get_json(port, "/v1/status")
    assert (status["node"], status["phase"], status["connections"]) == (1, "serving", 0)
    assert status["address"] == node.bootstrap and status["partitions"]["leading"] == 2
    assert status["store"]["health"] == "working" and status["metadata"]["leader"] == 1
    _, report = get_json(port, "/v1/cluster")
    assert (report["controller"], report["topics"], report["partitions"], report["unknown"]) == (1, 1, 2, 0)
    assert report["health"]["ok"] and report["nodes"][0]["report"]["node"] == 1
    _, one = get_json(port, f"/v1/partitions/{topic}/1")
    assert (one["leader"], one["in_sync"], one["high_watermark"], one["under_replicated"]) == (1, [1], 7, False)
    [copy] = one["copies"]
    assert (copy["open"]["role"], copy["open"]["log_end_offset"]) == ("leader", 7)
    assert copy["open"]["commit"] == copy["open"]["applied"] == copy["open"]["followers"][0]["matched"]
    _, every = get_json(port, "/v1/partitions")
    assert [(p["topic"], p["partition"]) for p in every] == [(topic, 0), (topic, 1)]
    _, isr = get_json(port, "/v1/isr")
    assert (isr["in_sync"], isr["under_replicated"], isr["unknown"], isr["partitions"]) == (2, 0, 0, [])
    for path in [f"/v1/partitions/{topic}/2", f"/v1/partitions/{topic}/-1", "/v1/partitions/none/0", "/v1/", "/", "/v2"]:
        status, body = get_json(port, path)
        assert status == 404 and body["error"], path


def test_a_port_that_nobody_chose_may_be_taken_and_one_that_was_chosen_may_not(make_broker):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9644))
            taken.listen()
        except OSError:
            pass  # Somebody else has it, which serves as well.
        broker = make_broker(port=None)
        broker.start()
        assert "event=admin_port_taken" in broker.new_log() and "operators to" not in broker.new_log()
        other = make_broker(port="9644")
        with pytest.raises(BrokerError, match="ended with 1.*9644.*admin.port"):
            other.start()


def test_the_listener_can_be_switched_off(make_broker):
    port = free_port()
    broker = make_broker(config="[admin]\nenabled = false\n", port=str(port))
    broker.start()
    with pytest.raises(ConnectionRefusedError):
        get(port, "/livez")


def test_a_token_guards_everything_but_health_and_metrics(make_broker, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    (tmp_path / "other").write_text("0123456789abcdef0124\n")
    broker = make_broker(config=f'[admin]\ntoken_file = "{tmp_path}/token"\n')
    broker.start()
    port = admin_port(broker)
    for path in ["/livez", "/readyz", "/healthz?verbose", "/metrics"]:
        assert get(port, path)[0] == 200
    for token in [None, "0123456789abcdef0124", "0123456789abcdef012"]:
        assert get(port, "/v1/status", token)[0] == 401
        assert get(port, "/v1/none", token)[0] == 401
    assert get(port, "/v1/status", "0123456789abcdef0123")[0] == 200
    assert cluster("status", port=port)[0] == 2
    assert cluster("status", "--token-file", f"{tmp_path}/other", port=port)[0] == 2
    assert cluster("status", "--token-file", f"{tmp_path}/token", port=port)[0] == 0
    assert "0123456789abcdef0123" not in broker.log_path.read_text()


@pytest.mark.parametrize("config,words", [
    ('[admin]\nbind = "0.0.0.0"\n', "admin.token_file"),
    ('[admin]\ntoken_file = "/nonexistent/token"\n', "admin.token_file: cannot read /nonexistent/token"),
    ('[admin]\ntoken_file = "/dev/null"\n', "at least 16"),
    ("[admin]\nport = 70000\n", "admin.port"),
])
def test_a_bad_configuration_names_the_key(make_broker, config, words):
    with pytest.raises(BrokerError) as error:
        make_broker(config=config, port=None).start()
    assert "ended with 1" in str(error.value) and words in str(error.value)


def test_commands_show_the_live_cluster_and_exit_with_its_health(node, topic):
    port = admin_port(node)
    create_topic(node, topic, 3)
    code, out, _ = cluster("status", port=port)
    assert code == 0 and "controller: node 1" in out and "partitions: 3 (0 without a leader" in out, out
    code, out, _ = cluster("list-nodes", port=port)
    assert code == 0 and node.bootstrap in out and out.startswith("NODE"), out
    code, out, _ = cluster("list-partitions", port=port)
    assert code == 0 and len(out.splitlines()) == 4 and "in sync" in out, out
    code, out, _ = cluster("partition-info", topic, "2", port=port)
    assert code == 0 and f"partition: {topic}-2" in out and "leader: 1" in out, out
    code, out, _ = cluster("isr-status", port=port)
    assert code == 0 and "in sync: 3\n" in out, out
    code, out, _ = cluster("health", port=port)
    assert code == 0 and "health: well" in out, out
    for argv in [["status"], ["list-nodes"], ["list-partitions"], ["partition-info", topic, "0"], ["isr-status"],
                 ["health"], ["list-partitions", "--topic", topic]]:
        code, out, _ = cluster(*argv, "--json", port=port)
        assert code == 0 and json.loads(out), argv


def test_commands_say_what_is_wrong_with_the_question(node, topic):
    port = admin_port(node)
    create_topic(node, topic)
    for argv, words in [
        (["partition-info", topic, "1"], "no partition 1"),
        (["partition-info", "a/b", "0"], "a/b"),
        (["list-partitions", "--topic", "none"], "no topic 'none'"),
        (["partition-info", topic, "-1"], "-1"),
        (["rebalance"], "rebalance"),
        (["status", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ]:
        code, out, complaint = cluster(*argv, port=port)
        assert (code, out) == (2, "") and words in complaint, (argv, complaint)


def test_commands_try_each_node_and_say_when_none_answers(node, make_broker):
    port, nobody = admin_port(node), free_port()
    code, out, complaint = cluster("status", port=nobody)
    assert (code, out) == (3, "") and str(nobody) in complaint and "admin.port" in complaint
    assert cluster("status", "--admin", f"127.0.0.1:{nobody},127.0.0.1:{port}")[0] == 0
    assert cluster("status", "--admin", f"127.0.0.1:{nobody}", "--admin", f"127.0.0.1:{port}")[0] == 0
    assert cluster("status", env={**os.environ, "CHRONIK_ADMIN": f"127.0.0.1:{port}"})[0] == 0
    path = node.directory / "cli.toml"
    path.write_text(f"[admin]\nport = {port}\n")
    assert cluster("status", "--config", str(path))[0] == 0
    # What listens there is no administration listener.
    code, _, complaint = cluster("status", port=node.port)
    assert code == 3 and str(node.port) in complaint


def test_hostile_requests_are_refused_and_the_node_goes_on(node, rng):
    port = admin_port(node)
    for sent, expected in [
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000, 431),
        (b"GET /" + b"x" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n", 431),
        (b"POST /v1/status HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, 405),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x00\x00\x00\x0c\x00\x12\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /" + b"../" * 100 + b"etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /v1/partitions/%00/0 HTTP/1.1\r\n\r\n", 404),
    ]:
        with raw_connection(port) as connection:
            connection.sendall(sent)
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 %d " % expected), (sent[:60], answer[:200])
    for _ in range(200):
        with raw_connection(port) as connection:
            try:
                connection.sendall(rng.randbytes(rng.randrange(1, 2000)))
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            read_all(connection)
    # A pipelined second request is not answered: one request a connection.
    with raw_connection(port) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n" * 3)
        assert read_all(connection).count(b"HTTP/1.1 ") == 1
    assert get(port, "/readyz")[0] == 200


def test_slow_and_many_connections_are_bounded_and_end(make_broker):
    broker = make_broker(config="[admin]\nmax_connections = 8\nrequest_timeout_ms = 500\n")
    broker.start()
    port = admin_port(broker)
    rss, files = broker.rss_kib(), broker.open_files()
    connections = [raw_connection(port) for _ in range(200)]
    for number, connection in enumerate(connections):
        try:
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: " if number % 2 else b"G")
        except OSError:
            pass
    answers = [read_all(connection) for connection in connections]
    for connection in connections:
        connection.close()
    # Those that were admitted are told that they are late; the others were closed without a word.
    late = sum(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    assert late >= 8 and all(not answer or answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    limit = time.monotonic() + LIMIT_S
    while True:
        try:
            status, _ = get(port, "/livez")
            assert status == 200
            break
        except OSError:
            assert time.monotonic() < limit
    samples, _ = metrics(port)
    assert value(samples, "chronik_admin_connections_refused_total") >= 200 - late - 8
    assert value(samples, "chronik_admin_connections") <= 2
    assert broker.rss_kib() - rss < 4096 and broker.open_files() <= files + 3
    with LogClient(broker.port) as log:
        assert log.call("ApiVersions", 0)["ErrorCode"] == 0


def test_a_client_that_does_not_read_is_cut_off(make_broker):
    broker = make_broker(config="[admin]\nrequest_timeout_ms = 300\nmax_partition_metrics = 10000\n")
    broker.start()
    port = admin_port(broker)
    create_topic(broker, "many", 1000)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /v1/partitions HTTP/1.1\r\n\r\n")
        limit = time.monotonic() + LIMIT_S
        while value(metrics(port)[0], "chronik_admin_connections") > 1:
            assert time.monotonic() < limit
            time.sleep(0.05)
    assert broker.alive()
