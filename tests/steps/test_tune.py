import json

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.__main__ import main

pytest.importorskip("optuna", reason="the extra tune is not installed")


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    pd.DataFrame({"x": x, "y": x + rng.normal(size=200)}).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_the_step_writes_the_trials_and_a_model_with_the_best_options(table, tmp_path):
    words = [
        "tune",
        "--data",
        table,
        "--study",
        tmp_path / "study.json",
        "--model",
        tmp_path / "model",
        "--trials",
        "2",
    ]
    more = ["--folds", "2", "--generator", "tabular.gaussian_copula", "--parameters", "knots", "--quiet"]
    assert main([str(word) for word in [*words, *more]]) == 0
    found = json.loads((tmp_path / "study.json").read_text())
    assert len(found["trials"]) == 2
    assert synth.load(tmp_path / "model").manifest.options["knots"] == found["options"]["knots"]


def test_utility_without_a_target_is_a_mistake_in_the_input(table, tmp_path, capsys):
    words = ["tune", "--data", str(table), "--study", str(tmp_path / "study.json"), "--objective", "utility"]
    assert main(words) == 2
    assert "needs a column to predict" in capsys.readouterr().err
