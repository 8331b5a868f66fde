"""An S3 store for tests: moto, which decides conditional writes rightly, as a process on loopback."""

import os
import re
import subprocess
from http.client import HTTPConnection

from .broker import free_port
from .paths import ROOT
from .tier import wait_for

BUCKET = "chronik-e2e"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# What somebody with an S3 store of their own writes.
S3 = """
tier.url = "s3://chronik-e2e/{folder}"
tier.s3_endpoint = "http://127.0.0.1:{port}"
tier.s3_path_style = true
topics.remote_storage_enable = true
topics.local_retention_bytes = "2MiB"
"""


class S3Server:
    """moto as a process."""

    def __init__(self, directory, guarded=False):
        moto = subprocess.run([ROOT / "tests/s3/install.sh"], check=True, capture_output=True, text=True).stdout.strip()
        self.port = free_port()
        self.log = open(directory / "moto.log", "wb")
        # A store that is guarded lets the bucket be made, and then wants credentials that nobody has.
        env = {**os.environ, **({"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if guarded else {})}
        self.process = subprocess.Popen([moto, "-H", "127.0.0.1", "-p", str(self.port)], stdout=self.log,
                                        stderr=self.log, env=env)
        wait_for("the S3 server answers", self.answers)
        assert self.call("PUT", "/chronik-e2e")[0] == 200

    def call(self, method, path, body=None, headers=()):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def answers(self):
        assert self.process.poll() is None, "the S3 server ended"
        try:
            return self.call("GET", "/moto-api/")[0] == 200
        except OSError:
            return False

    def object(self, method, key, body=None):
        """Reads or writes an object, as somebody whose signature nobody looks at."""
        signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
                                   "SignedHeaders=host, Signature=0"}
        return self.call(method, f"/{BUCKET}/{key}", body, signed)

    def keys(self):
        found, after = [], ""
        while True:
            code, body = self.call("GET", f"/chronik-e2e?list-type=2&start-after={after}")
            assert code == 200, body
            page = re.findall(r"<Key>(.*?)</Key>", body)
            found += page
            if "<IsTruncated>true" not in body or not page:
                return found
            after = page[-1]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
