"""The judge of brokers (`chronik-server conformance broker`): green on ours and on Apache Kafka, red on a liar."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import directory_for
from harness.broker import Broker, ControlBroker, free_port
from harness.liar import LIES, Liar
from harness.paths import CONTROL, SERVER

ours = pytest.mark.skipif(CONTROL, reason="about our own binary")


def judge(bootstrap, *arguments):
    """Exit code and output of a run."""
    done = subprocess.run([str(SERVER), "conformance", "broker", "--bootstrap", bootstrap, *arguments],
                          capture_output=True, text=True, timeout=900)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout


def counts(out):
    """Passed, failed and skipped, as the last line tells."""
    return tuple(map(int, re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", out.splitlines()[-1]).groups()))


def judged_green(bootstrap, directory):
    """Every check passes, and the reports tell the same as the lines."""
    as_json, as_junit = directory / "judge.json", directory / "judge.xml"
    code, out = judge(bootstrap, "--json", str(as_json), "--junit", str(as_junit))
    report = json.loads(as_json.read_text())
    failed = [(c["clause"], c["evidence"]) for c in report["checks"] if c["status"] != "passed"]
    assert (code, failed) == (0, [])
    assert counts(out) == (report["passed"], report["failed"], report["skipped"]) == (len(report["checks"]), 0, 0)
    assert report["passed"] >= 30
    suite = ElementTree.parse(as_junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(report["passed"]), "0")


def test_our_broker_keeps_the_contract(broker, request):
    judged_green(broker.bootstrap, directory_for(request))


@ours
def test_apache_kafka_keeps_it_too(request):
    """The control: what Kafka itself does not do, no client may rely on."""
    directory = directory_for(request)
    control = ControlBroker(directory)
    control.discard()
    control.data.mkdir(exist_ok=True)
    control.start()
    try:
        judged_green(control.bootstrap, directory)
    finally:
        control.discard()


class Fronted(Broker):
    """Tells clients another address than its own."""

    def is_ready(self, text):
        return "chronik-server ready: " in text


@pytest.fixture(scope="module")
def lying(tmp_path_factory):
    """A broker behind a liar whose lie can be chosen."""
    liar = Liar()
    broker = Fronted(tmp_path_factory.mktemp("lying"), ["--admin-port", "0", "--advertise", f"127.0.0.1:{liar.port}"])
    liar.target_port = broker.port
    broker.start()
    yield liar
    files = os.listdir(f"/proc/{broker.process.pid}/fd")
    liar.close()
    broker.discard()
    assert len(files) < 100, "the liar ends its connections with those of the judge"


@ours
@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_noticed_by_its_clause(lying, name):
    lie, clause = LIES[name]
    lying.lie = lambda key, body: body
    code, _ = judge(f"127.0.0.1:{lying.port}", clause)
    assert code == 0, "without the lie the clause holds"
    lying.lie = lie
    code, out = judge(f"127.0.0.1:{lying.port}", clause)
    assert code == 1 and counts(out)[1] == 1 and f"failed: {clause} " in out


@ours
def test_silence_and_wrong_arguments_have_exit_codes_of_their_own():
    port = free_port()
    assert judge(f"127.0.0.1:{port}")[0] == 3
    assert judge(f"127.0.0.1:{port}", "--no-such-flag")[0] == 2


@ours
def test_the_checks_can_be_listed_without_a_broker():
    listed = subprocess.run([str(SERVER), "conformance", "broker", "--list", "KB-FET"], capture_output=True, text=True)
    lines = listed.stdout.splitlines()
    assert listed.returncode == 0 and len(lines) > 10
    assert all(re.fullmatch(r"KB-FET-\d\d \w+: test", line) for line in lines), lines
