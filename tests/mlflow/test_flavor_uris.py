"""Loading by every form of URI, from real servers where there is one."""

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.models import MetricThreshold
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.promote import promote
from synth_components.errors import ArtifactError

# A server imports MLflow twice before it answers: seconds, but a minute where many share the cores.
pytestmark = pytest.mark.timeout(240)

FORMS = ["models:/{id}", "runs:/{run}/g", "models:/{name}/1", "models:/{name}@champion", "models:/{name}/latest"]


def rows(uri):
    """Return the rows of the native loader, after seeing that the pyfunc gives the same."""
    native = mlflow_flavor.load_model(uri).sample(20, seed=1)
    served = pyfunc.load_model(str(uri)).predict(pd.DataFrame(), params={"num_rows": 20, "seed": 1})
    pd.testing.assert_frame_equal(served, native)
    return native


def logged(model, name):
    """Log and register a model, give it an alias, and return what the forms of its URI hold."""
    with mlflow.start_run() as run:
        info = mlflow_flavor.log_model(model, name="g", registered_model_name=name)
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
    return {"id": info.model_id, "run": run.info.run_id, "name": name}


@pytest.fixture(scope="module")
def local(model, store):
    return logged(model, "uris")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m"
    mlflow_flavor.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def wanted(model):
    return model.sample(20, seed=1)


@pytest.mark.parametrize("form", FORMS)
def test_r15_loads_from_the_store_and_the_registry(local, wanted, form):
    pd.testing.assert_frame_equal(rows(form.format(**local)), wanted)


@pytest.mark.parametrize("form", [str, Path, Path.as_uri])
def test_r15_loads_from_a_folder(saved, wanted, form):
    pd.testing.assert_frame_equal(rows(form(saved)), wanted)


def test_r15_loads_from_s3(saved, wanted, s3):
    get_artifact_repository(f"{s3}/m").log_artifacts(str(saved))
    pd.testing.assert_frame_equal(rows(f"{s3}/m"), wanted)


@pytest.fixture(scope="module")
def remote(model, tracking_server):
    """A model on the tracking server, which alone reaches the artifacts."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_server)
    with pytest.MonkeyPatch.context() as patch:
        # For `runs:/` MLflow 3.10 first asks for an artifact of the run that is not there; its server answers 500, not
        # 404, and its client asks again for four minutes before it looks at the logged model.
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            mlflow.set_experiment("remote")
            yield logged(model, "remote")
        finally:
            mlflow.set_tracking_uri(before)
            mlflow.set_experiment("tests")


@pytest.mark.parametrize("form", FORMS)
def test_r15_loads_from_a_tracking_server_with_artifact_proxy_and_database(remote, wanted, form):
    pd.testing.assert_frame_equal(rows(form.format(**remote)), wanted)


def test_r15_loads_from_mlflow_artifacts(remote, wanted):
    location = mlflow.get_logged_model(remote["id"]).artifact_location
    assert location.startswith("mlflow-artifacts:/")
    pd.testing.assert_frame_equal(rows(location), wanted)


@pytest.mark.parametrize("uri", ["models:/uris/99", "models:/uris@nobody", "models:/m-0", "runs:/0/g"])
def test_r15_a_uri_that_names_nothing_is_refused_by_mlflow(local, uri):
    with pytest.raises(MlflowException):
        mlflow_flavor.load_model(uri)


def test_r15_a_damaged_file_on_a_server_is_named_with_the_remedy(model, saved, tmp_path, s3):
    shutil.copytree(saved, tmp_path / "m")
    file = tmp_path / "m" / "model" / "schema.json"
    file.write_bytes(file.read_bytes()[:-2])
    get_artifact_repository(f"{s3}/damaged").log_artifacts(str(tmp_path / "m"))
    with pytest.raises(ArtifactError, match=r"'schema.json' .* is damaged: its SHA-256 differs; restore the model"):
        mlflow_flavor.load_model(f"{s3}/damaged")


def test_what_is_downloaded_is_what_was_saved(model, local, tmp_path):
    model.save(tmp_path / "core")
    got = Path(download_artifacts(f"models:/{local['id']}")) / "model"
    files = sorted(file.relative_to(got) for file in got.rglob("*.*"))
    assert files == sorted(file.relative_to(tmp_path / "core") for file in (tmp_path / "core").rglob("*.*"))
    assert all((got / file).read_bytes() == (tmp_path / "core" / file).read_bytes() for file in files)


@pytest.fixture(scope="module")
def small(table):
    return synth.fit(table[["age", "sex"]], generator="tabular.independent", seed=0)


def judged(name, table, options):
    """Judge the first version of a registered model, and return the result."""
    return mlflow.models.evaluate(
        f"models:/{name}/1",
        table[["age", "sex"]][:200],
        model_type="synthetic-tabular",
        evaluators="synthetic",
        evaluator_config=options,
    )


def logged_and_judged_twice(small, name, table, quick):
    """Log and register a model within the active run, judge it twice, and return the second result."""
    mlflow_flavor.log_model(small, name="g", registered_model_name=name)
    judged(name, table, {**quick, "train": table[["age", "sex"]][200:]})
    return judged(name, table, quick)


def held_in(run_id, result):
    """See that a run holds the artifacts of a result as they are, and of its plots no others."""
    for one in result.artifacts.values():
        assert type(one)(one.uri).content == one.content
    plots = {file.path for file in mlflow.MlflowClient().list_artifacts(run_id, "plots")}
    assert plots == {name for name in result.artifacts if name.startswith("plots/")}


def test_r23_a_run_in_s3_keeps_a_model_and_its_latest_evaluation_there(small, table, quick, s3):
    experiment = mlflow.create_experiment("s3", artifact_location=f"{s3}/runs")
    with mlflow.start_run(experiment_id=experiment) as run:
        result = logged_and_judged_twice(small, "in_s3", table, quick)
    assert run.info.artifact_uri.startswith(f"{s3}/")
    held_in(run.info.run_id, result)
    pd.testing.assert_frame_equal(rows("models:/in_s3/1"), small.sample(20, seed=1))


def test_r27_a_tracking_server_takes_an_evaluation_and_a_promotion(small, table, quick, remote):
    with mlflow.start_run() as run:
        result = logged_and_judged_twice(small, "judged_remotely", table, quick)
    held_in(run.info.run_id, result)
    threshold = MetricThreshold(threshold=result.metrics["fidelity.shape"], greater_is_better=True)
    assert promote("judged_remotely", 1, {"fidelity.shape": threshold}).passed
    version = mlflow.MlflowClient().get_model_version_by_alias("judged_remotely", "champion")
    assert (str(version.version), version.tags["synth.gate.champion"]) == ("1", "passed")
