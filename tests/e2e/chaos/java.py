"""A Java producer that writes down what it did: Kafka's own VerifiableProducer in a JVM of its own."""

import json
import subprocess
import threading
import time

from harness.drivers import JVM

from .history import OK, UNKNOWN, Send
from .workload import Worker

CONFIG = {"enable.idempotence": "true", "retries": 2147483647, "delivery.timeout.ms": 60000, "request.timeout.ms": 5000,
          "linger.ms": 2, "retry.backoff.ms": 20, "retry.backoff.max.ms": 200, "reconnect.backoff.ms": 20,
          "reconnect.backoff.max.ms": 200, "socket.connection.setup.timeout.ms": 2000}
END_LIMIT_S = 100


class JavaProducing:
    """Sends "1.0", "1.1" and so on, to the partitions that its partitioner takes. `sends` is there once it has ended."""

    def __init__(self, cluster, topic, name, directory, rate=200):
        self.name, self.sends, self.fatal, self.acked = name, [], [], 0
        # This client does not say which epochs it begins.
        self.begun = []
        self.outcomes, self.gave_up = {}, False
        config = directory / f"{name}.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in CONFIG.items()))
        self.log = directory / f"{name}.log"
        self.argv = [*JVM, "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", cluster.bootstrap, "--topic",
                     topic, "--acks", "-1", "--throughput", str(rate), "--value-prefix", "1", "--command-config", str(config)]
        self.worker = Worker(name, self.work)
        self.worker.start()

    def work(self, stopping):
        with open(self.log, "wb") as log:
            process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        reader = threading.Thread(target=self.read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while not stopping.wait(0.2):
                if process.poll() is not None:
                    raise RuntimeError(f"ended with {process.returncode}, see {self.log}")
            process.terminate()
            reader.join(END_LIMIT_S)
            if reader.is_alive():
                raise RuntimeError(f"does not end within {END_LIMIT_S} s")
        finally:
            process.kill()
            process.wait()
        self.sends = [self.send(number) for number in range(max(self.outcomes, default=-1) + 1)]

    def read(self, lines):
        for line in lines:
            said = json.loads(line)
            if said["name"] == "producer_send_success":
                self.outcomes[number_of(said)] = (said["partition"], said["offset"], time.time())
                self.acked += 1
            elif said["name"] == "producer_send_error":
                self.outcomes[number_of(said)], self.gave_up = None, True

    def send(self, number):
        """What became of one record. One without a word was on its way, or was sent after the last word.

        Once this client has given up a batch, it numbers those in flight anew, in a new epoch, and sends them again,
        whether or not they were stored (KAFKA-14034): from then on it may write a record twice.
        """
        partition, offset, ended = self.outcomes.get(number) or (-1, -1, 0.0)
        outcome = OK if offset >= 0 else UNKNOWN
        return Send(self.name, partition, f"1.{number}", outcome, offset, ended=ended, idempotent=not self.gave_up)


def number_of(said):
    return int(said["value"].split(".")[1])
