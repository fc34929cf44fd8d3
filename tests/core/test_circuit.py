"""The probabilistic circuit: likelihoods and conditionals agree with brute force, and rows follow the data."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import synth_components as synth
from synth_components.errors import StoppedError
from synth_components.generators.tabular._circuit import Alphabet, Circuit, Emission, Law, Totals, Tree
from synth_components.generators.tabular._grid import Grid
from synth_components.generators.tabular.circuit import ProbabilisticCircuit
from synth_components.marginal import Marginal
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Given, Interval, Run
from synth_components.schema import Boolean, Categorical, Key, Numeric, Schema, Unit

SIZES = (2, 3, 4)
TREE = Tree(np.array([1, 0, 2]), np.array([1, -1, 1]))


def small_circuit(k=3):
    """Return a circuit of three features hung on a chain, with random laws."""
    rng = np.random.default_rng(0)
    links = rng.dirichlet(np.ones(k), size=(3, k)).astype(np.float32)
    tables = tuple(rng.dirichlet(np.ones(size), size=k).T.astype(np.float32) for size in SIZES)
    return Circuit(TREE, rng.dirichlet(np.ones(k)).astype(np.float32), links, tables)


def joint(circuit):
    """Return the probability (2, 3, 4) of every row, summed over all hidden states by hand."""
    k = len(circuit.root)
    made = np.zeros(SIZES)
    for a, b, c in product(range(k), repeat=3):  # states of features 0, 1 (the root) and 2
        weight = circuit.root[b] * circuit.links[0][b, a] * circuit.links[2][b, c]
        tables = (circuit.tables[0][:, a], circuit.tables[1][:, b], circuit.tables[2][:, c])
        made += weight * np.einsum("i,j,k->ijk", *tables)
    return made


def fitted(data, *, seed=0, run=None, **options):
    recipe = ProbabilisticCircuit(**{"states": 16, "epochs": 5, "batch_rows": 256, **options})
    return recipe.fit(data, rng=np.random.default_rng(seed), ledger=Ledger(), run=run or Run())


def drawn(sampler, n, *, given=None, seed=1):
    return sampler.sample(n, rng=np.random.default_rng(seed), given=given).table


def triangle(n=3_000, seed=0):
    """Return rows whose columns depend on each other in a ring, which one tree alone cannot say."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    table = pd.DataFrame(
        {
            "group": np.array(["a", "b", "c"], dtype=object)[group],
            "flag": rng.random(n) < np.array([0.1, 0.5, 0.9])[group],
            "x": np.round(group * 2 + rng.normal(size=n), 3),
        }
    )
    columns = {"group": Categorical(categories=("a", "b", "c")), "flag": Boolean(), "x": Numeric(places=3)}
    return Dataset({"data": table}, Schema({"data": columns}, root="data"))


def test_the_likelihood_is_the_sum_over_all_hidden_states():
    circuit = small_circuit()
    rows = np.array(list(product(*map(range, SIZES))), dtype=np.int32)
    found = np.exp(circuit.upward(circuit.observed(rows.T)).log)
    assert_allclose(found, joint(circuit)[tuple(rows.T)], rtol=1e-5)


def test_evidence_of_some_columns_sums_the_others_out():
    circuit = small_circuit()
    seen = [None, None, circuit.tables[2][np.arange(4)]]
    assert_allclose(np.exp(circuit.upward(seen).log), joint(circuit).sum(axis=(0, 1)), rtol=1e-5)


def test_states_drawn_given_evidence_follow_the_posterior():
    circuit, n = small_circuit(), 40_000
    seen = [None, None, np.tile(circuit.tables[2][1], (n, 1))]
    states = circuit.states(n, seen, rng=np.random.default_rng(0))[1]
    posterior = circuit.root * (circuit.links[2] @ circuit.tables[2][1])
    posterior /= posterior.sum()
    # 5 sigma of a share of n draws.
    assert_allclose(np.bincount(states, minlength=3) / n, posterior, atol=5 * 0.5 / np.sqrt(n))


def test_expected_counts_are_those_of_brute_force():
    circuit = small_circuit()
    alphabets = [Alphabet(np.full(size, 1 / size), np.zeros(size, bool)) for size in SIZES]
    row = (1, 2, 3)
    found, _ = Totals.expected(circuit, [np.array([code]) for code in row], alphabets)
    pairs = np.zeros((3, 3))  # states of the root and of feature 0
    for a, b, c in product(range(3), repeat=3):
        weight = circuit.root[b] * circuit.links[0][b, a] * circuit.links[2][b, c]
        pairs[b, a] += weight * circuit.tables[0][1, a] * circuit.tables[1][2, b] * circuit.tables[2][3, c]
    assert_allclose(found.links[0], pairs / pairs.sum(), rtol=1e-4)
    assert_allclose(found.emissions[0][1], pairs.sum(axis=0) / pairs.sum(), rtol=1e-4)


def test_a_step_of_expectation_maximisation_never_lowers_the_likelihood():
    rng = np.random.default_rng(0)
    codes = [rng.integers(size, size=500).astype(np.int32) for size in SIZES]
    codes[2] = np.where(codes[0] == 1, codes[1], codes[2]).astype(np.int32)
    alphabets = [Alphabet(np.full(size, 1 / size), np.zeros(size, bool)) for size in SIZES]
    circuit, reached = small_circuit(), []
    for _ in range(8):
        counts, log = Totals.expected(circuit, codes, alphabets)
        reached.append(log.mean())
        circuit = Law.of(counts, alphabets, prior=1e-6, least_variance=1e-3).circuit(TREE, alphabets)
    assert (np.diff(reached) > -1e-5).all()
    assert reached[-1] > reached[0] + 0.01


