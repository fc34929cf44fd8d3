"""No AWS account, no telemetry, no look-up but of this machine, nothing left; and a small table with its /opt/ml."""

import json
import os
import socket
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

# Before a test module imports an AWS library: the SDK makes clients as it is imported, which look for a region.
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_REGION="us-east-1",
    AWS_SECRET_ACCESS_KEY="testing",
    MLFLOW_DISABLE_TELEMETRY="true",
    SAGEMAKER_VALIDATE_ROLE="false",
)
for variable in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
    os.environ.pop(variable, None)

HERE = Path(__file__).parent
OURS = r"(synth_sagemaker|mlflow_flavor|synth_components)(\.|$)"
LOOPBACK = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1")


def pytest_collection_modifyitems(items):
    """Let boto3, moto and the SDK warn on their own account; a warning of ours stays an error."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore", f"error:::{OURS}"))


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Fail a test that looks up any name but this machine's, even if the code under test swallows the error."""
    look_up, asked = socket.getaddrinfo, []

    def refuse(host, *rest, **named):
        if host in LOOPBACK or host == socket.gethostname():
            return look_up(host, *rest, **named)
        asked.append(host)
        raise OSError(f"a test looked up '{host}'")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not asked, f"looked up outside this machine: {asked}"


@pytest.fixture(scope="session")
def temporary(tmp_path_factory):
    """Folders for temporary files; pytest's own way to make one looks at all that it has made before."""
    folder = tmp_path_factory.mktemp("temporary")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def nothing_left(temporary, monkeypatch):
    """Fail a test that leaves something where temporary files go, the processes that it starts included."""
    folder = next(temporary)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    # torch's own cache, one for each user of a machine, which importing its compiler makes.
    assert not [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")], (
        "left among the temporary files"
    )


@pytest.fixture(scope="session")
def aws_session():
    """A session of boto3 for all tests: each reads the endpoints and models of AWS anew."""
    import boto3
    import moto.core  # noqa: F401 - it stands in the way of clients that are made after its import

    return boto3.Session()


@pytest.fixture(scope="session")
def client_of(aws_session):
    """A function that returns the client of a service, the same each time."""

    @cache
    def client(service, region="eu-central-1"):
        return aws_session.client(service, region_name=region)

    return client


@pytest.fixture(scope="session")
def table():
    """240 rows whose outcome the other columns predict."""
    rng = np.random.default_rng(0)
    age = rng.integers(20, 80, 240)
    return pd.DataFrame(
        {
            "age": age,
            "income": rng.normal(3e4, 5e3, 240).round(2),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], 240),
            "outcome": np.where(age + rng.normal(0, 10, 240) > 50, "ill", "well"),
        }
    )


@pytest.fixture
def opt_ml(tmp_path, table):
    """A function that fills a folder as SageMaker fills /opt/ml for a training job, and returns the folder."""

    def filled(hyperparameters=None, *, channels=None, host="algo-1", hosts=("algo-1",), config=None, name="opt-ml"):
        root = tmp_path / name
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (root / folder).mkdir(parents=True)
        if channels is None:
            channels = {"train": {"TrainingInputMode": "File", "ContentType": "text/csv"}}
            (root / "input/data/train").mkdir()
            table.to_csv(root / "input/data/train/real.csv", index=False)
        said = {
            "hyperparameters": hyperparameters or {},
            "inputdataconfig": channels,
            "resourceconfig": {"current_host": host, "hosts": list(hosts), "network_interface_name": "eth0"},
            **(config or {}),
        }
        for file, value in said.items():
            (root / "input/config" / f"{file}.json").write_text(json.dumps(value))
        return root

    return filled
