"""MST, AIM, private trees: what they learn where the budget pays for it; an audit of whole fits with broken twins."""

import math
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from audit import mu_at_least, mu_of_pure, upper_rate
from scipy import stats

import synth_components as synth
from synth_components import generators
from synth_components.config import ConfigError
from synth_components.errors import SchemaError, UnsupportedError
from synth_components.generators.tabular import _graphical, private_trees
from synth_components.generators.tabular._graphical import Measurement
from synth_components.generators.tabular._network import Node, in_order
from synth_components.generators.tabular._private import PrivateTraining, begun
from synth_components.generators.tabular._public_cells import Cells
from synth_components.generators.tabular.aim import AIM
from synth_components.generators.tabular.independent import Independent
from synth_components.generators.tabular.mst import MST
from synth_components.generators.tabular.private_trees import Corrected, Cut, PrivateTrees, rooted, shrunk
from synth_components.privacy import noise
from synth_components.privacy.accounting import rho_within
from synth_components.privacy.ledger import Ledger
from synth_components.privacy.noise import Grant
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
    "recipe",
    [
        MST(bins=16),
        AIM(bins=16, rounds=2, iterations=200),
        AIM(bins=16, rounds=2, iterations=200, mechanism="laplace"),
        PrivateTrees(bins=16),
    ],
    ids=lambda recipe: type(recipe).__name__,
)
def test_pairs_beat_independent_columns_where_the_budget_pays_for_them(recipe):
    data = toy_table(0, rows=2_000)
    drawn = fitted(recipe, data, Budget(100.0, 1e-5)).sample(4_000, rng=np.random.default_rng(0))
    baseline = Independent(knots=50, min_category_count=1)
    alone = baseline.fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())
    theirs = _pair_distance(data, alone.sample(4_000, rng=np.random.default_rng(0)))
    assert _pair_distance(data, drawn) < 0.9 * theirs


def answered(generator, **options):
    """Return how often drawn rows have the answer that two columns give together."""
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 4, size=4_000) for name in "abcdef"}
    answer = (columns["a"] + columns["b"] >= 3).astype(int)
    table = pd.DataFrame({**columns, "y": answer})
    kinds = {name: Categorical(dtype="int64", categories=(0, 1, 2, 3), public=True) for name in "abcdef"}
    schema = Schema({TABLE: {**kinds, "y": Categorical(dtype="int64", categories=(0, 1), public=True)}})
    model = synth.fit(table, generator=generator, epsilon=5.0, schema=schema, options=options)
    drawn = model.sample(4_000, seed=0)
    return ((drawn["a"] + drawn["b"] >= 3).astype(int) == drawn["y"]).mean()


def test_aim_prefers_what_tells_of_its_target():
    assert answered("tabular.aim", target="y", rounds=4) > 0.9


def test_private_trees_find_what_pairs_cannot_hold():
    """Given the answer, a third column depends on a second: no tree of pairs holds that, and one cut more does."""
    assert answered("tabular.private_trees", target="y", depth=4) > answered("tabular.mst") + 0.03


def test_a_network_of_pairs_drawn_from_another_column_has_the_same_distribution():
    rng = np.random.default_rng(0)
    cells = {name: Cells(None, size, has_null=False) for name, size in (("a", 3), ("b", 2), ("c", 4), ("d", 2))}
    pairs = [("a", "b"), ("b", "c")]
    aims = [
        Measurement(pair, rng.integers(10, 100, size=cells[pair[0]].size * cells[pair[1]].size), 1.0) for pair in pairs
    ]
    model = _graphical.estimated(cells, aims, iterations=500)
    for root in cells:
        nodes = rooted(model, pairs, root)
        assert nodes[0].column == root
        again = _graphical.Network(in_order(nodes, SimpleNamespace(columns=cells)), model.total)
        np.testing.assert_allclose(again.counts(tuple(cells)), model.counts(tuple(cells)), rtol=1e-6, atol=1e-6)


def test_leaves_that_noise_explains_keep_what_was_expected_and_others_are_believed():
    expected = np.array([600.0, 300.0, 100.0])
    np.testing.assert_allclose(shrunk(np.array([605.0, 295.0, 100.0]), expected, 1e4), expected / 1_000, atol=1e-3)
    np.testing.assert_allclose(shrunk(np.array([100.0, 300.0, 600.0]), expected, 1.0), [0.1, 0.3, 0.6], atol=0.01)


