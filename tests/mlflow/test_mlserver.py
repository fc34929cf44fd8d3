"""KServe's MLServer loads and serves a model: requirement 30.  Its needs exclude those of our other tools.

python -m venv mlserver && mlserver/bin/pip install . mlserver mlserver-mlflow pytest pytest-timeout
mlserver/bin/python -m pytest -m slow tests/mlflow/test_mlserver.py
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

import mlflow_flavor

pytest.importorskip("mlserver_mlflow", reason="mlserver-mlflow is not installed; it needs an environment of its own")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("mlserver")
    mlflow_flavor.save_model(model, root / "saved")
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(3)]
        http, grpc, metrics = (probe.getsockname()[1] for probe in probes)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (root / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0}))
    runtime = {"name": "g", "implementation": "mlserver_mlflow.MLflowRuntime"}
    (root / "model-settings.json").write_text(json.dumps(runtime | {"parameters": {"uri": str(root / "saved")}}))
    log = root / "log"
    with log.open("w") as out:
        program = Path(sys.executable).with_name("mlserver")
        process = subprocess.Popen([program, "start", str(root)], stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 200
        while not ready(f"http://127.0.0.1:{http}/v2/models/g/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"MLServer did not load the model:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{http}"
    finally:
        process.terminate()
        process.wait(30)


def ready(url):
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def posted(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_r30_mlserver_answers_mlflows_protocol(url):
    body = {"dataframe_records": [{"age": 30}, {"age": None, "sex": "F"}], "params": {"seed": 1}}
    first, second = posted(f"{url}/invocations", body)["predictions"]
    assert first["age"] == 30
    assert second["sex"] == "F"


def test_r30_mlserver_answers_the_v2_protocol_for_columns_that_are_no_times(url, model):
    """The protocol has no type for times: with a column of them MLServer answers status 500, so name the columns."""
    ages = {"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [30, 40]}
    parameters = {"content_type": "pd", "columns": ["age", "sex", "income"], "seed": 1}
    answer = posted(f"{url}/v2/models/g/infer", {"parameters": parameters, "inputs": [ages]})
    columns = {column["name"]: column["data"] for column in answer["outputs"]}
    wanted = model.sample(2, seed=1, conditions=pd.DataFrame({"age": [30, 40]}))
    assert columns == {name: wanted[name].tolist() for name in ("age", "sex", "income")}
