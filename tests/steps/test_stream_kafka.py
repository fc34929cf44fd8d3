"""A stream into Kafka: against the broker within librdkafka, and against the brokers that SYNTH_KAFKA names.

librdkafka's broker (`test.mock.num.brokers`) speaks the protocol over TCP and needs nothing else.  A real cluster gets
topics of its own on every run.
"""

import logging
import os
import sys
import uuid

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import DataError, UnsupportedError
from synth_components.steps.sample import SampleConfig, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kafka")
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"age": rng.integers(20, 80, 500), "city": rng.choice(["Rome", "Oslo", "Bonn"], 500)})
    synth.fit(rows, generator="tabular.independent", seed=0).save(folder / "model")
    return folder


def sampled(folder, capfdbinary, place, **options):
    """Return what a call writes to standard output."""
    capfdbinary.readouterr()
    sample(SampleConfig(**options), model=folder / "model", synthetic=place)
    return capfdbinary.readouterr().out


@pytest.fixture(scope="module")
def kafka():
    return pytest.importorskip("confluent_kafka", reason="confluent-kafka (extra kafka) is not installed")


@pytest.fixture(scope="module", params=["librdkafka", "SYNTH_KAFKA"])
def brokers(request, kafka):
    """Yield the address of a Kafka cluster that answers."""
    if request.param == "SYNTH_KAFKA":
        if "SYNTH_KAFKA" not in os.environ:
            pytest.skip("SYNTH_KAFKA names no brokers, as host:port, whose topics may be written to")
        yield os.environ["SYNTH_KAFKA"]
        return
    cluster = kafka.Producer({"bootstrap.servers": "localhost", "test.mock.num.brokers": 1})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"{broker.host}:{broker.port}"


def messages(brokers, topic, count):
    """Return keys and values of the first ``count`` messages of a topic, in order of arrival."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic})
    parts = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in parts])
    found = []
    while len(found) < count:
        message = consumer.poll(20)
        assert message is not None, f"{len(found)} messages, then none"
        assert message.error() is None
        found.append((message.key(), message.value()))
    consumer.close()
    return found


@pytest.fixture
def topic():
    return f"rows-{uuid.uuid4().hex}"


def test_kafka_gets_each_row_as_json_under_its_number(folder, brokers, topic, capfdbinary):
    lines = sampled(folder, capfdbinary, "-", num_rows=2_000).splitlines()
    sampled(folder, capfdbinary, f"kafka://{brokers}/{topic}", num_rows=2_000)
    found = dict(messages(brokers, topic, 2_000))
    assert found == {str(number).encode(): line for number, line in enumerate(lines)}


def test_a_row_sent_to_kafka_again_has_the_same_key_and_the_same_bytes(folder, brokers, topic, capfdbinary):
    sampled(folder, capfdbinary, f"kafka://{brokers}/{topic}", num_rows=50)
    sampled(folder, capfdbinary, f"kafka://{brokers}/{topic}", num_rows=50, offset=30)
    found = messages(brokers, topic, 70)
    assert len(found) == 70
    assert len(set(found)) == 50


def test_brokers_that_do_not_answer_are_named_without_settings_and_no_row_counts_as_sent(folder, kafka, caplog):
    caplog.set_level(logging.INFO, logger="synth_components")
    address = "kafka://127.0.0.1:9/rows?message.timeout.ms=300&sasl.password=secret"
    with pytest.raises(DataError, match=r"kafka://127\.0\.0\.1:9/rows.* did not take a row") as error:
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic=address)
    assert "secret" not in str(error.value)
    assert "go on with --offset 0 " in caplog.text


@pytest.mark.parametrize("address", ["kafka://host:9092", "kafka:///topic", "kafka://host:1/a b", "kafka://u:p@h/t"])
def test_a_kafka_address_needs_brokers_and_a_topic(address, folder):
    with pytest.raises(DataError, match="kafka://host:port"):
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic=address)


def test_an_unknown_setting_of_kafka_is_refused(folder, kafka):
    with pytest.raises(DataError, match="refuses a setting"):
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic="kafka://127.0.0.1:9/t?nonsense=1")


def test_kafka_takes_no_other_format(folder):
    with pytest.raises(DataError, match="one row as JSON"):
        sample(SampleConfig(num_rows=5, format="csv"), model=folder / "model", synthetic="kafka://host:1/t")


def test_without_the_extra_kafka_the_error_names_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(UnsupportedError, match=r"synth-components\[kafka\]"):
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic="kafka://host:1/t")