def test_placed_codes_of_a_standard_normal_state_follow_the_marginal():
    edges = np.linspace(0, 1, 401)
    mass = np.random.default_rng(0).dirichlet(np.full(400, 5.0))
    grid = Grid(Marginal(edges[:-1], edges[1:], mass, 0.0), is_nominal=False, is_exact=True)
    alphabet = Alphabet.of(grid, named=100)
    symbols = len(alphabet.symbol_mass)
    emission = Emission(alphabet.symbol_mass[:, None].astype(np.float32), np.zeros(1), np.ones(1))
    assert symbols < 400
    assert_allclose(emission.table(alphabet)[:, 0], mass, rtol=1e-4)


def test_rows_follow_the_joint_law_of_the_columns():
    data = triangle()
    made = drawn(fitted(data), 6_000)
    for group in "abc":
        ours, theirs = (table[table["group"] == group] for table in (made, data.table))
        # 5 sigma of two shares of a third of the rows, and as much for the fit.
        assert abs(ours["flag"].mean() - theirs["flag"].mean()) < 0.1
        assert abs(ours["x"].mean() - theirs["x"].mean()) < 0.3


def test_a_condition_is_met_by_the_law_of_the_rows_that_meet_it():
    sampler = fitted(triangle())
    free = drawn(sampler, 30_000)
    given = Given(allowed={"x": Interval(1.0, 3.0), "flag": frozenset([True])})
    asked = drawn(sampler, 10_000, given=given)
    kept = free[free["x"].between(1.0, 3.0) & free["flag"]]
    assert asked["flag"].all()
    assert asked["x"].between(1.0, 3.0).all()
    shares = [table["group"].value_counts(normalize=True).reindex(list("abc")) for table in (asked, kept)]
    assert_allclose(*shares, atol=5 * 0.5 * np.sqrt(1 / len(asked) + 1 / len(kept)))
    assert_allclose(asked["x"].mean(), kept["x"].mean(), atol=0.05)


def test_few_rows_have_few_states():
    assert len(fitted(triangle(300), min_state_rows=100, holdout_share=0.0).law.root) == 3


def test_rows_set_apart_end_the_training():
    """Rows whose columns are independent grow less likely with all that is learned of the dependence."""
    data, rng, seen = triangle(200), np.random.default_rng(0), []
    apart = Dataset({"data": data.table.apply(lambda column: rng.permutation(column))}, data.schema)
    run = Run(report=lambda done, total, /, **metrics: seen.append(metrics), holdout=apart)
    fitted(data, epochs=400, patience=1, min_state_rows=5, prior=0.01, run=run)
    assert 1 < len(seen) < 10


def test_a_share_of_the_rows_is_set_apart_where_none_are_given():
    seen = []
    run = Run(report=lambda done, total, /, **metrics: seen.append(metrics))
    fitted(triangle(200), epochs=2, run=run)
    assert "held_out_log_likelihood" in seen[0]


def test_rows_of_a_privacy_unit_are_set_apart_together(monkeypatch):
    seen = []

    def spy(self, totals, codes, judges, *_, **__):
        seen.append([set(side[0].tolist()) for side in (codes, judges)])
        raise StoppedError("seen")

    monkeypatch.setattr(ProbabilisticCircuit, "_trained", spy)
    person = Numeric(low=0, high=29, places=0)
    table = pd.DataFrame({"person": np.arange(600) % 30, "x": np.arange(600) % 7})
    for unit in (Unit("data", ("person",), max_rows=20), None):
        schema = Schema({"data": {"person": person, "x": person}}, root="data", unit=unit)
        with pytest.raises(StoppedError, match="seen"):
            fitted(Dataset({"data": table}, schema), min_category_count=1)  # so that codes tell persons apart
    (learnt, judges), (some, others) = seen
    assert not learnt & judges
    assert len(learnt | judges) == 30
    assert some & others


def test_rows_of_a_person_named_by_a_key_are_set_apart_together(monkeypatch):
    seen = []

    def spy(self, totals, codes, judges, *_, **__):
        seen.extend(set(side[0].tolist()) for side in (codes, judges))
        raise StoppedError("seen")

    monkeypatch.setattr(ProbabilisticCircuit, "_trained", spy)
    numbers = np.arange(600) % 30
    table = pd.DataFrame({"who": [f"p{number:02d}" for number in numbers], "x": numbers})
    columns = {
        "who": Key(dtype=str(table["who"].dtype), public=True),
        "x": Numeric(dtype="int64", low=0, high=29, places=0),
    }
    schema = Schema({"table": columns}, unit=Unit("table", ("who",), max_rows=20))
    with pytest.raises(StoppedError, match="seen"):
        synth.fit(table, generator="tabular.circuit", schema=schema, seed=0, options={"min_category_count": 1})
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 30


def test_a_fit_stops_between_batches():
    asked = iter([False, False, False, True])
    with pytest.raises(StoppedError):
        fitted(triangle(600), run=Run(should_stop=lambda: next(asked)))
