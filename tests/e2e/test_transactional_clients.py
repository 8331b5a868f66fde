"""A transactional producer learns at once that there are no transactions, and how to go on without."""

import time

import pytest
from confluent_kafka import KafkaException, Producer
from harness import errors
from harness.admin import create_topic
from harness.log_client import LogClient
from harness.paths import CONTROL

pytestmark = pytest.mark.skipif(CONTROL, reason="Kafka has transactions")

# What counts as at once: the clients' own timeouts are a minute.
AT_ONCE_S = 15


def test_librdkafka_stops_with_a_fatal_error_that_says_what_to_do(broker, topic):
    create_topic(broker, topic)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "tx"})
    begin = time.monotonic()
    with pytest.raises(KafkaException) as failure:
        producer.init_transactions(60)
    assert time.monotonic() - begin < AT_ONCE_S
    error = failure.value.args[0]
    assert error.fatal() and not error.retriable()
    assert "does not support transactions: unset transactional.id" in error.str()


def test_java_stops_with_an_error_that_says_what_to_do(drivers, broker, topic):
    create_topic(broker, topic)
    begin = time.monotonic()
    answer = drivers["java"].tool(
        "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", broker.bootstrap, "--topic", topic,
        "--num-records", "1", "--record-size", "10", "--throughput", "-1", "--transactional-id", "tx",
        "--transaction-duration-ms", "100")
    assert time.monotonic() - begin < AT_ONCE_S + 10  # the JVM starts in it
    said = answer["out"] + answer["err"]
    assert not answer["hung"] and "does not support transactions: unset transactional.id" in said, answer


@pytest.mark.parametrize("version,code", [
    (1, errors.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    (2, errors.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    (3, errors.INVALID_REQUEST),
    (4, errors.INVALID_REQUEST),
])
def test_the_coordinator_of_a_transaction_is_refused_with_the_reason(broker, version, code):
    with LogClient(broker.port) as log:
        keys = {"CoordinatorKeys": ["tx"]} if version >= 4 else {"Key": "tx"}
        answer = log.call("FindCoordinator", version, KeyType=1, **keys)
        one = answer["Coordinators"][0] if version >= 4 else answer
        assert one["ErrorCode"] == code and "transactional.id" in one["ErrorMessage"], answer
