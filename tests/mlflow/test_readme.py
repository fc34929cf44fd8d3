"""The flavour's own page: what it shows runs."""

import inspect
import re
import shlex
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import mlflow_flavor
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


@pytest.mark.timeout(180)
def test_the_page_runs_as_printed_from_log_to_promote_and_lineage():
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert len(names["rows"]) == 1000
    assert set(names["rows"]["sex"]) == {"F"}
    assert mlflow.MlflowClient().get_model_version_by_alias("customers", "champion").version is not None


def test_the_page_names_commands_and_options_that_exist():
    (text,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    ours = [words[2:] for words in lines if words[:2] == ["synth", "mlflow"]]
    assert {words[0] for words in ours} == {"train", "register", "promote", "sample"}
    for name, *words in ours:
        flags = {flag for param in commands.get_command(None, name).params for flag in param.opts}
        assert {word for word in words if word.startswith("--")} <= flags


@pytest.mark.timeout(180)
def test_the_page_runs_as_printed_in_the_shell():
    (text,) = blocks("sh")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    for program, *words in lines:
        if program == "synth":
            assert main([*words, "--quiet"]) == 0, words
    assert len(pd.read_parquet("rows.parquet")) == 1_000_000
    assert mlflow.MlflowClient().get_model_version_by_alias("customers", "champion").version is not None


def test_the_page_names_every_switch_of_autolog():
    for switch in inspect.signature(mlflow_flavor.autolog).parameters:
        assert f"`{switch}`" in README
