"""The estimate of a model from counts, against brute force on few columns."""

import itertools

import numpy as np
import pytest

from synth_components.generators.tabular._graphical import BucketTree, Measurement, Network, estimated, total_of
from synth_components.generators.tabular._public_cells import Cells

SIZES = {"a": 2, "b": 3, "c": 4, "d": 2}
CELLS = {name: Cells(None, size, has_null=False) for name, size in SIZES.items()}
NAMES = tuple(SIZES)
SHAPE = tuple(SIZES.values())


def joint(seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(np.prod(SHAPE))).reshape(SHAPE)


def marginal(whole, clique):
    return np.einsum(whole, list(range(4)), [NAMES.index(name) for name in clique])


def measured(whole, cliques, rows=10**6, deviation=10.0):
    return [
        Measurement(clique, np.rint(rows * marginal(whole, clique)).astype(np.int64).ravel(), deviation)
        for clique in cliques
    ]


LOOP = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]


@pytest.mark.parametrize("cliques", [LOOP, [("a", "c", "b"), ("d",)], [("a",), ("b",), ("c",), ("d",)]])
def test_the_estimate_has_the_marginals_that_were_measured(cliques):
    aims = measured(joint(), cliques)
    model = estimated(CELLS, aims, iterations=5_000)
    for one in aims:
        # Counts were rounded by at most half a row in each of at most 24 cells.
        np.testing.assert_allclose(model.counts(one.clique), one.counts, atol=12)


@pytest.mark.parametrize("seed", range(5))
def test_bucket_trees_give_the_marginals_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    cliques = [c for c in itertools.combinations(NAMES, 2) if rng.random() < 0.6]
    tree = BucketTree.of(SIZES, cliques)
    theta = [rng.normal(size=bucket.shape) for bucket in tree.buckets]
    logs = np.zeros(SHAPE)
    for bucket, part in zip(tree.buckets, theta, strict=True):
        order = sorted(range(len(bucket.names)), key=lambda i: NAMES.index(bucket.names[i]))
        held = [bucket.names[i] for i in order]
        logs = logs + part.transpose(order).reshape([SIZES[n] if n in held else 1 for n in NAMES])
    whole = np.exp(logs) / np.exp(logs).sum()
    for bucket, shares in zip(tree.buckets, tree.marginals(theta), strict=True):
        np.testing.assert_allclose(shares, marginal(whole, bucket.names), atol=1e-12)
    network = Network(tree.nodes(theta), 1.0)
    for clique in itertools.permutations(NAMES, 2):
        np.testing.assert_allclose(network.counts(clique), marginal(whole, clique).ravel(), atol=1e-12)


def test_contradicting_counts_are_weighed_by_their_precision():
    exact, noisy = np.array([900, 100]), np.array([500, 500])
    aims = [Measurement(("a",), exact, 1.0), Measurement(("a",), noisy, 100.0)]
    model = estimated(CELLS, aims, iterations=2_000)
    np.testing.assert_allclose(model.counts(("a",)), [900, 100], atol=1)


def test_negative_counts_end_as_cells_without_mass():
    model = estimated(CELLS, [Measurement(("c",), np.array([-40, 1_000, 500, -3]), 10.0)], iterations=5_000)
    np.testing.assert_allclose(model.counts(("c",)) / model.total, [0, 0.672, 0.328, 0], atol=0.02)


def test_the_total_is_the_mean_of_sums_by_precision():
    aims = [Measurement(("a",), np.array([60, 40]), 1.0), Measurement(("b",), np.array([100, 50, 50]), 2.0)]
    # Variances of the sums are 2 and 12.
    assert total_of(aims) == pytest.approx((100 / 2 + 200 / 12) / (1 / 2 + 1 / 12))
