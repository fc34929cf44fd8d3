"""SMOTE: it says everywhere that it keeps rows, and draws between neighbours."""

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular.smote import Smote
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Categorical, Numeric, Schema
from synth_components.service.command import ServeConfig, load_served


def two_islands(n=200, seed=0):
    rng = np.random.default_rng(seed)
    far = rng.random(n) < 0.5
    return pd.DataFrame(
        {"island": np.where(far, "far", "near"), "x": far * 100 + rng.random(n), "y": far * 50 + rng.random(n)}
    )


def test_it_refuses_to_keep_rows_unless_told_to():
    with pytest.raises(UnsupportedError, match="keep_rows=true"):
        synth.fit(two_islands(), generator="tabular.smote", seed=0)


def test_a_model_says_in_each_place_that_it_holds_rows(tmp_path):
    model = synth.fit(two_islands(), generator="tabular.smote", seed=0, options={"keep_rows": True})
    assert model.privacy.holds_rows
    assert model.manifest.holds_rows
    assert "HOLDS TRAINING ROWS" in repr(model)
    model.save(tmp_path / "m")
    assert synth.load(tmp_path / "m").privacy.holds_rows
    with pytest.raises(UnsupportedError, match="keeps training rows"):
        load_served(tmp_path / "m", ServeConfig())
    assert "KEEPS THE TRAINING ROWS" in (__import__(Smote.__module__, fromlist=["x"]).__doc__ or "")


def test_other_models_say_that_they_hold_none():
    assert not synth.fit(two_islands(), generator="tabular.independent", seed=0).privacy.holds_rows


def test_rows_lie_between_neighbours():
    table = two_islands()
    model = synth.fit(table, generator="tabular.smote", seed=0, options={"keep_rows": True})
    made = model.sample(500, seed=1)
    on_far = made["x"] > 50
    assert not made["x"].between(1.5, 99.5).any()  # nothing is drawn in the sea
    assert ((made["island"] == "far") == on_far).all()
    assert made["x"].nunique() > 400  # between rows, not on them


def test_neighbours_are_of_one_class_where_a_target_is_named():
    table = two_islands()
    rng = np.random.default_rng(1)
    table["x"], table["y"] = rng.random((2, len(table)))  # the islands lie on each other
    table["x"] += (table["island"] == "far") * 0.2
    options = {"keep_rows": True, "target": "island"}
    sampler = synth.fit(table, generator="tabular.smote", seed=0, options=options).sampler
    island = table["island"].to_numpy()
    assert (island[sampler.near] == island[:, None]).all()


def test_a_target_that_is_no_category_is_refused():
    with pytest.raises(SchemaError, match="no category"):
        synth.fit(two_islands(), generator="tabular.smote", seed=0, options={"keep_rows": True, "target": "x"})


@pytest.mark.parametrize("target", ["", "kind"])
def test_rare_categories_are_redistributed(target):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"kind": rng.choice(["a", "b"], 300), "x": rng.random(300)})
    table.loc[:6, "kind"] = "rare"  # which a profile does not list
    model = synth.fit(table, generator="tabular.smote", seed=0, options={"keep_rows": True, "target": target})
    assert set(model.sample(2_000, seed=1)["kind"]) == {"a", "b"}


def test_a_column_without_a_listed_category_is_refused():
    table = pd.DataFrame({"kind": [f"k{i}" for i in range(60)], "x": np.arange(60.0)})
    schema = Schema({TABLE: {"kind": Categorical(), "x": Numeric(low=0, high=60)}})
    with pytest.raises(UnsupportedError, match="column 'kind' has no category that enough rows share"):
        Smote(keep_rows=True).fit(
            Dataset({TABLE: table}, schema), rng=np.random.default_rng(0), ledger=Ledger(), run=Run()
        )
