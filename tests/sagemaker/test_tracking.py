"""Requirement 17: MLflow by the ARN of a managed server, logged by the launcher after a job without network."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import pytest
from sagemaker_requests import PLATFORM
from served import free_port

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import DataError, SynthError
from synth_components.evaluation.options import EvaluateConfig
from synth_components.io.archive import pack
from synth_sagemaker.iam import launcher_policy
from synth_sagemaker.tracking import log_job

ARN = "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-tracking-server/synth"

# Run where the plug-in is: it logs, and reads back by the same ARN.
LOG_AND_READ = """
import json, sys
import mlflow
from mlflow import MlflowClient
from synth_sagemaker.tracking import log_job

model, output, arn = sys.argv[1:]
run_id = log_job(model, tracking=arn, output=output, experiment="isolated", registered_name="adult")
mlflow.set_tracking_uri(arn)  # the plug-in signs for what MLflow points to, whatever the client says
client = MlflowClient(tracking_uri=arn, registry_uri=arn)
run = client.get_run(run_id)
print(json.dumps({
    "store": type(client._tracking_client.store).__name__,
    "status": run.info.status,
    "generator": run.data.params.get("generator"),
    "metrics": sorted(run.data.metrics),
    "experiment": client.get_experiment(run.info.experiment_id).name,
    "versions": [[version.name, version.run_id == run_id] for version in client.search_model_versions("name='adult'")],
}))
"""


@pytest.fixture(scope="module")
def job(table, tmp_path_factory):
    """The two archives of a training job that judged its model."""
    folder = tmp_path_factory.mktemp("job")
    model = synth.fit(table, generator="tabular.independent", seed=0)
    model.save(folder / "model")
    options = {"replicates": 10, "detector_rows": 60, "detector_folds": 2, "manifold_rows": 60, "global_utility": False}
    rows = model.sample(160, seed=1)
    report = synth.evaluate(table[:160], table[160:], rows, config=EvaluateConfig(**options), model=model)
    (folder / "output").mkdir()
    (folder / "output/report.json").write_text(json.dumps(report.to_json()))
    for name in ("model", "output"):
        pack(folder / name, folder / f"{name}.tar.gz")
    return folder


def test_17_without_a_server_nothing_is_logged():
    assert log_job("anything", tracking="") is None


@pytest.mark.parametrize("text", ["http://127.0.0.1:5000", "arn:aws:s3:::bucket", ARN.replace("123456789012", "1")])
def test_17_what_is_no_arn_of_a_tracking_server_is_refused(text):
    with pytest.raises(ConfigError, match="no ARN of a tracking server"):
        log_job("anything", tracking=text)


def test_17_without_the_plug_in_the_error_says_what_to_install(monkeypatch):
    from synth_sagemaker import tracking

    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install sagemaker-mlflow"):
        log_job("anything", tracking=ARN)


@pytest.fixture
def imitated(tmp_path, monkeypatch):
    """The address of a database in the place of a server, and no plug-in to sign what is sent there."""
    pytest.importorskip("mlflow", reason="mlflow comes with the extra mlflow")
    from synth_sagemaker import tracking

    monkeypatch.setattr(tracking, "ARN", re.compile("sqlite:"))
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # MLflow leaves the lock of a database there
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def placed(client_of):
    """A client of S3 that knows a bucket here and one elsewhere."""
    moto = pytest.importorskip("moto", reason="moto comes with the extra dev")
    with moto.mock_aws():
        for bucket, region in (("near", "eu-central-1"), ("far", "us-west-2")):
            place = {"LocationConstraint": region}
            client_of("s3", region).create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        yield client_of("s3")


def test_17_model_and_report_are_logged_and_registered_and_mlflow_points_where_it_did(job, imitated, placed):
    import mlflow
    from mlflow import MlflowClient

    before = mlflow.get_tracking_uri()
    files = {"model": job / "model.tar.gz", "output": job / "output.tar.gz"}
    asked = {"experiment": "isolated", "registered_name": "adult", "allowed_regions": ["eu-central-1"], "s3": placed}
    run_id = log_job(**files, tracking=imitated, **asked)
    assert mlflow.get_tracking_uri() == before
    client = MlflowClient(imitated, imitated)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params["generator"]) == ("FINISHED", "tabular.independent")
    assert run.data.metrics["overall"] == json.loads((job / "output/report.json").read_text())["overall"]["value"]
    assert client.get_experiment(run.info.experiment_id).name == "isolated"
    assert [version.run_id for version in client.search_model_versions("name='adult'")] == [run_id]


def test_17_without_an_experiment_it_is_mlflows_default_whatever_the_callers_is(job, imitated, monkeypatch):
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(imitated, imitated)
    mine = client.create_experiment("mine")
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", mine)
    run_id = log_job(job / "model.tar.gz", tracking=imitated)
    assert client.get_experiment(client.get_run(run_id).info.experiment_id).name == "Default"
    assert mlflow.tracking.fluent._active_experiment_id == mine


def test_17_a_registry_elsewhere_is_refused_before_anything_is_logged(job, imitated, monkeypatch, tmp_path):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    with pytest.raises(ConfigError, match="unset MLFLOW_REGISTRY_URI"):
        log_job(job / "model.tar.gz", tracking=imitated, registered_name="adult")
    assert not (tmp_path / "elsewhere.db").exists()
    client = MlflowClient(imitated, imitated)
    assert client.search_runs([one.experiment_id for one in client.search_experiments()]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tracking": ARN.replace("eu-central-1", "us-west-2")}, "tracking lies in us-west-2"),
        ({"model": "s3://far/model.tar.gz"}, "bucket 'far' lies in us-west-2"),
        ({"output": "s3://far/output.tar.gz"}, "bucket 'far' lies in us-west-2"),
        ({"model": "gs://far/model.tar.gz"}, "model: an address of 'gs:' tells no region"),
        ({"model": "s3a://far/model.tar.gz"}, "model: an address of 's3a:' tells no region"),
        ({"output": "https://example.org/output.tar.gz"}, "output: an address of 'https:' tells no region"),
        ({"model": "s3://near/model.tar.gz?endpoint_override=elsewhere"}, "may name another endpoint"),
    ],
)
def test_17_a_server_or_archive_in_no_allowed_region_is_refused_before_anything_is_read(placed, change, told):
    asked = {"tracking": ARN, "model": "s3://near/model.tar.gz", "output": "s3://near/output.tar.gz", **change}
    with pytest.raises(DataError, match=told):
        log_job(**asked, allowed_regions=["eu-central-1"], s3=placed)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://far/mlflow", "bucket 'far' lies in us-west-2"),
        ("gs://far/mlflow", "artifacts: an address of 'gs:' tells no region"),
        ("mlflow-artifacts:/far", "artifacts: an address of 'mlflow-artifacts:' tells no region"),
    ],
)
def test_17_artifacts_in_no_allowed_region_are_not_sent(job, imitated, placed, monkeypatch, place, told):
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(imitated, imitated)
    client.create_experiment("far", artifact_location=place)
    monkeypatch.setattr(mlflow, "log_params", lambda params: pytest.fail("something was logged"))
    with pytest.raises(DataError, match=told):
        log_job(job / "model.tar.gz", tracking=imitated, experiment="far", allowed_regions=["eu-central-1"], s3=placed)


def test_17_what_is_no_archive_of_a_model_is_not_logged(job, imitated, tmp_path):
    from mlflow import MlflowClient

    with pytest.raises(SynthError):
        log_job(job / "output.tar.gz", tracking=imitated)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(SynthError, match="no tar archive"):
        log_job(tmp_path / "broken.tar.gz", tracking=imitated)
    client = MlflowClient(imitated, imitated)
    assert client.search_runs([one.experiment_id for one in client.search_experiments()]) == []


@pytest.fixture(scope="module")
def plug_in(tmp_path_factory):
    """A folder with sagemaker-mlflow alone: in the tests' own environment it would sign every request of MLflow."""
    folder = tmp_path_factory.mktemp("plug-in")
    asked = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*asked, "sagemaker-mlflow>=0.5,<1"], check=True, timeout=300)
    return folder


