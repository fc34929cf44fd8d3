"""The rules that `synth profile` proposes are what `synth train` takes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from synth_components.constraints import check, constraints_from_file


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "synth_components", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 50, 600)
    frame = pd.DataFrame({"start": start, "end": start + rng.integers(0, 30, 600), "x": rng.normal(size=600)})
    frame.to_csv(tmp_path / "data.csv", index=False)
    return tmp_path / "data.csv"


def test_profile_proposes_rules_that_train_takes_and_sample_obeys(table, tmp_path):
    schema, rules, model, drawn = (tmp_path / name for name in ("schema.json", "rules.json", "model", "drawn.csv"))
    run("profile", "--data", table, "--schema", schema, "--constraints", rules)
    proposed = json.loads(rules.read_text(encoding="utf-8"))
    assert "start <= end" in [rule["name"] for rule in proposed["constraints"]]
    assert {entry["name"] for entry in proposed["support"]} == {rule["name"] for rule in proposed["constraints"]}
    train = ("--data", table, "--schema", schema, "--constraints", rules, "--generator", "tabular.independent")
    run("train", *train, "--model", model)
    run("sample", "--model", model, "--synthetic", drawn, "--num-rows", 300)
    shares = check(pd.read_csv(drawn), constraints_from_file(rules))
    assert set(shares.values()) == {1.0}
