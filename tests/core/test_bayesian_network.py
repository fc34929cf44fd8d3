"""The Bayesian network: its structure follows the data, and its conditionals are those of brute force."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from synth_components.generators.tabular import _junction
from synth_components.generators.tabular._junction import Node
from synth_components.generators.tabular.bayesian_network import BayesianNetwork
from synth_components.privacy.ledger import Ledger
from synth_components.protocols import Dataset, Given, Interval, Run
from synth_components.schema import Boolean, Numeric, Schema


def small_network():
    """Return five nodes of treewidth two, with random tables: 0; 1 | 0; 2 | 0, 1; 3 | 1, 2; 4 | 0."""
    rng = np.random.default_rng(0)
    sizes = (2, 3, 2, 4, 3)
    above = ((), (0,), (0, 1), (1, 2), (0,))
    tables = [rng.dirichlet(np.ones(sizes[f]), size=[sizes[p] for p in above[f]]) for f in range(5)]
    return [Node(feature, above[feature], tables[feature]) for feature in range(5)]


def joint(network):
    """Return the probability (2, 3, 2, 4, 3) of every row."""
    tables = [node.table for node in network]
    return np.einsum("a,ab,abc,bcd,ae->abcde", *tables)


def fitted(data, **options):
    return BayesianNetwork(**options).fit(data, rng=np.random.default_rng(0), ledger=Ledger(), run=Run())


def both_or_neither(n=4_000, seed=0):
    """Return two fair coins, whether they fell alike, and a number that is high where they did."""
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, n)) < 0.5
    alike = first == second
    table = pd.DataFrame(
        {"first": first, "second": second, "alike": alike, "x": np.round(5.0 * alike + rng.normal(size=n), 3)}
    )
    columns = {"first": Boolean(), "second": Boolean(), "alike": Boolean(), "x": Numeric(places=3)}
    return Dataset({"data": table}, Schema({"data": columns}, root="data"))


def test_rows_given_evidence_on_any_nodes_follow_the_posterior_of_brute_force():
    network, n = small_network(), 40_000
    soft = np.array([0.2, 1.0, 0.0, 0.5])  # what is allowed of node 3, in part
    evidence = [None, None, None, np.tile(soft, (n, 1)), np.tile([0.0, 1.0, 0.0], (n, 1))]
    cells = _junction.draw(network, n, evidence, rng=np.random.default_rng(1))
    posterior = joint(network)[:, :, :, :, 1] * soft
    posterior /= posterior.sum()
    index = np.ravel_multi_index([cells[f] for f in range(4)], posterior.shape)
    found = np.bincount(index, minlength=posterior.size) / n
    # 5 sigma of the largest share.
    assert_allclose(found, posterior.ravel(), atol=5 * np.sqrt(posterior.max() / n))
    assert (cells[4] == 1).all()


def test_rows_without_evidence_follow_the_joint_law():
    network, n = small_network(), 40_000
    cells = _junction.draw(network, n, [None] * 5, rng=np.random.default_rng(1))
    law = joint(network)
    found = np.bincount(np.ravel_multi_index(cells, law.shape), minlength=law.size) / n
    assert_allclose(found, law.ravel(), atol=5 * np.sqrt(law.max() / n))


def test_parents_lie_within_a_clique_of_the_nodes_before():
    rng = np.random.default_rng(0)
    cells = [rng.integers(3, size=500)]
    for _ in range(6):
        cells.append((cells[rng.integers(len(cells))] + rng.integers(2, size=500)) % 3)
    plan = _junction.structure(cells, [3] * 7, max_parents=2, max_cells=100, penalty=0.0)
    cliques = [set()]
    for feature, parents in plan:
        assert any(set(parents) <= clique for clique in cliques)
        cliques.append({feature, *parents})
    assert sorted(feature for feature, _ in plan) == list(range(7))


def test_two_parents_say_what_one_cannot():
    data = both_or_neither()
    made = fitted(data, penalty=0.0).sample(4_000, rng=np.random.default_rng(1)).table
    # Alike is told by the two coins together, by neither alone.  The prior blurs one row in a thousand.
    assert ((made["first"] == made["second"]) == made["alike"]).mean() > 0.98


def test_a_penalty_leaves_independent_columns_without_parents():
    rng = np.random.default_rng(0)
    cells = [rng.integers(4, size=400) for _ in range(4)]
    plan = _junction.structure(cells, [4] * 4, max_parents=2, max_cells=1_000, penalty=1.0)
    assert [parents for _, parents in plan] == [()] * 4


def test_a_condition_is_met_by_the_law_of_the_rows_that_meet_it():
    sampler = fitted(both_or_neither(), cells=12)
    free = sampler.sample(30_000, rng=np.random.default_rng(1)).table
    given = Given(allowed={"x": Interval(1.0, 4.2), "first": frozenset([True])})
    asked = sampler.sample(8_000, rng=np.random.default_rng(2), given=given).table
    kept = free[free["x"].between(1.0, 4.2) & free["first"]]
    assert asked["x"].between(1.0, 4.2).all()
    sigma = 0.5 * np.sqrt(1 / len(asked) + 1 / len(kept))
    assert abs(asked["second"].mean() - kept["second"].mean()) < 5 * sigma
