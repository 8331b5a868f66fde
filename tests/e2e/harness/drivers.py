"""The client drivers as processes (the contract stands in clients/README.md)."""

import json
import os
import select
import subprocess
import time

from .paths import CACHE, E2E, JAVA_CLASSPATH, NODE

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PYTHON = str(CACHE / "venv" / "bin" / "python")
JVM = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", JAVA_CLASSPATH,
       f"-Dlog4j2.configurationFile={E2E}/clients/java/log4j2.properties"]
COMMANDS = {
    "kafka-python": [PYTHON, str(E2E / "clients/python/kafka_python_driver.py")],
    "confluent-kafka": [PYTHON, str(E2E / "clients/python/confluent_driver.py")],
    "kcat": [PYTHON, str(E2E / "clients/python/kcat_driver.py")],
    "kafkajs": [str(NODE), str(E2E / "clients/node/kafkajs_driver.mjs")],
    "platformatic": [str(NODE), str(E2E / "clients/node/platformatic_driver.mjs")],
    "franz-go": [str(CACHE / "go-driver")],
    "java": [*JVM, "Driver"],
}


class DriverError(Exception):
    """The client reported an error."""


class Driver:
    """One client process that serves commands until it is closed."""

    def __init__(self, name, logs):
        self.name = name
        self.log = open(logs / f"driver-{name}.log", "ab")
        env = dict(os.environ, CHRONIK_E2E_NODE_MODULES=str(CACHE / "node"), PYTHONUNBUFFERED="1")
        self.process = subprocess.Popen(COMMANDS[name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, env=env)
        self.buffer = b""

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def line(self, limit):
        while b"\n" not in self.buffer:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                self.process.kill()
                raise DriverError(f"{self.name}: no answer in time")
            piece = os.read(self.process.stdout.fileno(), 1 << 20)
            if not piece:
                raise DriverError(f"{self.name}: ended with {self.process.wait()}, see {self.log.name}")
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def run(self, timeout=90, **command):
        """Sends one command; returns the lines of its answer."""
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        limit, lines = time.monotonic() + timeout, []
        while True:
            line = self.line(limit)
            if "error" in line:
                raise DriverError(f"{self.name}: {line['error']}")
            if "done" in line:
                return lines
            lines.append(line)

    def produce(self, broker, topic, records, codec="none", idempotent=False):
        return self.run(150, cmd="produce", bootstrap=broker.bootstrap, topic=topic, codec=codec, records=records,
                        idempotent=idempotent)

    def consume(self, broker, topic, ends, **begin):
        return self.run(cmd="consume", bootstrap=broker.bootstrap, topic=topic, ends=ends, **begin)

    def tool(self, main, *args, input="", wait_ms=60000):
        return self.run(cmd="tool", main=main, args=list(args), input=input, wait_ms=wait_ms,
                        timeout=wait_ms / 1000 + 30)[0]


def java_main(main, *args, timeout=90):
    """Runs a main class in a JVM of its own, for tools that do their last work in shutdown hooks."""
    done = subprocess.run([*JVM, main, *args], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{main}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


class Drivers:
    """Starts each driver once, when it is first asked for."""

    def __init__(self, logs):
        self.logs, self.live = logs, {}

    def __getitem__(self, name):
        driver = self.live.get(name)
        if driver is None or driver.process.poll() is not None:
            driver = self.live[name] = Driver(name, self.logs)
        return driver

    def close(self):
        for driver in self.live.values():
            driver.close()
