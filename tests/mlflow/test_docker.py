"""The image that ``mlflow models build-docker`` makes of a model: requirement 30.  Its Dockerfile is checked here."""

import re
import sys
from importlib.metadata import version

import pytest
from mlflow.models.cli import commands

import mlflow_flavor


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("docker")
    mlflow_flavor.save_model(model, root / "saved")
    asked = ["generate-dockerfile", "--model-uri", str(root / "saved"), "--output-directory", str(root / "out")]
    commands.main([*asked, "--env-manager", "local"], standalone_mode=False)
    return root / "out"


def test_r30_the_image_installs_what_the_model_requires(folder):
    text = (folder / "Dockerfile").read_text()
    assert re.search(rf"^FROM python:{re.escape('.'.join(map(str, sys.version_info[:2])))}", text, re.MULTILINE)
    assert f"mlflow=={version('mlflow')}" in text
    copied = re.search(r"^COPY (\S+) /opt/ml/model$", text, re.MULTILINE)
    required = (folder / copied[1] / "requirements.txt").read_text().splitlines()
    assert f"mlflow=={version('mlflow')}" in required
    assert f"synth-components=={version('synth-components')}" in required


def test_r30_the_image_holds_a_model_that_loads(folder, model):
    held = folder / re.search(r"^COPY (\S+) ", (folder / "Dockerfile").read_text(), re.MULTILINE)[1]
    assert mlflow_flavor.load_model(held).sample(5, seed=1).equals(model.sample(5, seed=1))


def test_r30_the_image_serves_when_it_starts(folder):
    entry = (folder / "Dockerfile").read_text().partition("ENTRYPOINT")[2]
    assert "mlflow.models" in entry
    assert "_serve('local')" in entry
