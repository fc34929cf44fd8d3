"""The flavour's own page: what it shows runs."""

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import mlflow_flavor
import synth_components as synth
from mlflow_flavor.command import commands
from synth_components.__main__ import main

README = (Path(mlflow_flavor.__file__).parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    """``train.csv`` and ``holdout.csv`` of a stand-in for the census table, where the tests stand."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": rng.choice(["F", "M"], 800), "income": rng.choice(["<=50K", ">50K"], 800)})
    table[:500].to_csv(tmp_path / "train.csv", index=False)
    table[500:].to_csv(tmp_path / "holdout.csv", index=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def unregistered():
    """Each block makes the registered model anew, from version 1."""
    yield
    client = mlflow.MlflowClient()
    for found in client.search_registered_models("name = 'customers'"):
        client.delete_registered_model(found.name)


@pytest.fixture(autouse=True)
def off():
    yield
    mlflow_flavor.autolog(disable=True)


def test_the_page_shows_how_to_log_load_serve_evaluate_and_promote_in_ten_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line]
    assert len(lines) == 10
    assert max(map(len, lines)) <= 120


@pytest.mark.timeout(180)
def test_the_page_runs_as_printed_from_log_to_promote_and_lineage():
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert len(names["rows"]) == 1000
    assert set(names["rows"]["sex"]) == {"F"}
    assert mlflow.MlflowClient().get_model_version_by_alias("customers", "champion").version is not None


def test_the_page_names_commands_and_options_that_exist():
    ours = [words[2:] for words in shell_lines("synth") if words[1] == "mlflow"]
    assert {words[0] for words in ours} == {"train", "register", "promote", "sample"}
    for name, *words in ours:
        flags = {flag for param in commands.get_command(None, name).params for flag in param.opts}
        assert {word for word in words if word.startswith("--")} <= flags


def shell_lines(*programs):
    """Return the words of each line of the shell that starts one of these programs."""
    (text,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert {words[0] for words in lines} == {"synth", "mlflow", "curl"}  # each is run by one of the tests below
    return [words for words in lines if words[0] in programs]


@pytest.mark.timeout(180)
def test_the_page_runs_as_printed_in_the_shell():
    for _, *words in shell_lines("synth"):
        assert main([*words, "--quiet"]) == 0, words
    assert len(pd.read_parquet("rows.parquet")) == 1_000_000
    assert mlflow.MlflowClient().get_model_version_by_alias("customers", "champion").version is not None


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_page_serves_asks_and_runs_the_project_as_printed(tmp_path, monkeypatch, serve):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "mlflow_flavor").symlink_to(Path(mlflow_flavor.__file__).parent)  # as in a checkout
    # MLflow starts programs by their bare names.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mlflow.get_experiment_by_name("tests").experiment_id)
    model = synth.fit(pd.read_csv("train.csv"), generator="tabular.independent", seed=0)
    mlflow_flavor.log_model(model, name="g", registered_model_name="customers")
    mlflow.MlflowClient().set_registered_model_alias("customers", "champion", "1")

    server, project = shell_lines("mlflow")
    ((*curl, address),) = shell_lines("curl")
    assert server[:3] == ["mlflow", "models", "serve"]
    assert address == f"localhost:{server[-1]}/invocations"
    with serve(*server[3:]) as url:  # on another port, for the printed one may be taken
        asked = [*curl, "--silent", "--fail", f"{url}/invocations"]
        answer = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
    assert answer == {"predictions": model.sample(3, seed=1).to_dict("records")}

    done = subprocess.run(project, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    run = mlflow.search_runs(experiment_names=["tests"], max_results=1, output_format="list")[0]
    assert run.data.params["generator.min_leaf"] == "20"


def test_the_page_names_every_switch_of_autolog():
    for switch in inspect.signature(mlflow_flavor.autolog).parameters:
        assert f"`{switch}`" in README
