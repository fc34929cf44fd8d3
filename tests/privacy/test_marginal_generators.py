"""MST and AIM: what they learn where the budget pays for it, and an audit of whole fits with broken twins."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit import mu_at_least
from scipy import stats

import synth_components as synth
from synth_components.config import ConfigError
from synth_components.errors import SchemaError
from synth_components.generators.tabular import _graphical
from synth_components.generators.tabular.aim import AIM
from synth_components.generators.tabular.independent import Independent
from synth_components.generators.tabular.mst import MST
from synth_components.privacy import noise
from synth_components.privacy.accounting import rho_within
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Budget, Dataset, Run
from synth_components.schema import TABLE, Categorical, Key, Numeric, Schema, Unit
from synth_components.testing import Case, _pair_distance
from synth_components.toy import toy_table

pytest.importorskip("opendp", reason="the extra dp is not installed")

FITS = 300
SURE = 1 - 1e-4
"""Of the bound of each error rate: the claim for MST is tight, so that 97.5 % would fail one honest run of twenty."""


def fitted(recipe, data, budget):
    ledger = Ledger(budget)
    return recipe.fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())


@pytest.mark.parametrize(
    "recipe", [MST(bins=16), AIM(bins=16, rounds=2, iterations=200)], ids=lambda recipe: type(recipe).__name__
)
def test_pairs_beat_independent_columns_where_the_budget_pays_for_them(recipe):
    data = toy_table(0, rows=2_000)
    drawn = fitted(recipe, data, Budget(100.0, 1e-5)).sample(4_000, rng=np.random.default_rng(0))
    baseline = Independent(knots=50, min_category_count=1)
    alone = baseline.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    theirs = _pair_distance(data, alone.sample(4_000, rng=np.random.default_rng(0)))
    assert _pair_distance(data, drawn) < 0.9 * theirs


def test_aim_prefers_what_tells_of_its_target():
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 4, size=4_000) for name in "abcdef"}
    answer = (columns["a"] + columns["b"] >= 3).astype(int)
    table = pd.DataFrame({**columns, "y": answer})
    kinds = {name: Categorical(dtype="int64", categories=(0, 1, 2, 3), public=True) for name in "abcdef"}
    schema = Schema({TABLE: {**kinds, "y": Categorical(dtype="int64", categories=(0, 1), public=True)}})
    model = synth.fit(table, generator="tabular.aim", epsilon=5.0, schema=schema, options={"target": "y", "rounds": 4})
    drawn = model.sample(4_000, seed=0)
    agrees = ((drawn["a"] + drawn["b"] >= 3).astype(int) == drawn["y"]).mean()
    assert agrees > 0.9


def test_a_target_that_is_no_column_is_refused_before_anything_is_charged():
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ConfigError, match="target"):
        AIM(target="nowhere").fit(toy_table(0), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_a_number_without_bounds_is_refused_before_anything_is_charged():
    table = pd.DataFrame({"x": [1.0, 2.0]})
    ledger = Ledger(Budget(1.0, 1e-5))
    data = Dataset({TABLE: table}, Schema({TABLE: {"x": Numeric(public=True)}}))
    with pytest.raises(SchemaError, match="declare low and high"):
        MST().fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_laplace_noise_spends_a_pure_epsilon():
    schema = Schema({TABLE: {"x": Categorical(categories=("a", "b"), public=True)}})
    table = pd.DataFrame({"x": ["a", "b"] * 50})
    model = synth.fit(
        table, generator="tabular.mst", epsilon=2.0, delta=0.0, schema=schema, options={"mechanism": "laplace"}
    )
    assert model.ledger.epsilon(0.0) == pytest.approx(2.0)


# The audit of whole fits: a table of two columns, and the same table with one row more, whose values nobody else has.
# The noisy counts of that row's cells, weighed by precision, are taken for a sign of the row above half a row.
# On two columns the fit is Gaussian counts, which are mu-GDP with mu^2 = 2 rho, and selections, which are pure DP with
# epsilon^2 = 8 rho, hence mu-GDP with mu = 2 Phi^-1(e^epsilon / (1 + e^epsilon)) (Liu, Bao & Kairouz 2022,
# arXiv:2206.04572, Theorem 4.2); both compose in squares (Dong, Roth & Su 2019, Corollary 3.3).

BUDGET = Budget(8.0, 1e-2)
SCHEMA = Schema(
    {
        TABLE: {
            "a": Categorical(categories=("p", "q"), public=True),
            "b": Categorical(categories=("u", "v"), public=True),
        }
    }
)
WITHOUT = pd.DataFrame({"a": ["p"] * 30, "b": ["u"] * 30})
WITH = pd.concat([WITHOUT, pd.DataFrame({"a": ["q"], "b": ["v"]})], ignore_index=True)


def released(recipe, table, schema=SCHEMA):
    """Return what a fit's noisy counts say of the number of the canary's rows."""
    kept = []
    honest = _graphical.measured

    def watched(*args, **given):
        found = honest(*args, **given)
        kept.extend(found)
        return found

    module = __import__(type(recipe).__module__, fromlist=["measured"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "measured", watched)
        fitted(recipe, Dataset({TABLE: table}, schema), BUDGET)
    # The best linear reading of all that was measured: the canary's cell, the last of each.
    weights = np.array([1 / one.deviation**2 for one in kept])
    cells = np.array([float(one.counts[-1]) for one in kept])
    return float(weights @ cells / weights.sum())


def mu_of_fits(recipe, fits=FITS):
    sides = [[released(recipe, table) > 0.5 for _ in range(fits)] for table in (WITH, WITHOUT)]
    return mu_at_least(*sides, confidence=SURE)


def claimed(recipe):
    rho = rho_within(BUDGET)
    chosen = 0.1 * rho if isinstance(recipe, AIM) else 0.0  # MST has one pair to choose from: its choice tells nothing
    epsilon = math.sqrt(8 * chosen)
    by_choice = 2 * stats.norm.ppf(math.exp(epsilon) / (1 + math.exp(epsilon)))
    return math.sqrt(2 * (rho - chosen) + by_choice**2)


RECIPES = [MST(bins=2, iterations=10), AIM(bins=2, rounds=1, iterations=10)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_fits_with_and_without_a_row_are_no_easier_to_tell_apart_than_claimed(recipe):
    assert mu_of_fits(recipe) <= claimed(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_a_fit_with_half_the_noise_is_caught(recipe, monkeypatch):
    honest = noise._scale
    monkeypatch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    monkeypatch.setattr(noise.Grant, "take", lambda self, amount: setattr(self, "_spent", self._spent + amount / 4))
    assert mu_of_fits(recipe) > claimed(recipe)


PEOPLE = Schema(
    {TABLE: {"who": Key(public=True), **SCHEMA.columns}}, keys={}, unit=Unit(TABLE, columns=("who",), max_rows=2)
)


def people(rows_of_one):
    """Return a table in which one person has many rows of the canary's kind, and thirty others a row each."""
    others = WITHOUT.assign(who=range(30))
    one = pd.DataFrame({"a": ["q"] * rows_of_one, "b": ["v"] * rows_of_one, "who": [99] * rows_of_one})
    return pd.concat([others, one], ignore_index=True)[["who", "a", "b"]]


