"""SMOTE: it says everywhere that it keeps rows, and draws between neighbours."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import synth_components as synth
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular.smote import Smote
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Run
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema, Unit
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


def of_persons():
    """Return rows of 30 persons, each of whose 20 lie on a spot of their own, and of one more, who has 600."""
    rng = np.random.default_rng(0)
    person = np.append(np.repeat(np.arange(30), 20), np.full(600, 30))
    x = person * 100 + rng.random(len(person))
    table = pd.DataFrame({"person": person, "kind": np.where(person < 10, "a", "b"), "x": x})
    columns = {
        "person": Key(dtype="int64"),
        "kind": Categorical(categories=("a", "b")),
        "x": Numeric(low=0, high=10_000),
    }
    return table, Schema({TABLE: columns}, unit=Unit(TABLE, ("person",), 600))


@pytest.mark.parametrize("target", ["", "kind"])
@pytest.mark.parametrize("neighbours", [5, 40])
def test_a_row_and_its_neighbours_are_each_of_another_person(target, neighbours, monkeypatch):
    monkeypatch.setattr("synth_components.generators.tabular.smote.MOST_DISTANCES", 10_000)
    table, schema = of_persons()
    options = {"keep_rows": True, "target": target, "neighbours": neighbours}
    near = synth.fit(table, generator="tabular.smote", schema=schema, seed=0, options=options).sampler.near
    who, kind = table["person"].to_numpy(), table["kind"].to_numpy()
    assert (who[near] != who[:, None]).all()
    for row in (0, 300, 1_100):
        others = len(set(who[kind == kind[row]] if target else who)) - 1
        assert len(set(who[near[row]])) == min(neighbours, others)
        assert not target or set(kind[near[row]]) == {kind[row]}
    nearest = [np.abs(table["x"].to_numpy()[who == one] - table["x"][300]).min() for one in (14, 16)]
    assert_allclose(np.abs(table["x"].to_numpy()[near[300]] - table["x"][300]).min(), min(nearest))


@pytest.mark.parametrize("target", ["", "kind"])
def test_no_person_has_a_large_share_of_the_rows_that_are_drawn_from(tmp_path, target):
    table, schema = of_persons()
    options = {"keep_rows": True, "target": target}
    shares = []
    for told in (schema, replace(schema, unit=None)):
        model = synth.fit(table, generator="tabular.smote", schema=told, seed=0, options=options)
        model.save(tmp_path / str(len(shares)))
        drawn = synth.load(tmp_path / str(len(shares))).sample(2_000, seed=1)
        pd.testing.assert_frame_equal(drawn, model.sample(2_000, seed=1))
        shares.append((drawn["x"] > 2_990).mean())
        # As often as it occurs, 1 in 6, where classes are told apart: 2,000 draws, six deviations of .0083
        assert not target or abs((drawn["kind"] == "a").mean() - 1 / 6) < 0.05
    # One in ten, and what is drawn between others and him: none has a 30th of these
    assert shares[0] < 0.15
    assert shares[1] > 0.45


def test_a_class_of_one_person_is_not_drawn_and_a_table_of_one_is_refused():
    table, schema = of_persons()
    options = {"keep_rows": True, "target": "kind"}
    alone = table[table["person"].isin([0, 29, 30])]
    made = synth.fit(alone, generator="tabular.smote", schema=schema, seed=0, options=options).sample(200, seed=1)
    assert set(made["kind"]) == {"b"}
    his = table[table["person"] == 30]
    with pytest.raises(UnsupportedError, match="two privacy units"):
        synth.fit(his, generator="tabular.smote", schema=schema, seed=0, options=options)


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
