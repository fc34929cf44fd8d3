"""The environment that a model asks for is enough to run it: requirement 30.  Slow: it is built from an index."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import mlflow_flavor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_r30_uv_restores_the_environment_and_the_model_draws_the_same_rows(model, wheels, tmp_path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    mlflow_flavor.save_model(model, tmp_path / "model")
    asked = {"inputs": [{"age": 30}, {"age": 40}], "params": {"seed": 1, "columns": ["age", "sex"]}}
    (tmp_path / "in.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "--model-uri", str(tmp_path / "model")]
    command += ["--env-manager", "uv", "--content-type", "json"]
    command += ["--input-path", str(tmp_path / "in.json"), "--output-path", str(tmp_path / "out.json")]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"UV_FIND_LINKS": str(wheels), "MLFLOW_DISABLE_TELEMETRY": "true"}
    made = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    if made.returncode != 0 and "network" in made.stderr.lower():
        pytest.skip("no package index is within reach")
    assert made.returncode == 0, made.stderr[-3000:]
    wanted = model.sample(2, seed=1, conditions=model.sample(2, seed=0)[["age"]].assign(age=[30, 40]))[["age", "sex"]]
    assert json.loads((tmp_path / "out.json").read_text())["predictions"] == wanted.to_dict("records")