def test_a_person_of_many_rows_counts_as_the_most_that_the_unit_allows(monkeypatch):
    seen = []
    honest = _graphical.counted

    def watched(codes, clique, cells):
        found = honest(codes, clique, cells)
        seen.append(int(found.sum()))
        return found

    monkeypatch.setattr(_graphical, "counted", watched)
    synth.fit(people(50), generator="tabular.mst", epsilon=1.0, schema=PEOPLE, options={"iterations": 10})
    assert set(seen) == {32}


def test_noise_is_as_wide_as_the_rows_of_a_unit():
    wide, narrow = [], []
    honest = _graphical.noisy_counts

    def watched(into):
        def made(counts, **given):
            into.append(given["sensitivity"])
            return honest(counts, **given)

        return made

    for schema, into in ((PEOPLE, wide), (replace(PEOPLE, unit=None), narrow)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_graphical, "noisy_counts", watched(into))
            synth.fit(people(1), generator="tabular.mst", epsilon=1.0, schema=schema, options={"iterations": 10})
    assert (set(wide), set(narrow)) == ({2}, {1})


def test_both_generators_have_a_private_case():
    from cases import CASES

    private = {case.name for case in CASES if isinstance(case, Case) and case.private}
    assert private >= {"tabular.mst", "tabular.aim"}
