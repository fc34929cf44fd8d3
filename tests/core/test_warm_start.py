"""Going on from a fitted model: what is kept, what is told of new rows, and what is refused."""

import logging

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.errors import SchemaError, UnsupportedError

COPULA = "tabular.gaussian_copula"


def rows(n, seed, *, slope=3.0, cities=("here", "there")):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n).round(3)
    y = (slope * x + 0.3 * rng.normal(size=n)).round(3)
    return pd.DataFrame({"x": x, "y": y, "city": rng.choice(list(cities), n)})


@pytest.fixture(scope="module")
def before():
    return synth.fit(rows(1_000, 0), generator=COPULA, seed=0)


def test_an_ensemble_keeps_an_old_model_as_far_as_it_still_holds(before):
    options = {"generators": [COPULA]}
    same = synth.fit(rows(600, 1), generator="tabular.ensemble", options=options, start=before, seed=0)
    turned = synth.fit(rows(600, 1, slope=-3.0), generator="tabular.ensemble", options=options, start=before, seed=0)
    assert same.sampler.names == (COPULA, COPULA)
    assert turned.sampler.weights[1] < 0.1 < same.sampler.weights[1]
    assert turned.sample(500, seed=0)[["x", "y"]].corr().iloc[0, 1] < -0.7


def test_new_categories_and_bounds_are_told_without_their_values(before, caplog, tmp_path):
    new = rows(400, 1, cities=("here", "elsewhere"))
    new.loc[:4, "x"] = 99.0
    before.save(tmp_path / "before")
    with caplog.at_level(logging.WARNING):
        model = synth.fit(
            new, generator="tabular.ensemble", options={"generators": [COPULA]}, start=tmp_path / "before", seed=0
        )
    told = model.manifest.start
    assert told["model"] == before.manifest.identity
    assert any("'city' has" in one and "outside its declared categories" in one for one in told["drift"])
    assert any("'x' has" in one and "outside its bounds" in one for one in told["drift"])
    assert "drift: column 'city'" in caplog.text
    assert "elsewhere" not in caplog.text + str(told)
    assert set(model.sample(300, seed=0)["city"]) <= {"here", "there"}


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop(columns="y"),
        lambda table: table.assign(z=1),
        lambda table: table.assign(x=table["x"].astype(str)),
        lambda table: table.assign(x=table["x"].where(table["x"] > 0)),
    ],
    ids=["a column less", "a column more", "another type", "nulls"],
)
def test_rows_of_another_schema_are_refused(before, change):
    with pytest.raises(SchemaError):
        synth.fit(change(rows(100, 1)), generator="tabular.ensemble", start=before)


def test_another_schema_beside_the_start_is_refused(before):
    other = synth.profile(rows(1_000, 5)).schema
    with pytest.raises(SchemaError, match="another one in the model to go on from"):
        synth.fit(rows(100, 1), generator="tabular.ensemble", start=before, schema=other)


def test_a_generator_that_cannot_go_on_says_what_can(before):
    with pytest.raises(UnsupportedError, match=r"tabular\.ensemble"):
        synth.fit(rows(100, 1), generator="tabular.trees", start=before)


def test_a_budget_does_not_cover_what_the_start_has_learned(before):
    schema = before.schema.to_json()
    for column in schema["tables"]["table"].values():
        column["public"] = True
    with pytest.raises((UnsupportedError, SchemaError)):
        synth.fit(rows(100, 1), generator="tabular.ensemble", epsilon=1.0, start=before, schema=schema)
