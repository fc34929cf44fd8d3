"""Going on from a fitted model: what is kept, what is told of new rows, and what is refused."""

import logging

import numpy as np
import pandas as pd
import pytest

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators import names, recipe_type
from synth_components.generators.tabular._grid import Grid, reweighed
from synth_components.io.artifact import Manifest, Statement
from synth_components.marginal import Marginal
from synth_components.warm_start import going_on

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


def test_new_masses_are_those_of_the_new_rows_and_none_is_of_a_few():
    ends = np.arange(101.0)
    marginal = Marginal(ends[:-1], ends[1:], np.full(100, 0.009), 0.1)
    numbers = Grid(marginal, is_nominal=False, is_exact=True)
    categories = Grid(Marginal(np.arange(3.0), np.arange(3.0), np.full(3, 1 / 3), 0.0), is_nominal=True, is_exact=False)
    rng = np.random.default_rng(0)
    values = np.stack([rng.uniform(0, 50, 1_000), np.repeat([0.0, 1.0, 2.0], [600, 397, 3])], axis=1)
    values[:500, 0] = np.nan
    made, told = reweighed((numbers, categories), values, min_count=20, rng=rng)
    assert made.size == numbers.size
    assert np.isclose(made.mass.sum(), 1.0)
    # 20 rows with the masses before are added to 1000, of which fewer than 20, the last pieces', are left out.
    assert abs(made.marginal.null - (500 + 2) / 1_020) < 10 / 1_020
    assert abs(made.marginal.mass[:50].sum() - 509 / 1_020) < 20 / 1_020
    assert made.marginal.mass[50:].sum() < 10 / 1_020
    _, sizes = np.unique((made.marginal.mass * 1_020 - 0.18).round(9), return_counts=True)
    assert sizes.max() > 1  # pieces of a row or two share theirs with others
    assert np.allclose(told.mass, np.array([600, 397, 0]) / 1_017 + 20 / 3 / 1_017)


def test_rows_too_few_to_tell_leave_the_masses_as_they_were():
    ends = np.arange(11.0)
    grid = Grid(Marginal(ends[:-1], ends[1:], np.linspace(1, 10, 10) / 55, 0.0), is_nominal=False, is_exact=True)
    (made,) = reweighed((grid,), np.full((9, 1), 0.5), min_count=10, rng=np.random.default_rng(0))
    assert np.allclose(made.mass, grid.mass)


KEEPING = [name for name in names() if recipe_type(name).kept_warm]


@pytest.mark.parametrize("name", KEEPING)
def test_an_option_of_shape_is_that_of_the_model_and_another_one_that_is_said_is_refused(name):
    of = recipe_type(name)
    other = {"normal": "uniform", "uniform": "normal"}
    start = Manifest(generator=name, options=of.parse().model_dump(), library_version="0")
    for option in of.kept_warm:
        was = start.options[option]
        new = other[was] if was in other else was - 1
        with pytest.raises(ConfigError, match=rf"option '{option}' is '?{was}'? in the model to go on from") as caught:
            going_on(of.parse({option: new}), start)
        assert caught.value.option == option
        changed = start.model_copy(update={"options": start.options | {option: new}})
        assert getattr(going_on(of.parse(), changed), option) == new
        assert going_on(of.parse({option: new}), changed) == going_on(of.parse(), changed)
    assert going_on(of.parse({"learning_rate": 0.25}), start).learning_rate == 0.25


def test_the_network_of_a_private_model_has_its_private_shape():
    of = recipe_type("tabular.vae")
    options = of.parse({"private_hidden": 8}).model_dump()
    start = Manifest(
        generator="tabular.vae", options=options, library_version="0", privacy=Statement(epsilon=1.0, delta=1e-6)
    )
    assert going_on(of.parse(), start).hidden == 8
    with pytest.raises(ConfigError, match="'hidden' is 8 in the model"):
        going_on(of.parse({"hidden": 256}), start)


def test_what_a_start_keeps_is_asked_before_anything_else(monkeypatch):
    kept = type(recipe_type("tabular.ensemble").parse())
    monkeypatch.setattr(kept, "kept_warm", ("holdout_share",))
    options = {"generators": [COPULA]}
    first = synth.fit(rows(200, 0), generator="tabular.ensemble", options=options | {"holdout_share": 0.3}, seed=0)
    again = synth.fit(rows(200, 1), generator="tabular.ensemble", options=options, start=first, seed=0)
    assert again.manifest.options["holdout_share"] == 0.3
    read = []
    monkeypatch.setattr("synth_components.fitting.dataset_of", lambda *_: read.append(1))
    with pytest.raises(ConfigError, match=r"option 'holdout_share' is 0\.3"):
        synth.fit(rows(200, 1), generator="tabular.ensemble", options={"holdout_share": 0.2}, start=first)
    assert not read
