"""The image that ``mlflow models build-docker`` makes of a model: requirement 30.

Its Dockerfile is checked everywhere.  Where a Docker daemon answers, a slow test builds the image and asks it for rows.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import mlflow
import pytest
import yaml
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


BASE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
STAND_IN, IMAGE = "synth-test-base", "synth-test-model"

STAND_IN_DOCKERFILE = f"""FROM {BASE}
COPY wheels /wheels
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
"""
"""A base image that brings along all that the build installs, for this library stands on no index yet."""

ASK = """
import json, time, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/ping", timeout=1)
        break
    except OSError:
        time.sleep(0.2)
body = json.dumps({"inputs": [], "params": {"num_rows": 5, "seed": 1, "columns": ["age", "sex", "income"]}}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/invocations", body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


def docker(*words):
    """Return what a command of Docker's prints."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def succeeds(*words):
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.fixture
def stand_in(folder, wheels, tmp_path):
    """The name of a base image with the wheels of all that the model requires."""
    if shutil.which("docker") is None or not succeeds("docker", "info"):
        pytest.skip("no Docker daemon answers")
    if not (succeeds("docker", "image", "inspect", BASE) or succeeds("docker", "pull", BASE)):
        pytest.skip(f"there is no image {BASE}, and no registry to pull it from")
    saved = folder.parent / "saved"
    tools = yaml.safe_load((saved / "python_env.yaml").read_text())["build_dependencies"]
    wanted = ["-r", str(saved / "requirements.txt"), "gunicorn[gevent]", *tools]
    found = ["--only-binary", ":all:", "--find-links", str(wheels), "--dest", str(tmp_path / "wheels")]
    if not succeeds(sys.executable, "-m", "pip", "download", *found, *wanted):
        pytest.skip("no package index is within reach")
    (tmp_path / "Dockerfile").write_text(STAND_IN_DOCKERFILE)
    docker("build", "--tag", STAND_IN, str(tmp_path))
    yield STAND_IN
    docker("image", "rm", "--force", STAND_IN)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_r30_the_image_builds_and_draws_the_rows_of_the_model(model, folder, stand_in):
    mlflow.models.build_docker(str(folder.parent / "saved"), IMAGE, env_manager="local", base_image=stand_in)
    options = ["--network", "none", "--env", "DISABLE_NGINX=true", "--env", "MLFLOW_MODELS_WORKERS=1"]
    container = docker("run", "--detach", *options, IMAGE)
    try:
        answer = docker("exec", container, "python", "-c", ASK)
    finally:
        docker("rm", "--force", container)
        docker("image", "rm", "--force", IMAGE)
    assert json.loads(answer)["predictions"] == model.sample(5, seed=1)[["age", "sex", "income"]].to_dict("records")
