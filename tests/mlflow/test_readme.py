"""The flavour's own page: what it shows runs."""

import inspect
import re
import shlex
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import MetricThreshold

import mlflow_flavor
from mlflow_flavor.command import commands

README = (Path(mlflow_flavor.__file__).parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def tables():
    """Train and holdout of a stand-in for the census table."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": rng.choice(["F", "M"], 260), "income": rng.choice(["<=50K", ">50K"], 260)})
    return table[:160], table[160:]


@pytest.fixture(autouse=True)
def off():
    yield
    mlflow_flavor.autolog(disable=True)


@pytest.mark.timeout(180)
def test_the_page_runs_from_log_to_promote_and_lineage(tables):
    promote = pytest.importorskip("mlflow_flavor.promote").promote
    train, holdout = tables
    thresholds = {"fidelity.shape": MetricThreshold(threshold=0.5, greater_is_better=True)}
    names = {"train": train, "holdout": holdout, "pd": pd, "promote": promote, "thresholds": thresholds}
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


def test_the_page_names_every_switch_of_autolog():
    for switch in inspect.signature(mlflow_flavor.autolog).parameters:
        assert f"`{switch}`" in README
