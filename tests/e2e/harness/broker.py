"""A broker as a process: ours, or Apache Kafka for the control run, behind one interface."""

import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

from .paths import CACHE, CONTROL, E2E, SERVER

# A start that takes longer has failed; the control broker is slow on a busy machine.
READY_LIMIT_S = 180 if CONTROL else 60
NET_STATES = {"listen": "0A"}


class BrokerError(Exception):
    """The broker did not do what the harness needs."""


def free_port(taken=()):
    """A port below the ephemeral range that nothing listens on."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20000, 32000)
        if port in taken:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise BrokerError("no free port")


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def listening_inodes(port, pid="self"):
    """Inodes of the sockets that listen on a port, in the network of a process."""
    found = set()
    for table in (f"/proc/{pid}/net/tcp", f"/proc/{pid}/net/tcp6"):
        with open(table) as f:
            for line in f.readlines()[1:]:
                cells = line.split()
                if cells[3] == NET_STATES["listen"] and int(cells[1].rsplit(":", 1)[1], 16) == port:
                    found.add(cells[9])
    return found


def open_sockets(pid):
    """Inodes of the sockets that a process holds."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


class Broker:
    """Our release binary. The data directory outlives restarts; the log file gathers all of them."""

    kind = "chronik"
    host = "127.0.0.1"
    ready_limit_s = READY_LIMIT_S

    def __init__(self, directory, extra_args=()):
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / "broker.log"
        self.port = free_port()
        self.extra_args = list(extra_args)
        self.process = None
        self.started_in_ms = None
        self.seen = 0

    @property
    def bootstrap(self):
        return f"{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def argv(self):
        return [str(SERVER), "start", "--data-dir", str(self.data), "--kafka-port", str(self.port),
                "--bind", self.host, "--node-id", "1", *self.extra_args]

    def command(self):
        """What is run: argv, or argv inside of something whose pid is the broker's too."""
        return self.argv()

    def environment(self):
        return dict(os.environ)

    def prepare(self):
        if not SERVER.exists():
            raise BrokerError(f"{SERVER} is missing: cargo build --release -p chronik-server")

    def is_ready(self, text):
        return re.search(rf"^chronik-server ready:.*:{self.port}\b.*$", text, re.M)

    def start(self):
        """Starts the process and waits for its ready line; then checks who listens and what was started."""
        self.prepare()
        self.seen = self.log_path.stat().st_size if self.log_path.exists() else 0
        begin = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.directory, env=self.environment())
        self.wait_ready(begin + self.ready_limit_s)
        self.started_in_ms = (time.monotonic() - begin) * 1000
        self.check_identity()
        return self

    def start_and_kill_within(self, seconds):
        """Starts the process and kills it in the middle of its start, or shortly after."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.directory, env=self.environment())
        time.sleep(seconds)
        self.kill()

    def new_log(self):
        with open(self.log_path, "rb") as f:
            f.seek(self.seen)
            return f.read().decode(errors="replace")

    def wait_ready(self, limit):
        while not self.is_ready(self.new_log()):
            if self.process.poll() is not None:
                raise BrokerError(f"ended with {self.process.returncode}: {self.new_log()[-2000:]}")
            if time.monotonic() > limit:
                self.kill()
                raise BrokerError(f"not ready in time: {self.new_log()[-2000:]}")
            time.sleep(0.002)

    def executable(self):
        return SERVER

    def check_identity(self):
        """The process that we started is the one that listens, and it runs the built file."""
        inodes = listening_inodes(self.port, self.pid)
        if not inodes or not inodes <= open_sockets(self.pid):
            raise BrokerError(f"port {self.port} is not served by pid {self.pid}")
        running, built = sha256(f"/proc/{self.pid}/exe"), sha256(self.executable())
        if running != built:
            raise BrokerError(f"pid {self.pid} runs {running}, the built file is {built}")

    def kill(self):
        """kill -9, and wait for the end."""
        if self.process and self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        if self.process:
            self.process.wait(30)

    def terminate(self, limit=30):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BrokerError(f"still alive {limit} s after SIGTERM") from None

    def restart(self):
        self.kill()
        return self.start()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def status_kib(self, field):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1])

    def rss_kib(self):
        return self.status_kib("VmRSS")

    def reset_peak(self):
        """Forgets the peak of the resident size, so that the next one belongs to what follows."""
        with open(f"/proc/{self.pid}/clear_refs", "w") as f:
            f.write("5")

    def peak_kib(self):
        return self.status_kib("VmHWM")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def discard(self):
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


class ControlBroker(Broker):
    """Apache Kafka, one KRaft node."""

    kind = "kafka"
    ready_limit_s = 180

    def __init__(self, directory, extra_args=()):
        super().__init__(directory, extra_args)
        self.controller_port = free_port({self.port})

    def java(self, heap):
        return ["java", f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
                f"{CACHE}/java/libs/*", f"-Dlog4j2.configurationFile={E2E}/control/log4j2.properties"]

    def argv(self):
        return [*self.java(768), "kafka.Kafka", str(self.directory / "server.properties")]

    def executable(self):
        return os.path.realpath(shutil.which("java"))

    def prepare(self):
        properties = {
            "process.roles": "broker,controller", "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self.data, "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0, "broker.session.timeout.ms": 1000,
            "broker.heartbeat.interval.ms": 200, "log.flush.interval.messages": 1, "group.min.session.timeout.ms": 1000,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        if not (self.data / "meta.properties").exists():
            subprocess.run([*self.java(256), "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw",
                            "-c", str(path)], check=True, capture_output=True)

    def is_ready(self, text):
        return "Kafka Server started" in text


def new_broker(directory, extra_args=()):
    directory.mkdir(parents=True, exist_ok=True)
    return (ControlBroker if CONTROL else Broker)(directory, extra_args)
