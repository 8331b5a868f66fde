"""A node with a bucket, and the one that is built from that bucket when the first is gone."""

import shutil

from .broker import Broker
from .log_client import LogClient
from .tier import configure, run_tool


class Old:
    """A node with a bucket, and beside it another one, which does not run yet and has an empty directory."""

    def __init__(self, broker, text, url):
        self.broker, self.url = broker, url
        broker.kill()
        configure(broker, text)
        directory = broker.directory / "new"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        self.new = Broker(directory)
        shutil.rmtree(self.new.data)
        self.config = configure(self.new, text)
        broker.start()

    def restore(self, *more):
        return run_tool("restore", "--from", self.url, "--config", str(self.config), "--data-dir", str(self.new.data),
                        "--node-id", "1", *more)

    def tool(self, *argv):
        return run_tool("tier", *argv, "--config", str(self.config))

    def destroy(self):
        """Every process is killed, and no disk is left."""
        self.broker.kill()
        shutil.rmtree(self.broker.data)
        self.broker.data.mkdir()

    def close(self):
        self.broker.kill()
        self.new.discard()


def batches(broker, topic, partition, start=0):
    with LogClient(broker.port) as client:
        return client.batches(topic, partition, start)


def says(said, topic, partition, start, end):
    return any(f"{topic}-{partition} " in line and f" {start}..{end} " in line for line in said.splitlines())