@pytest.fixture
def server(tmp_path):
    """The port of an MLflow server on this machine."""
    port = free_port()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # A managed server keeps artifacts in S3, and clients go there by themselves; here they go to a folder.
    words += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--no-serve-artifacts"]
    words += ["--default-artifact-root", (tmp_path / "artifacts").as_uri()]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # it leaves the lock of its database there
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 300
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                    break
                except (urllib.error.URLError, OSError):
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                    time.sleep(1)
            yield port
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_17_a_finished_job_is_logged_and_read_back_by_arn_with_what_the_launcher_may_do(job, plug_in, server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOG_AND_READ, str(job / "model.tar.gz"), str(job / "output.tar.gz"), ARN],
        env={
            **os.environ,
            "PYTHONPATH": str(plug_in),
            "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": f"http://127.0.0.1:{server}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        },
        cwd=job,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["store"] == "MlflowSageMakerStore"
    assert told["status"] == "FINISHED"
    assert told["experiment"] == "isolated"
    assert told["generator"] == "tabular.independent"
    assert "overall" in told["metrics"]
    assert told["versions"] == [["adult", True]]
    allowed = {action for one in launcher_policy(PLATFORM, tracking=ARN)["Statement"] for action in one["Action"]}
    asked = actions_of((tmp_path / "server.log").read_text()) - {"SearchModelVersions"}  # reading back asked for that
    assert len(asked) > 10
    assert {f"sagemaker-mlflow:{action}" for action in asked} <= allowed


def actions_of(log):
    """Return the actions of AWS that requests in a server's log need; it has none of its own for CreateLoggedModel."""
    from mlflow.protos.model_registry_pb2 import ModelRegistryService
    from mlflow.protos.service_pb2 import MlflowService
    from mlflow.utils.rest_utils import extract_all_api_info_for_service

    named = {
        (method, re.sub(r"\{\w+\}", "[^/]+", path)): message.DESCRIPTOR.name
        for service in (MlflowService, ModelRegistryService)
        for message, places in extract_all_api_info_for_service(service, "/api/2.0").items()
        for path, method in places
    }
    found = set()
    for method, path in re.findall(r'"([A-Z]+) (/api/2.0/[^ ?]+)', log):
        names = {name for (verb, form), name in named.items() if verb == method and re.fullmatch(form, path)}
        assert names, f"{method} {path} is of no service of MLflow"
        found |= names
    return {"LogModel" if name == "CreateLoggedModel" else name for name in found}
