"""Fixtures: brokers, drivers, seeds, and the logs of what failed."""

import os
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.broker import new_broker  # noqa: E402
from harness.drivers import Drivers  # noqa: E402
from harness.ledger import Ledger  # noqa: E402
from harness.log_client import LogClient  # noqa: E402
from harness.paths import BROKER_KIND, CACHE  # noqa: E402

RUN = CACHE / "runs" / BROKER_KIND


def pytest_report_header():
    return f"broker: {BROKER_KIND}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for value in item.funcargs.values():
        log = getattr(value, "log_path", None)
        if log and Path(log).exists():
            report.sections.append((f"broker log {log}", "\n".join(
                Path(log).read_text(errors="replace").splitlines()[-25:])))


def directory_for(request):
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.split("/")[-1])
    path = RUN / name
    path.mkdir(parents=True, exist_ok=True)
    if (path / "broker.log").exists():
        (path / "broker.log").unlink()
    return path


@pytest.fixture(scope="session")
def drivers():
    RUN.mkdir(parents=True, exist_ok=True)
    all_drivers = Drivers(RUN)
    yield all_drivers
    all_drivers.close()


@pytest.fixture(scope="session")
def shared_broker():
    """One broker for all tests that neither kill it nor depend on it being empty."""
    directory = RUN / "shared"
    directory.mkdir(parents=True, exist_ok=True)
    broker = new_broker(directory)
    broker.discard()
    broker.data.mkdir(exist_ok=True)
    broker.log_path.unlink(missing_ok=True)
    broker.start()
    yield broker
    assert broker.alive(), f"the shared broker died, see {broker.log_path}"
    broker.discard()


@pytest.fixture
def broker(shared_broker):
    """The shared broker; a test that finds it dead fails at once, and one that leaves it dead is named."""
    if not shared_broker.alive():
        shared_broker.start()
    yield shared_broker
    assert shared_broker.alive(), f"the broker died, see {shared_broker.log_path}"


@pytest.fixture
def own_broker(request):
    """A broker of the test's own on an empty directory."""
    one = new_broker(directory_for(request))
    one.discard()
    one.data.mkdir(exist_ok=True)
    one.start()
    yield one
    one.discard()


@pytest.fixture
def rng(request):
    """Seeded randomness: CHRONIK_E2E_SEED repeats a run, and the seed of this one is printed."""
    seed = int(os.environ.get("CHRONIK_E2E_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed} (repeat with CHRONIK_E2E_SEED={seed})")
    source = random.Random(seed)
    source.first_seed = seed
    return source


@pytest.fixture
def topic(request):
    """A topic name of the test's own."""
    return re.sub(r"[^\w.-]+", "-", request.node.name)[:100] + f"-{random.SystemRandom().randrange(1 << 24):06x}"


@pytest.fixture
def log(broker):
    """A raw connection to the shared broker."""
    with LogClient(broker.port) as client:
        client.owner = broker
        yield client


def pytest_terminal_summary(terminalreporter):
    """The minutes of every part, worst first, also as a file."""
    spent, counts = {}, {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration") and hasattr(report, "nodeid"):
                part = report.nodeid.split("::")[0].split("/")[-1]
                spent[part] = spent.get(part, 0) + report.duration
                counts[part] = counts.get(part, 0) + (report.when == "call")
    rows = [f"| {part} | {counts[part]} | {spent[part] / 60:.2f} |" for part in sorted(spent, key=lambda p: -spent[p])]
    total = f"| all | {sum(counts.values())} | {sum(spent.values()) / 60:.2f} |"
    table = ["| part | tests | minutes |", "|---|---|---|", *rows, total]
    terminalreporter.write_line("\n".join(table))
    RUN.mkdir(parents=True, exist_ok=True)
    RUN.joinpath("minutes.md").write_text("\n".join(table) + "\n")


@pytest.fixture
def ledger(cluster, topic):
    """A topic on the cluster of the test's module, with a few records, and the book of what is acknowledged."""
    cluster.create_topic(topic)
    book = Ledger(cluster, topic)
    book.append("before", 5)
    return book