def test_a_column_is_drawn_by_the_factors_of_its_leaf():
    node = Node("y", ("x",), np.array([[0.5, 0.5], [0.9, 0.1]]))
    column = Corrected.of(node, (Cut("z", np.array([True, False])),), np.array([[1.0, 1.0], [1.0, 9.0]]))
    n = 40_000
    codes = {"x": np.arange(n) % 2, "z": np.arange(n) // 2 % 2}
    drawn = column.draw(codes, n, rng=np.random.default_rng(0))
    reached = [drawn[(codes["x"] == x) & (codes["z"] == z)].mean() for x in (0, 1) for z in (0, 1)]
    np.testing.assert_allclose(reached, [0.5, 0.9, 0.1, 0.5], atol=0.02)


def test_a_row_more_moves_the_score_of_every_cut_by_no_more_than_is_paid_for(monkeypatch):
    rng = np.random.default_rng(0)
    cells = {"a": Cells(None, 3, has_null=False), "b": Cells(np.arange(6.0), 0, has_null=False)}
    cells["y"] = Cells(None, 4, has_null=False)
    codes = {name: rng.integers(0, one.size, size=200) for name, one in cells.items()}
    drawn = {name: rng.integers(0, one.size, size=1_000) for name, one in cells.items() if name != "y"}
    cuts = [Cut("a", np.array([True, False, True]))]
    part = private_trees._Part(Grant("gaussian", 100.0), 1e-3, 1.0, 2, 190.0)
    scores, said = [], []

    def best(held, *, sensitivity, **given):
        scores.append(held)
        said.append(sensitivity)
        return 0

    monkeypatch.setattr(private_trees, "noisy_best", best)
    for row in ({}, *({"a": a, "b": b, "y": y} for a in range(3) for b in range(5) for y in range(4))):
        table = {name: np.append(held, [row[name]] if row else []).astype(int) for name, held in codes.items()}
        PrivateTrees()._cut("y", cuts, table, drawn, cells, np.full((1_000, 4), 0.25), part, enough=3.0)
    moved = np.abs(np.array(scores[1:]) - scores[0])
    assert 0.9 < moved.max() <= 1 + 1e-9
    assert set(said) == {2}  # of a unit of two rows


@pytest.mark.parametrize("recipe", [AIM, PrivateTrees])
def test_a_target_that_is_no_column_is_refused_before_anything_is_charged(recipe):
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(ConfigError, match="target"):
        recipe(target="nowhere").fit(toy_table(0), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_shares_that_leave_nothing_for_leaves_are_refused_before_anything_is_charged():
    ledger = Ledger(Budget(1.0, 1e-5))
    recipe = PrivateTrees(first_share=0.5, split_share=0.5)
    with pytest.raises(ConfigError, match="leaves nothing"):
        recipe.fit(toy_table(0), rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


def test_a_number_without_bounds_is_refused_before_anything_is_charged():
    table = pd.DataFrame({"x": [1.0, 2.0]})
    ledger = Ledger(Budget(1.0, 1e-5))
    data = Dataset({TABLE: table}, Schema({TABLE: {"x": Numeric(public=True)}}))
    with pytest.raises(SchemaError, match="declare low and high"):
        MST().fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert not ledger.entries


@pytest.mark.parametrize("generator", ["tabular.aim", "tabular.mst"])
def test_laplace_noise_spends_a_pure_epsilon(generator):
    schema = Schema({TABLE: {"x": Categorical(categories=("a", "b"), public=True)}})
    table = pd.DataFrame({"x": ["a", "b"] * 50})
    model = synth.fit(
        table, generator=generator, epsilon=2.0, delta=0.0, schema=schema, options={"mechanism": "laplace"}
    )
    assert model.ledger.epsilon(0.0) == pytest.approx(2.0)


# The audit of whole fits: a table of two columns, and the same table with one row more, whose values nobody else has.
# The noisy counts of that row's cells, weighed by precision, are taken for a sign of the row above half a row.
# On two columns the fit is Gaussian counts, which are mu-GDP with mu^2 = 2 rho, and selections, which are pure DP with
# epsilon^2 = 8 rho, hence mu-GDP with mu = 2 Phi^-1(e^epsilon / (1 + e^epsilon)) (Liu, Bao & Kairouz 2022,
# arXiv:2206.04572, Theorem 4.2); both compose in squares (Dong, Roth & Su 2019, Corollary 3.3).
# With Laplace noise the fit is a composition of pure parts, whose trade-off curve is claimed: `audit.mu_of_pure`.

BUDGET = Budget(8.0, 1e-2)
PURE = Budget(3.0)
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


def budget_of(recipe):
    return PURE if getattr(recipe, "mechanism", "gaussian") == "laplace" else BUDGET


def released(recipe, table, schema=SCHEMA):
    """Return what a fit's noisy counts say of the number of the canary's rows."""
    kept = []
    honest = _graphical.measured

    def watched(*args, **given):
        found = honest(*args, **given)
        kept.extend(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        # Private trees begin with MST, and count the leaves themselves.
        for module in {type(recipe).__module__, *([MST.__module__] if isinstance(recipe, PrivateTrees) else [])}:
            patch.setattr(import_module(module), "measured", watched)
        fitted(recipe, Dataset({TABLE: table}, schema), budget_of(recipe))
    # The best linear reading of all that was measured: the canary's cell, the last of each.
    weights = np.array([1 / one.deviation**2 for one in kept])
    cells = np.array([float(one.counts[-1]) for one in kept])
    return float(weights @ cells / weights.sum())


def audited(recipe, fits=FITS):
    """Return a lower bound on mu, and what is claimed."""
    sides = [[released(recipe, table) > 0.5 for _ in range(fits)] for table in (WITH, WITHOUT)]
    false = upper_rate(sum(sides[1]), fits, SURE)
    claim = claimed_by_parts(recipe, false) if budget_of(recipe) is PURE else claimed(recipe)
    return mu_at_least(*sides, confidence=SURE), claim


def claimed_by_parts(recipe, false):
    """Return what is claimed with Laplace noise, as a mu at a rate of false alarms."""
    # AIM: nine tenths for two single columns; of what is left nine tenths for one marginal, which the last one chooses.
    # MST: three tenths for two single columns, six for their pair; its choice of one tells nothing.
    parts = [0.45, 0.45, 0.09, 0.01] if isinstance(recipe, AIM) else [0.15, 0.15, 0.6]
    return mu_of_pure(PURE.epsilon * np.array(parts), false)


def claimed(recipe):
    rho = rho_within(BUDGET)
    # MST has one pair to choose from: its choice tells nothing.
    chosen = (
        0.1 * rho if isinstance(recipe, AIM) else recipe.split_share * rho if isinstance(recipe, PrivateTrees) else 0
    )
    epsilon = math.sqrt(8 * chosen)
    by_choice = 2 * stats.norm.ppf(math.exp(epsilon) / (1 + math.exp(epsilon)))
    return math.sqrt(2 * (rho - chosen) + by_choice**2)


RECIPES = [
    MST(bins=2, iterations=10),
    MST(bins=2, iterations=10, mechanism="laplace"),
    AIM(bins=2, rounds=1, iterations=10),
    AIM(bins=2, rounds=1, iterations=10, mechanism="laplace"),
    PrivateTrees(bins=2, iterations=10, first_share=0.5, split_share=0.02, depth=1),
]

of_each_recipe = pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda one: f"{type(one).__name__}-{getattr(one, 'mechanism', 'gaussian')}"
)


@pytest.mark.slow
@of_each_recipe
def test_fits_with_and_without_a_row_are_no_easier_to_tell_apart_than_claimed(recipe):
    bound, claim = audited(recipe)
    assert bound <= claim


def half_the_noise(patch):
    """Break the scale of counts, and let a grant believe that as little was spent as before."""
    honest = noise._scale

    def take(grant, amount):  # half the noise costs four times the rho, and twice the epsilon
        grant._spent += amount / (2 if grant.mechanism == "laplace" else 4)

    patch.setattr(noise, "_scale", lambda *args: honest(*args) / 2)
    patch.setattr(noise.Grant, "take", take)


@pytest.mark.slow
@of_each_recipe
def test_a_fit_with_half_the_noise_is_caught(recipe, monkeypatch):
    half_the_noise(monkeypatch)
    bound, claim = audited(recipe)
    assert bound > claim


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


@pytest.mark.parametrize("name", ["mst", "aim", "private_trees", "networks", "hybrid", "ensemble"])
def test_a_generator_that_is_given_rows_by_hand_bounds_them_itself(name, monkeypatch):
    """Its ledger says that at most so many rows of a person are read, and nobody else has seen to it."""
    seen = []
    honest = _graphical.counted

    def watched(codes, clique, cells):
        found = honest(codes, clique, cells)
        seen.append(int(found.sum()))
        return found

    monkeypatch.setattr(_graphical, "counted", watched)
    who = Numeric(dtype="int64", low=0, high=99, places=0, public=True)
    schema = replace(PEOPLE, tables={TABLE: {**PEOPLE.columns, "who": who}})
    data, ledger = Dataset({TABLE: people(50)}, schema), Ledger(Budget(1.0, 1e-6))
    if name == "networks":
        begun("fit", data, options=PrivateTraining(), ledger=ledger, run=Run())
    else:
        mst = {"iterations": 10}
        options = {
            "hybrid": {"first": "tabular.mst", "first_options": mst, "second": "tabular.mst", "second_options": mst},
            "ensemble": {"generators": ("tabular.mst",) * 2, "options": (mst,) * 2, "weights": (1, 1)},
        }
        recipe = generators.make(f"tabular.{name}", options.get(name, mst))
        recipe.fit(data, rng=np.random.default_rng(0), ledger=ledger, run=Run())
    assert {entry.unit for entry in ledger.entries} == {"all rows that share ['who'], at most 2"}
    assert set(seen) - {0} == {32}  # a member is rehearsed on no rows


@pytest.mark.parametrize(
    "run",
    [Run(world_size=2), Run(device="cuda:99"), Run(device="nonsense")],
    ids=["processes", "no such GPU", "no device"],
)
def test_a_network_that_cannot_train_here_is_charged_nothing(run):
    if run.device != "cpu":
        pytest.importorskip("torch", reason="the extra torch is not installed")
    ledger = Ledger(Budget(1.0, 1e-6))
    data = Dataset({TABLE: WITHOUT}, SCHEMA)
    with pytest.raises(UnsupportedError, match=r"one process trains|is not available|is no torch device"):
        begun("fit", data, options=PrivateTraining(), ledger=ledger, run=run)
    assert ledger.entries == ()


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


def test_the_generators_have_a_private_case():
    from cases import CASES

    private = {case.name for case in CASES if isinstance(case, Case) and case.private}
    assert private >= {"tabular.mst", "tabular.aim", "tabular.private_trees"}
