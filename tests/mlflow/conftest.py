"""A tracking store for the session, a small table, and a model of it."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from served import free_port

import synth_components as synth

with warnings.catch_warnings():  # pytest collects without the rule below, and MLflow warns of itself
    warnings.simplefilter("ignore")
    import mlflow.pyfunc

HERE = Path(__file__).parent


OURS = r"(mlflow_flavor|synth_components)(\.|$)"


def pytest_collection_modifyitems(items):
    """MLflow and what it imports warn on their own account; a warning of ours stays an error."""
    for item in items:
        if HERE in item.path.parents:
            # One mark: within it a later rule goes before an earlier one, whatever the order of marks.
            item.add_marker(pytest.mark.filterwarnings("ignore", f"error:::{OURS}"))


@pytest.fixture(scope="session")
def table():
    rng = np.random.default_rng(0)
    n = 600
    sex = rng.choice(["F", "M"], n)
    age = rng.integers(18, 90, n)
    return pd.DataFrame(
        {
            "age": age,
            "sex": sex,
            "income": np.round(20_000 + 400 * age + 5_000 * (sex == "M") + rng.normal(0, 4_000, n), 2),
            "score": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="D"),
            "active": rng.random(n) < 0.7,
        }
    )


@pytest.fixture(scope="session")
def model(table):
    return synth.fit(table, generator="tabular.gaussian_copula", seed=0)


@pytest.fixture(scope="session")
def quick():
    """Options of an evaluation of a small table that takes a second."""
    return {"replicates": 10, "detector_folds": 2, "global_utility": False, "num_rows": 200}


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory):
    """One SQLite store a session: making its tables takes seconds."""
    root = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("tests", artifact_location=(root / "a").as_uri()))
    return root


@pytest.fixture(autouse=True)
def no_leaked_run():
    yield
    assert mlflow.active_run() is None


QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""A server does only what the tests ask of it."""


@contextlib.contextmanager
def serving(arguments, url, log, *, env=None, seconds=150):
    """Run ``python -m mlflow ...`` until the block ends, once ``url`` answers."""
    # MLflow starts uvicorn by its bare name: the environment's programs go first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with Path(log).open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env={**os.environ, "PATH": path, **QUIET, **(env or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no answer from {url}:\n{Path(log).read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def tracking_server(store, tmp_path_factory):
    """The URI of a tracking server: a database behind it, and artifacts through its proxy."""
    root = tmp_path_factory.mktemp("server")
    # A copy of the session's store: its tables need not be made again.
    old, new = (contextlib.closing(sqlite3.connect(folder / "mlflow.db")) for folder in (store, root))
    with old as ours, new as theirs:
        ours.backup(theirs)
    uri = f"http://127.0.0.1:{free_port()}"
    arguments = ["server", "--host", "127.0.0.1", "--port", uri.rpartition(":")[2], "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", str(root / "a")]
    with serving(arguments, f"{uri}/health", root / "log"):
        yield uri


@pytest.fixture(scope="session")
def bucket():
    """The name of a bucket on an S3 server of moto, and the server's URL."""
    pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="models")
    yield "models", url
    server.stop()


@pytest.fixture
def s3(bucket, monkeypatch):
    """``s3://models``, as MLflow reaches it."""
    name, url = bucket
    for key, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": url,
    }.items():
        monkeypatch.setenv(key, value)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with the wheel of this library, which stands on no index yet."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=HERE.parents[1], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Run ``mlflow models serve`` on a free port: ``with serve("-m", path, ..., env={"NAME": "value"}) as url``."""

    @contextlib.contextmanager
    def run(*words, env=None):
        port = str(free_port())
        url = f"http://127.0.0.1:{port}"
        arguments = ["models", "serve", *map(str, words), "-p", port]  # of two ports the last one counts
        with serving(arguments, f"{url}/ping", tmp_path_factory.mktemp("serve") / "log", env=env, seconds=120):
            yield url

    return run
