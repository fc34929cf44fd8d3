"""Loading by every form of URI, from real servers where there is one."""

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

import mlflow_flavor
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
