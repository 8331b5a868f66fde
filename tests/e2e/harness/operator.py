"""What an operator sees of a broker: the administration listener over HTTP, and the command line."""

import json
import re
import socket
import subprocess
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

from .paths import SERVER


def admin_port(broker):
    """The port that the ready line names."""
    return int(re.search(r"^chronik-server ready:.*operators to \S+:(\d+)", broker.new_log(), re.M)[1])


def get(port, path, token=None, method="GET"):
    """Status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def get_json(port, path, token=None):
    status, body = get(port, path, token)
    return status, json.loads(body)


def metrics(port):
    """Every sample by its name and labels, and the families by their names."""
    status, body = get(port, "/metrics")
    assert status == 200, body
    families = {family.name: family for family in text_string_to_metric_families(body)}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values() for sample in family.samples
    }
    return samples, families


def value(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def cluster(*argv, port=None, env=None):
    """Runs `chronik-server cluster ...`; returns its exit code, output and complaints."""
    where = ["--admin", f"127.0.0.1:{port}"] if port else []
    done = subprocess.run([SERVER, "cluster", *argv, *where], capture_output=True, text=True, timeout=60, env=env)
    return done.returncode, done.stdout, done.stderr


def raw_connection(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    return connection


def read_all(connection):
    """Everything until the other side closes; a reset ends it as well."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received
