"""MLflow beside Kubeflow: its run is used, none other is started, and a dead server is no failure."""

import json
import os
import socket
import subprocess
import sys

import pytest

pytest.importorskip("mlflow", reason="mlflow comes with the extra mlflow")

# Each in a process of its own, as in a container: MLflow keeps its active run and its tracking address per process.
pytestmark = pytest.mark.slow


def execute(name, text, folder, **variables):
    command = [sys.executable, "-P", "-m", "synth_components", "kubeflow", "execute", name, "--executor-input", text]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return subprocess.run(command, cwd=folder, env={**clean, **variables}, capture_output=True, text=True, check=False)


@pytest.fixture
def client(tmp_path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


def runs(client):
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


@pytest.fixture
def started(client):
    """A run as Kubeflow's plugin opens it for a task."""
    return client.create_run(client.create_experiment("pipeline")).info.run_id


def test_requirement_10_model_and_report_go_into_the_run_that_the_platform_opened(
    ran, csv, tmp_path, client, started, executor_input, quick
):
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "MLFLOW_RUN_ID": started}
    rows = ran / "split_data"
    text = executor_input(
        "train_generator", tmp_path / "train", {"data": rows / "train"}, generator="tabular.independent"
    )
    assert execute("train_generator", text, tmp_path, **store).returncode == 0
    inputs = {"train": rows / "train", "holdout": rows / "holdout", "synthetic": ran / "sample" / "synthetic"}
    text = executor_input("evaluate", tmp_path / "evaluate", inputs, **quick)
    assert execute("evaluate", text, tmp_path, **store).returncode == 0
    (run,) = runs(client)
    assert run.info.run_id == started
    assert run.data.params["generator"] == "tabular.independent"
    report = json.loads((tmp_path / "evaluate" / "report").read_text())
    assert run.data.metrics["overall"] == report["overall"]["value"]
    assert len(run.outputs.model_outputs) == 1


def test_requirement_10_a_server_that_does_not_answer_is_a_warning(ran, tmp_path, executor_input):
    rows = {"data": ran / "split_data" / "train"}
    text = executor_input("train_generator", tmp_path / "t", rows, generator="tabular.independent")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: kept, so that nobody else does
        host = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done = execute(
            "train_generator", text, tmp_path,
            MLFLOW_TRACKING_URI=host, MLFLOW_RUN_ID="0" * 32, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MLflow does not answer" in done.stderr
    assert (tmp_path / "t" / "executor_output.json").exists()


def test_without_a_run_of_the_platforms_nothing_is_logged(ran, tmp_path, client, executor_input):
    rows = {"data": ran / "split_data" / "train"}
    text = executor_input("train_generator", tmp_path / "t", rows, generator="tabular.independent")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    assert execute("train_generator", text, tmp_path, **store).returncode == 0
    assert list(runs(client)) == []


def test_a_failed_step_closes_the_platforms_run_as_failed(ran, tmp_path, client, started, executor_input):
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "MLFLOW_RUN_ID": started}
    text = executor_input("gate", tmp_path / "t", {"report": ran / "evaluate" / "report"}, min_quality=1.0)
    assert execute("gate", text, tmp_path, **store).returncode == 3
    assert client.get_run(started).info.status == "FAILED"


def test_the_register_component_makes_a_version_with_its_report(ran, tmp_path, client, executor_input):
    inputs = {"model": ran / "train_generator" / "model", "report": ran / "evaluate" / "report"}
    text = executor_input("register_model", tmp_path / "t", inputs, name="customers", alias="champion")
    done = execute("register_model", text, tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert done.returncode == 0, done.stderr
    version = client.get_model_version_by_alias("customers", "champion")
    assert "overall" in client.get_run(version.run_id).data.metrics
    said = json.loads((tmp_path / "t" / "executor_output.json").read_text())
    assert set(said["artifacts"]) == {"metrics"}
