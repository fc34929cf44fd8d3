"""A stream into Kafka: against the broker within librdkafka, and, if slow tests run, against Apache Kafka itself.

librdkafka's broker speaks the protocol over TCP and needs nothing else.  Apache Kafka comes from Maven Central, by the
pom beside this file; it needs Java 17 and mvn.
"""

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import DataError, UnsupportedError
from synth_components.steps.sample import SampleConfig, sample

POM = Path(__file__).with_name("kafka_server.xml")


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


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def apache(stack, folder):
    """Start a server of Apache Kafka that is its own controller, and return its address."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    lib = folder / "lib"
    got = subprocess.run(
        ["mvn", "--quiet", "--batch-mode", "--file", POM, "dependency:copy-dependencies", f"-DoutputDirectory={lib}"],
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    if got.returncode != 0:
        pytest.skip("Maven Central, or a mirror of it, does not answer")
    client, controller = free_port(), free_port()
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{client}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": folder / "data",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "num.partitions": 3,
    }
    path = folder / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = ["java", "-Xmx512m", "-cp", f"{lib}/*"]
    formatted = [*java, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", path]
    subprocess.run(formatted, capture_output=True, check=True, timeout=120)
    server = stack.enter_context(
        subprocess.Popen([*java, "kafka.Kafka", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )
    stack.callback(server.wait, 60)
    stack.callback(server.terminate)
    return f"127.0.0.1:{client}"


@pytest.fixture(scope="module")
def kafka():
    return pytest.importorskip("confluent_kafka", reason="confluent-kafka (extra kafka) is not installed")


@pytest.fixture(scope="module", params=["librdkafka", pytest.param("apache", marks=[pytest.mark.slow])])
def brokers(request, kafka, tmp_path_factory):
    """Yield the address of a Kafka cluster that answers."""
    with ExitStack() as stack:
        if request.param == "apache":
            address = apache(stack, tmp_path_factory.mktemp("apache"))
            kafka.Producer({"bootstrap.servers": address}).list_topics(timeout=60)  # waits until it is up
            yield address
        else:
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


def test_kafka_gets_each_row_as_json_under_its_number(folder, brokers, capfdbinary):
    lines = sampled(folder, capfdbinary, "-", num_rows=2_000).splitlines()
    sampled(folder, capfdbinary, f"kafka://{brokers}/rows", num_rows=2_000)
    found = dict(messages(brokers, "rows", 2_000))
    assert found == {str(number).encode(): line for number, line in enumerate(lines)}


def test_a_row_sent_to_kafka_again_has_the_same_key_and_the_same_bytes(folder, brokers, capfdbinary):
    sampled(folder, capfdbinary, f"kafka://{brokers}/again", num_rows=50)
    sampled(folder, capfdbinary, f"kafka://{brokers}/again", num_rows=50, offset=30)
    found = messages(brokers, "again", 70)
    assert len(found) == 70
    assert len(set(found)) == 50


def test_brokers_that_do_not_answer_are_named_without_settings(folder, kafka):
    address = "kafka://127.0.0.1:9/rows?message.timeout.ms=300&sasl.password=secret"
    with pytest.raises(DataError, match=r"kafka://127\.0\.0\.1:9/rows.* did not take a row") as error:
        sample(SampleConfig(num_rows=5), model=folder / "model", synthetic=address)
    assert "secret" not in str(error.value)


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
